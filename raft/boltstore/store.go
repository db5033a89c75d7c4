//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"raftlab/raft"
	"raftlab/raft/core"
)

// Errors of this package. They come with the file's name and a cause.
var (
	// ErrCorrupt: the file is not as it was written, or not one of this package's.
	ErrCorrupt = errors.New("the data file is damaged")
	// ErrLocked: another server has the file open.
	ErrLocked = errors.New("the data file is in use by another server")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// DefaultTimeout is how long Open waits by default for another server to let go
// of the file.
const DefaultTimeout = time.Second

// Options are a store's settings. The zero value of each means its default.
type Options struct {
	// Timeout is how long Open waits for another server, of this process or
	// another, to let go of the file; default [DefaultTimeout].
	Timeout time.Duration
}

func (o Options) bolt(readOnly bool) *bbolt.Options {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &bbolt.Options{
		Timeout:  timeout,
		ReadOnly: readOnly,
		// The list of free pages is not written with each transaction, but
		// found when the file is opened, where all of it is read anyway.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
	}
}

var (
	stateBucket = []byte("state")
	logBucket   = []byte("log")
	chunkBucket = []byte("chunks")
	headKey     = []byte("head")
)

// Store is a [raft.Storage] in a bbolt file. Its methods may be called from any
// goroutine, but for Save, which one goroutine calls at a time.
type Store struct {
	path    string
	db      *bbolt.DB
	size    atomic.Int64  // of the log's records
	writing chan struct{} // capacity 1: held by SaveSnapshot
	failure atomic.Pointer[error]
	// committed, if set, is called after each writing transaction.
	committed func()
}

var _ raft.Storage = (*Store)(nil)

// Create makes the file of a server that has never run. It is there, whole and
// on disk, or not at all. A file that exists already is left alone, and the
// error matches fs.ErrExist.
func Create(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("boltstore: creating %s: %w", path, fs.ErrExist)
	}
	temporary := path + ".new"
	if err := initialize(temporary); err != nil {
		return fmt.Errorf("boltstore: creating %s: %w", path, err)
	}
	// A link, unlike a renaming, replaces nothing that came in between.
	err := os.Link(temporary, path)
	if gone := os.Remove(temporary); err == nil {
		err = gone
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("boltstore: creating %s: %w", path, err)
	}
	return nil
}

// initialize writes an empty store, in the place of what an interrupted one left.
func initialize(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(path, 0o600, Options{}.bolt(false))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{stateBucket, logBucket, chunkBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return (&step{tx: tx}).putHead()
	})
	return errors.Join(err, db.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens a file that [Create] made, after it has read and checked all of
// it. The errors match fs.ErrNotExist, [ErrLocked] or [ErrCorrupt]; the file is
// then as it was.
func Open(path string, opts Options) (*Store, error) {
	if err := check(path, opts); err != nil {
		return nil, fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	s := &Store{path: path, writing: make(chan struct{}, 1)}
	if err := s.open(opts); err != nil {
		return nil, fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	return s, nil
}

// check reads the whole file under a lock that lets nobody write to it.
func check(path string, opts Options) (err error) {
	defer contain(&err)()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: it is empty", ErrCorrupt) // bbolt would begin it anew
	}
	db, err := bbolt.Open(path, 0o600, opts.bolt(true))
	if err != nil {
		return openError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkPages(path); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return db.View(func(tx *bbolt.Tx) error {
		if err := checkRecords(tx); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil
	})
}

// openError says in this package's words why bbolt did not open a file.
func openError(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.As(err, &path):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

func (s *Store) open(opts Options) (err error) {
	defer contain(&err)()
	s.db, err = bbolt.Open(s.path, 0o600, opts.bolt(false))
	if err != nil {
		return openError(err)
	}
	if err := s.clean(true); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(logBucket).ForEach(func(k, v []byte) error {
			s.size.Add(int64(len(k) + len(v)))
			return nil
		})
	})
}

// contain turns a panic of bbolt, or an access to a part of the mapped file that
// is no longer there, into an error. To be called and deferred: defer contain(&err)().
func contain(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}
}

// Load implements [raft.Storage].
func (s *Store) Load() (saved core.Persistent, err error) {
	err = s.view("loading", func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		saved = core.Persistent{
			HardState: core.HardState{CurrentTerm: h.CurrentTerm, VotedFor: core.NodeID(h.VotedFor)},
			Snapshot:  core.Snapshot{LastIncludedIndex: h.Snapshot.Index, LastIncludedTerm: h.Snapshot.Term},
		}
		return readLog(tx, h, func(e core.Entry) { saved.Entries = append(saved.Entries, e) })
	})
	return saved, err
}

// Save implements [raft.Storage].
func (s *Store) Save(u raft.Update) error {
	received, err := s.receive(u.Snapshot)
	if err != nil {
		return err
	}
	err = s.step(func(st *step) error {
		if hs := u.HardState; hs != nil {
			st.head.CurrentTerm, st.head.VotedFor = hs.CurrentTerm, uint64(hs.VotedFor)
		}
		if u.Snapshot != nil {
			if err := st.restore(received); err != nil {
				return err
			}
		}
		return st.append(u.Entries)
	})
	if err != nil || u.Snapshot == nil {
		return err
	}
	return s.clean(false)
}

// receive writes the data of a snapshot that is to replace the stored one.
func (s *Store) receive(snap *core.Snapshot) (snapshotHead, error) {
	if snap == nil {
		return snapshotHead{}, nil
	}
	// Its pieces must not be written over those that count.
	if newer, err := s.isNewer(*snap); err != nil || !newer {
		if err == nil {
			err = s.wrap("writing to", fmt.Errorf("the received snapshot, which ends at %d, is not newer than the stored one", snap.LastIncludedIndex))
		}
		return snapshotHead{}, err
	}
	return s.writeChunks(*snap)
}

// StateSize implements [raft.Storage]: the bytes of the log's records.
func (s *Store) StateSize() int { return int(s.size.Load()) }

// Close implements [raft.Storage]. It waits for what is under way.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return s.wrap("closing", err)
	}
	return nil
}

// view runs a reading transaction.
func (s *Store) view(doing string, read func(*bbolt.Tx) error) (err error) {
	defer func() { err = s.wrap(doing, err) }()
	defer contain(&err)()
	return s.db.View(read)
}

// wrap gives an error its context.
func (s *Store) wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		err = ErrClosed
	}
	return fmt.Errorf("boltstore: %s %s: %w", doing, s.path, err)
}
