package wal

import "io"

// Directory is the folder that a log lives in. [Create] and [Open] use one of the
// operating system; [CreateIn] and [OpenIn] take any, such as a simulated disk.
// Names have no separators. Methods may be called from any goroutine. Errors
// match those of package fs and of package syscall.
type Directory interface {
	// Path names the directory in errors.
	Path() string
	// List returns the names of the files.
	List() ([]string, error)
	// Create makes a file, and fails if the file exists.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Lock opens a file, which is made if need be, for the sole use of the
	// caller until the file is closed. If anybody else has locked the file, the
	// error matches [raftlab/raft/node.ErrInUse].
	Lock(name string) (File, error)
	// Rename gives a file another name, in the place of a file that has this
	// name. The change is durable after Sync.
	Rename(from, to string) error
	// Remove removes a file. Who has the file open may still read from it.
	Remove(name string) error
	// Sync makes durable which files there are.
	Sync() error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length in bytes.
	Size() (int64, error)
	// Sync makes what was written durable.
	Sync() error
}
