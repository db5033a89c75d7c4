//go:build unix

package wal_test

import (
	"fmt"
	"os"
	"path/filepath"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// A log is created once, and opened at each start of its host.
func Example() {
	parent, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "log")
	opts := wal.Options{Identity: node.Identity{Cluster: "orders", Host: 1}}
	if err := wal.Create(dir, opts); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		store, err := wal.Open(dir, opts)
		if err != nil {
			fmt.Println(err)
			return
		}
		state, err := store.Load(7)
		fmt.Println("group 7 ends at", state.LastIndex, err)
		err = store.Save([]node.Update{{
			Group:     7,
			HardState: &core.HardState{CurrentTerm: 1, VotedFor: 1},
			Entries:   []core.Entry{{Index: state.LastIndex + 1, Term: 1, Data: []byte("buy")}},
		}})
		fmt.Println("saved:", err)
		fmt.Println("closed:", store.Close())
	}
	// Output:
	// group 7 ends at 0 <nil>
	// saved: <nil>
	// closed: <nil>
	// group 7 ends at 1 <nil>
	// saved: <nil>
	// closed: <nil>
}
