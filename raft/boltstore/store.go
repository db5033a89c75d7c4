//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// ErrReplaced is matched by the error of a store whose file was removed or replaced
// while in use. All other errors of a Store match the errors of a [node.Storage],
// [ErrVersion] or fs.ErrNotExist, or have the operating system's cause.
var ErrReplaced = errors.New("the data file was removed or replaced while in use")

// DefaultTimeout is the default of Options.Timeout.
const DefaultTimeout = time.Second

// DefaultCompactBytes is the default of Options.CompactBytes.
const DefaultCompactBytes = 64 << 20

// Options are a store's settings. The zero value of each but Identity means its
// default.
type Options struct {
	// Identity is the cluster and the host. Open refuses the file of another.
	Identity node.Identity
	// Part says what the file holds, beyond the cluster and the host, in at most 255
	// bytes: for example a shard and the number of its replicas. Open refuses a file
	// of another part. Default: none.
	Part string
	// Timeout bounds the time for another host, of this process or another, to
	// release the file. Default [DefaultTimeout].
	Timeout time.Duration
	// CompactBytes is the least size for an automatic compaction. After the opening
	// and after each snapshot the store compacts a file of this size if the content
	// fills less than a quarter. Default [DefaultCompactBytes]. A negative size turns
	// automatic compactions off. [Store.Compact] works at any size.
	CompactBytes int64
	// PeerSequences, if set, returns the known [Store.Sequence] of other hosts' files.
	// Save calls PeerSequences and records the highest values. They tell an older
	// copy of a peer's file from the latest one. PeerSequences must not call the store
	// but for Sequence.
	PeerSequences func() map[core.NodeID]uint64
	// Logger receives reports of compactions and of interrupted transactions. Default:
	// silent.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.CompactBytes == 0 {
		o.CompactBytes = DefaultCompactBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func (o *Options) bolt(readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout:  o.Timeout,
		ReadOnly: readOnly,
		// bbolt need not write its list of free pages with each transaction. It can
		// rebuild the list at the opening, since Open reads the whole file anyway.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
	}
}

// Store is a [node.Storage] in a bbolt file. Any goroutine may call any method.
//
// A Store has one goroutine, the cleaner, which [Store.Close] ends.
type Store struct {
	path    string
	opts    Options
	log     *slog.Logger
	cleaner cleaner

	sequence atomic.Uint64
	logBytes atomic.Int64          // of the log's records
	failure  atomic.Pointer[error] // of the first failed writing transaction

	// The locks are taken in this order. Transactions are short, see chunkPieces.
	maintaining sync.Mutex   // held by the cleaner's transactions, Compact and Copy
	writer      sync.Mutex   // held by writing transactions
	replacing   sync.RWMutex // held while Compact replaces db, shared by transactions
	mu          sync.RWMutex // never held across a transaction

	db        *database // changed with all of the locks
	rewriting rewriting // guarded by writer

	// All of these are guarded by mu. The groups, the state, the peers, closed and the
	// leftovers of logs change only with writer held too, so a writing transaction
	// reads them without mu.
	*content
	closed   bool
	ready    map[node.GroupID][]snapshot // committed, not named by an Update
	nextBody uint64
}

// snapshot is a snapshot in the file.
type snapshot struct {
	header node.SnapshotHeader
	body   *body
}

var _ node.Storage = (*Store)(nil)

// Open opens the file that [Create] made with the same identity and part, after a
// check of the whole file. The errors match fs.ErrNotExist, [node.ErrInUse],
// [node.ErrDamaged], [node.ErrStranger] or [ErrVersion], and Open then leaves the
// file as it was.
func Open(path string, opts Options) (*Store, error) {
	opts.setDefaults()
	s := &Store{path: path, opts: opts, log: opts.Logger.With("file", path), ready: make(map[node.GroupID][]snapshot)}
	err := opts.validate()
	if err == nil {
		err = s.open()
	}
	if err != nil {
		return nil, fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	s.sequence.Store(s.state.Sequence)
	s.logBytes.Store(s.content.logBytes)
	s.nextBody = s.lastBody + 1
	s.cleaner.start(s)
	return s, nil
}

// open checks the file and opens the file for writing. Between the two the file is
// not locked. If another process has written meanwhile, or if the kernel has
// forgotten an unwritten page, open begins anew.
func (s *Store) open() error {
	for range 3 {
		err := s.check()
		if errors.Is(err, errForgotten) {
			continue
		}
		if err != nil {
			return err
		}
		same, err := s.openChecked()
		if err != nil || same {
			return err
		}
	}
	return fmt.Errorf("%w: the file changes time and again", node.ErrInUse)
}

// withPages reads the pages of the file at path under a lock that excludes writers.
func withPages(path string, opts Options, read func(*pageFile) error) (err error) {
	defer contain(&err)()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: the file is empty", node.ErrDamaged) // bbolt would make a new database
	}
	db, err := openDatabase(path, opts.bolt(true))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	pages, err := openPages(path)
	if err != nil {
		return damaged(err)
	}
	defer func() { err = errors.Join(err, pages.close()) }()
	return read(pages)
}

// check reads the whole file, drops an interrupted transaction, and makes the newest
// one durable.
func (s *Store) check() error {
	return withPages(s.path, s.opts, func(f *pageFile) error {
		found, err := f.readContent(f.newest)
		var unsettled []span
		switch {
		case err == nil && !found.marked:
			unsettled, err = f.unsettled()
		case err != nil && f.isInterrupted(err):
			interrupted := err
			if found, err = f.readContent(f.before); err != nil {
				return fmt.Errorf("%w: %w", node.ErrDamaged, errors.Join(interrupted, err))
			}
			s.log.Warn("an interrupted transaction was dropped", "transaction", f.newest.sequence, "cause", interrupted)
			if own := s.opts.identity(); found.identity == own {
				err = f.goBack()
			}
		}
		if err != nil {
			return damaged(err)
		}
		if own := s.opts.identity(); found.identity != own {
			return fmt.Errorf("%w: the file of %v, and not of %v", node.ErrStranger, found.identity, own)
		}
		s.content = found
		if found.marked {
			return nil
		}
		reached("checked")
		return f.settle(found.state.Transaction, unsettled)
	})
}

// isInterrupted reports whether the error of reading the newest transaction shows
// that the transaction was interrupted. A page that the disk does not return, perhaps
// for a moment only, may belong to an acknowledged transaction.
func (f *pageFile) isInterrupted(err error) bool {
	var unreadable *fs.PathError
	return !f.newest.marked && !errors.Is(err, ErrVersion) && !errors.As(err, &unreadable)
}

// openChecked opens the file for writing, and removes the remains of an interrupted
// Compact. openChecked reports false if the file is not the checked one.
func (s *Store) openChecked() (same bool, err error) {
	defer contain(&err)()
	if s.db, err = openDatabase(s.path, s.opts.bolt(false)); err != nil {
		return false, err
	}
	number, err := s.db.newest()
	if same = err == nil && uint64(number) == s.state.Transaction; same {
		s.db.marking = !s.marked
		err = removeIfExists(s.path + compactSuffix)
	}
	if err != nil || !same {
		return false, errors.Join(err, s.db.close())
	}
	return true, nil
}

// Groups implements [node.Storage].
func (s *Store) Groups() ([]node.GroupID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, s.wrap("reading", node.ErrStorageClosed)
	}
	return slices.Sorted(maps.Keys(s.groups)), nil
}

// Load implements [node.Storage].
func (s *Store) Load(id node.GroupID) (node.State, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return node.State{}, s.wrap("reading", node.ErrStorageClosed)
	}
	if g := s.groups[id]; g != nil {
		return g.Clone(), nil
	}
	return node.State{}, nil
}

// Usage implements [node.Storage]. Log is the size of the file but for the
// snapshots, and so has the free pages too.
func (s *Store) Usage() node.Usage {
	size := s.FileBytes()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var u node.Usage
	for _, b := range s.bodies {
		if !b.dropped {
			u.Snapshots += b.bytes
		}
	}
	u.Log = max(0, size-u.Snapshots)
	return u
}

// Check returns an error if the file was removed, replaced or cut since Open. Every
// method that reads or writes the file makes the same check. Check is for the time
// between.
func (s *Store) Check() error {
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	return s.wrap("checking", s.db.intact())
}

// Close implements [node.Storage]. Close waits for the transactions under way.
func (s *Store) Close() error {
	err := s.close()
	s.cleaner.wait()
	return s.wrap("closing", err)
}

func (s *Store) close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.replacing.Lock()
	defer s.replacing.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return node.ErrStorageClosed
	}
	s.cleaner.stop()
	return s.db.close()
}

// view runs a reading transaction.
func (s *Store) view(doing string, read func(*bbolt.Tx) error) error {
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	return s.wrap(doing, s.db.view(read))
}

// wrap adds the file's name to an error.
func (s *Store) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("boltstore: %s %s: %w", doing, s.path, err)
}
