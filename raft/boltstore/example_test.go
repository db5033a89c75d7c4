//go:build !wasip1

package boltstore_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// A file is created once. Later openings find what was saved.
func Example() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "host-1.bolt")
	opts := boltstore.Options{Identity: node.Identity{Cluster: "4d1c", Host: 1}}
	if err := boltstore.Create(path, opts); err != nil {
		log.Fatal(err)
	}
	store, err := boltstore.Open(path, opts)
	if err != nil {
		log.Fatal(err)
	}
	err = store.Save([]node.Update{{
		Group:     1,
		HardState: &core.HardState{CurrentTerm: 1, VotedFor: 2},
		Entries:   []core.Entry{{Index: 1, Term: 1, Data: []byte("a")}, {Index: 2, Term: 1, Data: []byte("b")}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}

	store, err = boltstore.Open(path, opts)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	state, err := store.Load(1)
	if err != nil {
		log.Fatal(err)
	}
	entries, err := store.Entries(1, 1, state.LastIndex, 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("term", state.HardState.CurrentTerm)
	for _, e := range entries {
		fmt.Printf("entry %d: %s\n", e.Index, e.Data)
	}
	// Output:
	// term 1
	// entry 1: a
	// entry 2: b
}
