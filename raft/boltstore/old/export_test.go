//go:build !wasip1

package boltstore

import (
	"io/fs"
	"os"
)

// OnCommit makes the store call f after each writing transaction. No transaction
// may run during OnCommit.
func (s *Store) OnCommit(f func()) { s.committed = f }

// SmallTransactions makes transactions do little, so that a test sees many of
// them. It returns the size of a snapshot's chunks, and a function that undoes it.
func SmallTransactions() (chunk int, back func()) {
	a, b, c, d := chunkSize, cleanEntries, cleanChunks, copyBatch
	chunkSize, cleanEntries, cleanChunks, copyBatch = 4000, 100, 2, 3000
	return chunkSize, func() { chunkSize, cleanEntries, cleanChunks, copyBatch = a, b, c, d }
}

// OnStage makes Compact and Copy call f after each of their stages, until undo.
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
