package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// Options are the settings of a log.
type Options struct {
	// Identity is the owner of the log, a host of a cluster. Identity is
	// required. Open refuses the log of another identity.
	Identity node.Identity
	// SegmentBytes is the size of the log's files, in bytes, from 16 KiB to 1
	// GiB. The default is [DefaultSegmentBytes]. The store reserves and frees
	// space a segment at a time. A log occupies at least two segments, and at
	// most about twice the size of the live records plus four segments. With
	// small segments a busy host changes files often, and each change costs a
	// sync of the directory in the background. A log may be opened with another
	// size than before. Existing files keep their size.
	SegmentBytes int64
	// Logger takes warnings about failures of background work. The store
	// retries such work. The default discards the warnings.
	Logger *slog.Logger
}

// Bounds and default of [Options.SegmentBytes].
const (
	DefaultSegmentBytes = 16 << 20
	minSegmentBytes     = 16 << 10
	maxSegmentBytes     = 1 << 30
)

// withDefaults fills in defaults and checks the settings.
func (o Options) withDefaults() (Options, error) {
	if err := storekit.CheckIdentity(o.Identity); err != nil {
		return o, fmt.Errorf("wal: Options.Identity: %w", err)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes {
		return o, fmt.Errorf("wal: Options.SegmentBytes is %d; the limits are %d and %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	o.SegmentBytes = alignUp(o.SegmentBytes, pageBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Store is a [node.Storage] in a directory.
type Store struct {
	dir  Directory
	opts Options
	lock File

	// writing is a semaphore for one goroutine. The goroutine that holds the
	// semaphore writes to the log and owns tail. A mutex must not be held while
	// the disk works.
	writing chan struct{}
	tail    tail
	// preparing is a semaphore for one goroutine, the one to make a segment.
	preparing chan struct{}

	wake, quit, done chan struct{} // of the janitor

	mu       sync.Mutex // guards what follows; never held while a disk works
	index    index
	segments []*segment // the log, oldest first; the last one is written
	dropped  []*segment // not needed any more, still there
	free     []*segment // dropped, to be used again
	newest   uint64     // number of the newest segment
	stuck    uint64     // newest when a move failed; the next segment's making is the time to try again
	next     *segment   // ready to follow the last one, nil if not made yet
	noRoom   bool       // the janitor could not make the next one
	oldest   uint64     // what a durable batch says of the oldest segment
	ready    map[node.GroupID][]readySnapshot
	lastFile uint64           // newest snapshot file's number
	bodies   map[uint64]int64 // size of snapshot files by number, in bytes
	garbage  []uint64         // numbers of snapshot files that do not count any more
	failed   error
	closed   bool
}

var _ node.Storage = (*Store)(nil)

// tail is the end of the log.
type tail struct {
	seg      *segment
	file     File
	offset   int64
	sequence uint64 // of the last batch
	chain    uint32 // checksum of the last batch
	buf      []byte // the batch that is being written
	records  []record
	plans    uint64                    // number of the plan of updates that is being made
	fresh    map[node.GroupID]struct{} // groups of the plan that are not stored yet
}

const lockName = "LOCK"

// Create makes an empty log in a directory. Create makes the directory too if
// the directory does not exist. If the directory has a log already, the error
// matches fs.ErrExist.
func Create(path string, opts Options) error {
	dir, err := openDirectory(path, true)
	if err != nil {
		return fmt.Errorf("wal: creating a log: %w", err)
	}
	return CreateIn(dir, opts)
}

// CreateIn is [Create] for any kind of directory.
func CreateIn(dir Directory, opts Options) error {
	opts, err := opts.withDefaults()
	if err != nil {
		return err
	}
	if err := create(dir, opts); err != nil {
		return fmt.Errorf("wal: creating a log in %s: %w", dir.Path(), err)
	}
	return nil
}

func create(dir Directory, opts Options) error {
	lock, err := dir.Lock(lockName)
	if err != nil {
		return err
	}
	s := &Store{dir: dir, opts: opts, lock: lock}
	return errors.Join(s.initialize(), lock.Close())
}

// initialize makes the first segment and then the content of the lock file. The
// content marks the log as complete. initialize replaces the files of an
// interrupted Create.
func (s *Store) initialize() error {
	var have lockHeader
	if err := readHeader(s.lock, &have); !errors.Is(err, errSeal) {
		return fmt.Errorf("%s: %w", lockName, errors.Join(fs.ErrExist, err))
	}
	names, err := s.sortFiles()
	if err != nil {
		return err
	}
	if !s.isUnfinished(names) {
		return fmt.Errorf("files of a log without its %s: %w", lockName, fs.ErrExist)
	}
	if err := s.removeLeftovers(names.leftovers); err != nil {
		return err
	}
	if err := s.make(newSegment(1, s.opts.SegmentBytes), nil); err != nil {
		return err
	}
	id := s.opts.Identity
	sealed, err := seal(&lockHeader{Version: formatVersion, Cluster: id.Cluster, Host: uint64(id.Host)})
	if err != nil {
		return err
	}
	if _, err := s.lock.WriteAt(sealed, 0); err != nil {
		return err
	}
	return errors.Join(s.lock.Sync(), s.dir.Sync())
}

// isUnfinished reports whether an interrupted Create left these files. Such a
// Create leaves at most a first segment, without a batch.
func (s *Store) isUnfinished(names fileNames) bool {
	if len(names.snapshots) > 0 || len(names.segments) > 1 || len(names.segments) == 1 && names.segments[0] != 1 {
		return false
	}
	if len(names.segments) == 0 {
		return true
	}
	seg, err := s.openSegment(1)
	if err != nil {
		return false
	}
	p := replayer{store: s}
	begins, err := p.begins(seg)
	return err == nil && !begins
}

// readHeader reads the sealed header at the beginning of a file.
func readHeader(f File, v any) error {
	page := make([]byte, pageBytes)
	n, err := f.ReadAt(page, 0)
	if n == 0 && err != nil && !isEOF(err) {
		return err
	}
	return unseal(page[:n], v)
}

// newSalt draws the salt of a segment.
var newSalt = func() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// Identity implements [node.Storage].
func (s *Store) Identity() node.Identity { return s.opts.Identity }

// wrap adds the context to an error.
func (s *Store) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("wal: %s %s: %w", doing, s.dir.Path(), err)
}

// enter locks the store, unless it is closed.
func (s *Store) enter(doing string) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.wrap(doing, node.ErrStorageClosed)
	}
	return nil
}

// Groups implements [node.Storage].
func (s *Store) Groups() ([]node.GroupID, error) {
	if err := s.enter("reading"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.index.groups)), nil
}

// Load implements [node.Storage].
func (s *Store) Load(id node.GroupID) (node.State, error) {
	if err := s.enter("reading"); err != nil {
		return node.State{}, err
	}
	defer s.mu.Unlock()
	g := s.index.groups[id]
	if g == nil {
		return node.State{}, nil
	}
	return g.Clone(), nil
}

// Usage implements [node.Storage]. Log counts whole files.
func (s *Store) Usage() node.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var u node.Usage
	for _, size := range s.bodies {
		u.Snapshots += size
	}
	for _, list := range [][]*segment{s.segments, s.dropped, s.free} {
		for _, seg := range list {
			u.Log += seg.size
		}
	}
	if s.next != nil {
		u.Log += s.next.size
	}
	return u
}

// Save implements [node.Storage]. All updates are one write and one sync. If
// there is no room for another segment, the error matches syscall.ENOSPC,
// nothing is changed, and Save may be called again. After any other error of
// the disk the store takes no more writes, but reads go on.
func (s *Store) Save(updates []node.Update) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if err := s.plan(updates); err != nil {
		return s.wrap("writing to", err)
	}
	return s.wrap("writing to", s.commit())
}

// plan checks updates and turns them into the records of the next batch.
func (s *Store) plan(updates []node.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return node.ErrStorageClosed
	}
	t := &s.tail
	t.records = t.records[:0]
	t.plans++
	clear(t.fresh)
	for i := range updates {
		if !t.isFirst(updates[i].Group, s.index.groups[updates[i].Group]) {
			return storekit.NamedTwice(updates[i].Group)
		}
		r, err := s.planUpdate(&updates[i])
		if err != nil {
			return err
		}
		t.records = append(t.records, r)
	}
	return nil
}

// isFirst says whether a plan has not named a group before. g is nil if the store
// does not hold the group. A map of all groups of each plan would cost as much as
// the rest of the plan.
func (t *tail) isFirst(id node.GroupID, g *group) bool {
	if g != nil {
		first := g.plan != t.plans
		g.plan = t.plans
		return first
	}
	_, named := t.fresh[id]
	t.fresh[id] = struct{}{}
	return !named
}

var noGroup group

func (s *Store) planUpdate(u *node.Update) (record, error) {
	g := s.index.groups[u.Group]
	if g == nil {
		g = &noGroup
	}
	if err := g.Check(u); err != nil {
		return record{}, err
	}
	r := record{kind: updateRecord, group: u.Group, hardState: g.HardState, entries: u.Entries,
		compacted: g.CompactedIndex, compactedTerm: g.CompactedTerm}
	if u.HardState != nil {
		r.hardState = *u.HardState
	}
	if len(u.Entries) > 0 {
		r.first = u.Entries[0].Index
	}
	if h := u.Snapshot; h != nil {
		ready := s.findReady(u.Group, h)
		if ready == nil {
			return record{}, storekit.Uncommitted(u.Group, h)
		}
		r.snapshot = &snapshotRecord{header: ready.header, file: ready.file, reset: !g.Agrees(h)}
		if r.snapshot.reset {
			r.compacted, r.compactedTerm = h.Index, h.Term
		}
	}
	if u.CompactTo > r.compacted {
		r.compacted = u.CompactTo
		r.compactedTerm, _ = g.Term(u.CompactTo)
	}
	return r, nil
}

// Remove implements [node.Storage].
func (s *Store) Remove(id node.GroupID) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if err := s.enter("removing a group from"); err != nil {
		return err
	}
	known := s.index.groups[id] != nil
	s.mu.Unlock()
	if known {
		s.tail.records = append(s.tail.records[:0], record{kind: removeRecord, group: id})
		if err := s.commit(); err != nil {
			return s.wrap("removing a group from", err)
		}
	}
	s.discardReady(id)
	return nil
}

// Close implements [node.Storage]. Close waits for writes under way.
func (s *Store) Close() error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if err := s.enter("closing"); err != nil {
		return err
	}
	s.closed = true
	failed := s.failed
	s.mu.Unlock()
	close(s.quit)
	<-s.done
	var err error
	if failed == nil {
		s.tail.records = append(s.tail.records[:0], record{kind: closeRecord})
		if err = s.commit(); errors.Is(err, errNoRoom) {
			err = nil // the log is complete without the mark
		}
	}
	s.abandonReady()
	return s.wrap("closing", errors.Join(err, s.tail.close(), s.lock.Close()))
}

func (t *tail) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}
