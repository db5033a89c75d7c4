package memstore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/node/storagetest"
)

func TestStorage(t *testing.T) {
	storagetest.Run(t, uint64(testkit.Seed(t)), func(t *testing.T) storagetest.Open {
		var store *memstore.Store
		return func(id node.Identity) (node.Storage, error) {
			switch {
			case store == nil:
				store = memstore.New(id)
			case store.Identity() != id:
				return nil, node.ErrStranger // a host compares, see node.Storage
			default:
				store = store.Reopen()
			}
			return store, nil
		}
	})
}

// A store that has been reopened is of no use to the host that had it before.
func TestReopenFencesTheOldStore(t *testing.T) {
	old := memstore.New(node.Identity{Cluster: "test", Host: 1})
	update := []node.Update{{Group: 1, HardState: &core.HardState{CurrentTerm: 3}}}
	require.NoError(t, old.Save(update))
	reopened := old.Reopen()
	require.ErrorIs(t, old.Save(update), node.ErrStorageClosed)
	require.ErrorIs(t, old.Close(), node.ErrStorageClosed)
	for range 2 { // also of a closed store
		state, err := reopened.Load(1)
		require.NoError(t, err)
		require.Equal(t, uint64(3), state.HardState.CurrentTerm)
		require.NoError(t, reopened.Close())
		reopened = reopened.Reopen()
	}
}

func TestBeforeSave(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		store := memstore.New(node.Identity{Cluster: "test", Host: 1})
		resume := make(chan struct{})
		store.BeforeSave(func([]node.Update) error { <-resume; return nil })
		saved := make(chan error)
		update := []node.Update{{Group: 1, HardState: &core.HardState{CurrentTerm: 3}}}
		go func() { saved <- store.Save(update) }()
		testkit.WaitFor(t, 1e9, "a store that answers while Save hangs", func() bool {
			state, err := store.Load(1)
			return err == nil && state.HardState.CurrentTerm == 0
		})
		close(resume)
		require.NoError(t, <-saved)

		full := errors.New("no space left")
		store.BeforeSave(func([]node.Update) error { return full })
		require.ErrorIs(t, store.Save(update), full)
		store.BeforeSave(nil)
		require.ErrorIs(t, store.Save(update), full, "a failed store stays failed")
		require.ErrorIs(t, store.Remove(1), full)
		require.NoError(t, store.Reopen().Save(update))
	})
}

func Example() {
	store := memstore.New(node.Identity{Cluster: "test", Host: 1})
	err := store.Save([]node.Update{{Group: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: []byte("x = 1")}}}})
	if err != nil {
		fmt.Println(err)
	}
	store = store.Reopen() // as after a restart of the host
	entries, err := store.Entries(1, 1, 1, 1<<20)
	fmt.Printf("%s %v\n", entries[0].Data, err)
	// Output: x = 1 <nil>
}

func BenchmarkSave(b *testing.B) {
	store := memstore.New(node.Identity{Cluster: "bench", Host: 1})
	data := make([]byte, 128)
	b.ReportAllocs()
	for i := range b.N {
		err := store.Save([]node.Update{{Group: 1, Entries: []core.Entry{{Index: uint64(i + 1), Term: 1, Data: data}}}})
		require.NoError(b, err)
	}
}
