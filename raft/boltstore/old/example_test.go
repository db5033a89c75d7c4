//go:build !wasip1

package boltstore_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// A file is created once. What was saved is there when it is opened again, and
// nobody else can open it meanwhile.
func Example() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "replica.bolt")
	id := boltstore.Identity{Cluster: "4d1c", Replica: 1, Replicas: 3}
	if err := boltstore.Create(path, id); err != nil {
		log.Fatal(err)
	}
	store, err := boltstore.Open(path, id, boltstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = store.Save(raft.Update{
		HardState: &core.HardState{CurrentTerm: 1, VotedFor: 2},
		Entries:   []core.Entry{{Index: 1, Term: 1, Data: []byte("a")}, {Index: 2, Term: 1, Data: []byte("b")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 1, LastIncludedTerm: 1, Data: []byte("state")}); err != nil {
		log.Fatal(err)
	}
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}

	store, err = boltstore.Open(path, id, boltstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	saved, err := store.Load()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("term", saved.HardState.CurrentTerm, "snapshot at", saved.Snapshot.LastIncludedIndex)
	for _, e := range saved.Entries {
		fmt.Printf("entry %d: %s\n", e.Index, e.Data)
	}
	// Output:
	// term 1 snapshot at 1
	// entry 2: b
}
