//go:build !wasip1

package boltstore

import (
	"io/fs"
	"os"
)

// Settle returns when the cleaner has nothing to do.
func (s *Store) Settle() { s.clean() }

// Pieces returns the number of pieces of a body.
func Pieces(size uint64) int { return int(piecesOf(size)) }

// PauseCleaner keeps the cleaner from its next transaction, until resume.
func (s *Store) PauseCleaner() (resume func()) {
	s.maintaining.Lock()
	return s.maintaining.Unlock
}

// SmallTransactions makes transactions do little, so that a test sees many of
// them, until undo.
func SmallTransactions() (undo func()) {
	a, b, c := chunkPieces, cleanKeys, copyBatch
	chunkPieces, cleanKeys, copyBatch = 1, 30, 3000
	return func() { chunkPieces, cleanKeys, copyBatch = a, b, c }
}

// OnSync makes each store call f before a sync of the file at path, until undo. An
// error of f is the error of the sync.
func OnSync(f func(path string) error) (undo func()) {
	before := syncData
	syncData = func(file *os.File) error {
		if err := f(file.Name()); err != nil {
			return err
		}
		return before(file)
	}
	return func() { syncData = before }
}

// OnAllocate makes f allocate the blocks of each store, until undo.
func OnAllocate(f func() error) (undo func()) {
	before := allocate
	allocate = func(*os.File, int64, int64) error { return f() }
	return func() { allocate = before }
}

// OnRead makes the check of Open call f before each read of a page of the file at
// path, until undo. An error of f is the error of the read.
func OnRead(f func(path string) error) (undo func()) {
	before := readAt
	readAt = func(file *os.File, b []byte, at int64) (int, error) {
		if err := f(file.Name()); err != nil {
			return 0, err
		}
		return before(file, b, at)
	}
	return func() { readAt = before }
}

// OnRewrite makes Open call f for each part of a file that Open writes again, until
// undo.
func OnRewrite(f func(path string, b []byte, at int64)) (undo func()) {
	before := writeAt
	writeAt = func(file *os.File, b []byte, at int64) (int, error) {
		f(file.Name(), b, at)
		return before(file, b, at)
	}
	return func() { writeAt = before }
}

// OnStage makes Open, Compact and Copy call f after each of their stages, until undo.
func OnStage(f func(stage string)) (undo func()) {
	stage = f
	return func() { stage = nil }
}

// BeforeCommit makes each store call f before Commit, until undo.
func BeforeCommit(f func(path string)) (undo func()) {
	beforeCommit = f
	return func() { beforeCommit = nil }
}

// OnCommitFailure makes each store call f after a write has failed, until undo.
func OnCommitFailure(f func()) (undo func()) {
	commitFailed = f
	return func() { commitFailed = nil }
}

// WithoutLinks makes Create fail to link files, as on some file systems, until undo.
func WithoutLinks(f func()) (undo func()) {
	link = func(from, to string) error {
		if f != nil {
			f()
		}
		return &os.LinkError{Op: "link", Old: from, New: to, Err: fs.ErrPermission}
	}
	return func() { link = os.Link }
}

// ReadOnlyFiles makes each write to a store's file fail, until undo.
func ReadOnlyFiles() (undo func()) {
	openFile = func(path string, _ int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(path, os.O_RDONLY, mode)
	}
	return func() { openFile = os.OpenFile }
}
