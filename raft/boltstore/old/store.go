//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"raftlab/raft"
	"raftlab/raft/core"
)

// Errors of this package. Each comes with the file's name and a cause.
var (
	// ErrCorrupt reports a file with other content than this package wrote.
	ErrCorrupt = errors.New("the data file is damaged")
	// ErrLocked reports a file in use by another server.
	ErrLocked = errors.New("the data file is in use by another server")
	// ErrReplaced reports a file removed or replaced while in use.
	ErrReplaced = errors.New("the data file was removed or replaced while in use")
	// ErrClosed reports the use of a closed store.
	ErrClosed = errors.New("the store is closed")
)

// DefaultTimeout is the default of Options.Timeout.
const DefaultTimeout = time.Second

// DefaultCompactBytes is the default of Options.CompactBytes.
const DefaultCompactBytes = 64 << 20

// Options are a store's settings. The zero value of each means its default.
type Options struct {
	// Timeout bounds the time for another server, of this process or another, to
	// release the file. Default [DefaultTimeout].
	Timeout time.Duration
	// CompactBytes is the least size for an automatic compaction. At the opening and
	// after a snapshot the store compacts a file of this size if the content fills
	// less than a quarter. Default [DefaultCompactBytes]. A negative size turns
	// automatic compactions off. [Store.Compact] works at any size.
	CompactBytes int64
	// PeerSequences, if set, returns the [Store.Sequence] of each replica of the
	// group, by replica number less one, and 0 for an unknown sequence. Save calls
	// PeerSequences and records the highest values. They tell an older copy of a
	// peer's file from the latest one.
	PeerSequences func() []uint64
	// Logger receives reports of compactions. Default: silent.
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

func (o Options) bolt(readOnly bool) *bbolt.Options {
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

var (
	stateBucket = []byte("state")
	logBucket   = []byte("log")
	chunkBucket = []byte("chunks")
	headKey     = []byte("head")
)

// Store is a [raft.Storage] in a bbolt file. Any goroutine may call the methods, but
// only one goroutine at a time may call Save.
type Store struct {
	path     string
	opts     Options
	log      *slog.Logger
	identity Identity

	size         atomic.Int64 // of the log's records
	snapshotSize atomic.Int64
	sequence     atomic.Uint64
	failure      atomic.Pointer[error] // of the first failed writing transaction

	writing   chan struct{} // capacity 1: held by SaveSnapshot and Compact
	rewriting rewriting

	replacing sync.RWMutex // held while Compact replaces db, shared by transactions
	db        *database

	// committed, if set, is called after each writing transaction.
	committed func()
}

var _ raft.Storage = (*Store)(nil)

// Open opens a file of [Create] with the same id, after a check of the whole file.
// The errors match fs.ErrNotExist, [ErrLocked], [ErrCorrupt] or [ErrIdentity], and
// Open then leaves the file as it was.
func Open(path string, id Identity, opts Options) (*Store, error) {
	opts.setDefaults()
	s := &Store{
		path:     path,
		opts:     opts,
		log:      opts.Logger.With("file", path),
		identity: id,
		writing:  make(chan struct{}, 1),
	}
	err := s.check()
	if err == nil {
		err = s.open()
	}
	if err != nil {
		return nil, fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	return s, nil
}

// check reads the whole file under a lock that excludes writers.
func (s *Store) check() (err error) {
	defer contain(&err)()
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: the file is empty", ErrCorrupt) // bbolt would make a new database
	}
	db, err := openDatabase(s.path, s.opts.bolt(true))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := checkPages(s.path); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return db.view(func(tx *bbolt.Tx) error {
		if err := checkRecords(tx); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		found, err := readIdentity(tx)
		if err == nil && found != s.identity {
			err = fmt.Errorf("%w: the file of %v, and not of %v", ErrIdentity, found, s.identity)
		}
		return err
	})
}

// open opens the file for writing and removes the remains of a crash.
func (s *Store) open() (err error) {
	defer contain(&err)()
	if s.db, err = openDatabase(s.path, s.opts.bolt(false)); err != nil {
		return err
	}
	err = removeIfExists(s.path + compactSuffix) // a crash has interrupted Compact
	if err == nil {
		err = s.clean(true)
	}
	if err == nil {
		err = s.measure()
	}
	if err != nil {
		return errors.Join(err, s.db.close())
	}
	s.compactIfWasteful()
	return nil
}

func (s *Store) measure() error {
	return s.db.view(func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		s.snapshotSize.Store(int64(h.Snapshot.Size))
		s.sequence.Store(h.Sequence)
		return tx.Bucket(logBucket).ForEach(func(k, v []byte) error {
			s.size.Add(int64(len(k) + len(v)))
			return nil
		})
	})
}

// Identity returns the identity of the file.
func (s *Store) Identity() Identity { return s.identity }

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
	err = s.change(func(c *change) error {
		if hs := u.HardState; hs != nil {
			c.head.CurrentTerm, c.head.VotedFor = hs.CurrentTerm, uint64(hs.VotedFor)
		}
		if u.Snapshot != nil {
			if err := c.restore(received); err != nil {
				return err
			}
		}
		return c.append(u.Entries)
	})
	if err != nil || u.Snapshot == nil {
		return err
	}
	return s.clean(false)
}

// receive writes the data of a leader's snapshot.
func (s *Store) receive(snap *core.Snapshot) (snapshotHead, error) {
	if snap == nil {
		return snapshotHead{}, nil
	}
	// The chunks must not overwrite the chunks of the valid snapshot.
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

// Check returns an error if the file was removed, replaced or cut since Open. Every
// other method makes the same check. Check is for the time between.
func (s *Store) Check() error {
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	return s.wrap("checking", s.db.intact())
}

// Close implements [raft.Storage]. Close waits for the transactions under way.
func (s *Store) Close() error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if err := s.db.close(); err != nil {
		return s.wrap("closing", err)
	}
	return nil
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
