package wal

import "io"

// Directory is the folder of a log. [Create] and [Open] use a folder of the
// operating system. [CreateIn] and [OpenIn] take any Directory, such as a
// simulated disk. Names have no separators. Methods may be called from any
// goroutine. Errors match those of package fs and of package syscall.
type Directory interface {
	// Path names the directory in errors.
	Path() string
	// List returns the names of the files.
	List() ([]string, error)
	// Create makes a file, and fails if the file exists.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Lock opens a file for the sole use of the caller until the file is
	// closed. If the file does not exist, Lock makes the file. If anybody else
	// has locked the file, the error matches [raftlab/raft/node.ErrInUse].
	Lock(name string) (File, error)
	// Rename renames a file and replaces a file with the new name. The change
	// is durable after Sync.
	Rename(from, to string) error
	// Remove removes a file. Open handles of the file can still be read.
	Remove(name string) error
	// Sync makes all changes of names durable.
	Sync() error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length in bytes.
	Size() (int64, error)
	// Sync makes all writes durable.
	Sync() error
}
