//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"raftlab/internal/durable"
	"raftlab/raft/node"
)

// bbolt reads its file through a memory mapping. An unreadable page, in a truncated
// file or on a broken disk, raises a fault. A fault ends the process, unless the
// goroutine has asked the runtime for a panic instead. All access therefore runs on
// goroutines with that setting (see contain). Three rules keep bbolt from reading
// on a goroutine of its own and from leaving locks behind.
//
//   - Each transaction first compares the file with the opened one (see intact),
//     so only rare races lead to a fault.
//   - A transaction ends with Commit or Rollback. DB.Update and DB.View would
//     rescan the file on a new goroutine after a panic.
//   - A panic of the logger leaves a failed Commit, right before Commit would
//     rescan the file (see boltLogger).
//
// # One sync
//
// bbolt by itself syncs twice in a Commit: the pages of the new tree first, then
// the meta page that names the tree. So the newest meta page always names a whole
// tree. A database of this package writes both with one sync. After a crash the
// newest meta page can then name a tree of which parts are missing. [Open] finds
// that out, because the checksums of a file cover every valid record, and goes
// back to the tree of the transaction before. bbolt's copy-on-write has left that
// tree alone, and its sync has ended before the new transaction began.
//
// A broken newest tree alone does not tell an interrupted transaction from damage
// to an acknowledged one. So after the sync update writes a mark beside the meta
// page. The next sync, or Close, makes the mark durable, and so does the kernel by
// itself within seconds. Open does not go back from a marked transaction: damage
// there is an error. A failed read of a page is an error in any case.

// database is an open bbolt file.
type database struct {
	*bbolt.DB
	path string
	file *os.File // bbolt's
	log  *boltLogger
	size atomic.Int64 // of the file after the last commit
	// unsynced: the file is new, and is synced as a whole before anybody uses it.
	unsynced bool
	pageSize int
	room     room
	marking  bool // a mark may not be durable yet
	// abandoned is set if a fault has left bbolt's locks held. Even closing the
	// database would then wait for ever.
	abandoned atomic.Bool
}

// openFile opens files for bbolt. Tests replace it.
var openFile = os.OpenFile

// openDatabase opens the file at path under a lock. A read-only database excludes
// writers, and a writable one excludes everybody.
func openDatabase(path string, opts *bbolt.Options) (*database, error) {
	d := &database{path: path, log: new(boltLogger)}
	opts.Logger = d.log
	opts.OpenFile = func(path string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		d.file, err = openFile(path, flag, mode)
		return d.file, err
	}
	opened := false
	defer func() {
		if !opened && d.file != nil {
			d.file.Close() // bbolt has closed the file too, unless it panicked
		}
	}()
	var err error
	if d.DB, err = bbolt.Open(path, 0o600, opts); err != nil {
		return nil, openError(err)
	}
	opened = true
	d.NoSync = true // see update
	d.pageSize = d.Info().PageSize
	if err := errors.Join(d.noteSize(), d.intact()); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// openError translates bbolt's reasons for not opening a file.
func openError(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return node.ErrInUse
	case errors.As(err, &path):
		return err
	}
	return fmt.Errorf("%w: %w", node.ErrDamaged, err)
}

func (d *database) noteSize() error {
	info, err := d.file.Stat()
	if err == nil {
		d.size.Store(info.Size())
	}
	return err
}

// intact returns an error if another file, or none, has the path, or if the file
// is shorter than after the last commit.
func (d *database) intact() error {
	want := d.size.Load() // before Stat, because a commit may be under way
	info, err := d.file.Stat()
	if errors.Is(err, os.ErrClosed) {
		return node.ErrStorageClosed
	}
	if err != nil {
		return err
	}
	if info.Size() < want {
		return fmt.Errorf("%w: the file was cut from %d bytes to %d while in use", node.ErrDamaged, want, info.Size())
	}
	named, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the path leads nowhere", ErrReplaced)
	case err != nil:
		return err
	case !os.SameFile(info, named):
		return fmt.Errorf("%w: another file has the path", ErrReplaced)
	}
	return nil
}

// view runs a reading transaction.
func (d *database) view(read func(*bbolt.Tx) error) (err error) {
	defer contain(&err)()
	if err := d.intact(); err != nil {
		return err
	}
	tx, err := d.begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return read(tx)
}

// update runs a writing transaction. When update returns nil, the transaction is
// on disk. If the error matches node.ErrNoRoom, nothing was written.
func (d *database) update(room demand, write func(*bbolt.Tx) error) (err error) {
	defer contain(&err)()
	if err := d.intact(); err != nil {
		return err
	}
	tx, err := d.begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	if err := d.makeRoom(tx.Size(), room); err != nil {
		return err
	}
	if err := write(tx); err != nil {
		return err
	}
	if beforeCommit != nil {
		beforeCommit(d.path)
	}
	d.log.armed.Store(true)
	defer d.log.armed.Store(false)
	number := tx.ID()
	if err := tx.Commit(); err != nil {
		return err
	}
	if !d.unsynced {
		if err := d.syncAndMark(number); err != nil {
			return err
		}
	}
	return d.noteSize()
}

// syncAndMark makes transaction number durable, and then marks the transaction.
func (d *database) syncAndMark(number int) error {
	if err := syncData(d.file); err != nil {
		return err
	}
	d.marking = true
	_, err := d.file.WriteAt(mark(uint64(number)), markOffset(uint64(number), d.pageSize))
	return err
}

// newest returns the number of the newest transaction.
func (d *database) newest() (number int, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		number = tx.ID()
		return nil
	})
	return number, err
}

// syncData makes the written parts of a file durable. Tests replace it.
var syncData = durable.SyncData

// For tests: beforeCommit, if set, is called before each Commit, and commitFailed
// after a write of Commit has failed.
var (
	beforeCommit func(path string)
	commitFailed func()
)

// begin starts a transaction. bbolt takes its locks before the first read, and a
// fault in the first read leaves them held.
func (d *database) begin(writable bool) (*bbolt.Tx, error) {
	begun := false
	defer func() {
		if !begun {
			d.abandoned.Store(true)
		}
	}()
	tx, err := d.Begin(writable)
	begun = true
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = node.ErrStorageClosed
	}
	return tx, err
}

// close waits for the transactions under way, and makes the mark of the last one
// durable. The memory mapping of an abandoned database stays until the process
// ends.
func (d *database) close() error {
	if d.abandoned.Load() {
		return d.file.Close()
	}
	var err error
	if d.marking {
		err = syncData(d.file)
	}
	return errors.Join(err, d.Close())
}

// contain turns a panic, or a fault in the mapped file, into an error. The form of
// use is: defer contain(&err)().
func contain(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		switch r := recover().(type) {
		case nil:
		case commitFailure:
			*err = r.cause
		default:
			*err = fmt.Errorf("%w: %v", node.ErrDamaged, r)
		}
	}
}

// boltLogger receives bbolt's log messages. While armed, during Commit, an error
// message makes Errorf panic. Commit logs a failure just before a reload of the
// list of free pages. The reload scans the file on a new goroutine, and an
// unreadable page there would end the process. The store writes nothing after a
// failed commit, so nobody needs the list.
type boltLogger struct{ armed atomic.Bool }

// commitFailure is the value of the panic in a failed Commit.
type commitFailure struct{ cause error }

func (l *boltLogger) Errorf(format string, v ...any) {
	// Begin logs too, on goroutines that commit nothing.
	if strings.HasPrefix(format, "Starting") || !l.armed.CompareAndSwap(true, false) {
		return
	}
	if commitFailed != nil {
		commitFailed()
	}
	cause := fmt.Errorf(format, v...)
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			cause = err
		}
	}
	panic(commitFailure{cause})
}

func (*boltLogger) Debug(...any)            {}
func (*boltLogger) Debugf(string, ...any)   {}
func (*boltLogger) Error(...any)            {}
func (*boltLogger) Info(...any)             {}
func (*boltLogger) Infof(string, ...any)    {}
func (*boltLogger) Warning(...any)          {}
func (*boltLogger) Warningf(string, ...any) {}
func (*boltLogger) Fatal(...any)            {}
func (*boltLogger) Fatalf(string, ...any)   {}
func (*boltLogger) Panic(...any)            {}
func (*boltLogger) Panicf(string, ...any)   {}
