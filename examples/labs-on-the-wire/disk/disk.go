// Package disk makes the lab's Persister durable. The Persister is in memory, and the
// harness of the labs passes the Persister on to the next server. A killed process takes
// the Persister along. A new process with the same number and an empty Persister would
// vote a second time in a term, and would lack entries that the leader counts on.
//
// A Persister announces no saves, so a Disk does not wait for saves. A Disk writes the
// Persister to a file before each batch of messages leaves the process
// (labrpc.TCPOptions.BeforeSend). Raft saves before Raft sends. The file therefore holds
// everything that another process can know of this server, and a kill loses only saves
// without a witness. The name of this rule is output commit (Elnozahy and others, "A
// Survey of Rollback-Recovery Protocols in Message-Passing Systems").
package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"raftlab/internal/durable"
	"raftlab/labgob"
	"raftlab/raft"
)

// A Disk is a Persister and its file. Any goroutine may call the methods.
type Disk struct {
	path      string
	persister *raft.Persister

	mu   sync.Mutex // guards the file
	file contents
	err  error // of the first failed write
}

// contents are a Persister's state and snapshot of one moment.
type contents struct{ State, Snapshot []byte }

// Persister returns the Persister for the server.
func (d *Disk) Persister() *raft.Persister { return d.persister }

// Open makes a Persister with the contents of a file. Without a file, the Persister
// is empty.
func Open(path string) (*Disk, error) {
	d := &Disk{path: path, persister: raft.MakePersister()}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if err := labgob.NewDecoder(bytes.NewReader(data)).Decode(&d.file); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	save(d.persister, d.file)
	return d, nil
}

// save calls the Persister's Save, which had another name until 2022.
func save(persister any, c contents) {
	switch p := persister.(type) {
	case interface{ Save(state, snapshot []byte) }:
		p.Save(c.State, c.Snapshot)
	case interface {
		SaveStateAndSnapshot(state, snapshot []byte)
	}:
		p.SaveStateAndSnapshot(c.State, c.Snapshot)
	default:
		panic(fmt.Sprintf("a %T has neither Save nor SaveStateAndSnapshot", p))
	}
}

// Flush writes the Persister to the file if the Persister has changed. Several
// connections flush at the same time. The mutex makes them wait for the write, which
// mostly serves all of them. A failed write leaves unknown contents in the file, so every
// later Flush fails, too.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	now := d.persister.Copy() // the state and the snapshot of one moment
	c := contents{now.ReadRaftState(), now.ReadSnapshot()}
	if bytes.Equal(c.State, d.file.State) && bytes.Equal(c.Snapshot, d.file.Snapshot) {
		return nil
	}
	var data bytes.Buffer
	d.err = labgob.NewEncoder(&data).Encode(c)
	if d.err == nil {
		d.err = durable.WriteFile(d.path, data.Bytes(), 0o600)
	}
	d.file = c
	return d.err
}
