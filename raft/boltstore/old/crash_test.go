//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/raft"
	boltstore "raftlab/raft/boltstore/old"
	"raftlab/raft/core"
)

// contents is the content of a store.
type contents struct {
	core.Persistent
}

func read(store *boltstore.Store) (contents, error) {
	saved, err := store.Load()
	if err != nil {
		return contents{}, err
	}
	snap, err := store.ReadSnapshot()
	saved.Snapshot.Data = snap.Data
	return contents{saved}, err
}

func (c contents) equal(d contents) bool {
	return c.HardState == d.HardState &&
		c.Snapshot.LastIncludedIndex == d.Snapshot.LastIncludedIndex &&
		c.Snapshot.LastIncludedTerm == d.Snapshot.LastIncludedTerm &&
		bytes.Equal(c.Snapshot.Data, d.Snapshot.Data) &&
		slices.EqualFunc(c.Entries, d.Entries, func(a, b core.Entry) bool {
			return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
		})
}

func (c contents) String() string {
	return fmt.Sprintf("%+v, snapshot at %d with %d bytes, %d entries",
		c.HardState, c.Snapshot.LastIncludedIndex, len(c.Snapshot.Data), len(c.Entries))
}

func run(first, last, term uint64) []core.Entry {
	var es []core.Entry
	for i := first; i <= last; i++ {
		es = append(es, core.Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "command %d/%d", i, term)})
	}
	return es
}

// TestCrashBetweenTransactions copies the file after each transaction, with the new
// meta pages and with the old ones, as a crash may leave them. A store on either
// copy has the content before the operation or after.
func TestCrashBetweenTransactions(t *testing.T) {
	chunk, back := boltstore.SmallTransactions()
	defer back()
	path := create(t)
	store := open(t, path)
	large := bytes.Repeat([]byte("snapshot"), chunk*3/8+100)
	operations := []struct {
		name string
		do   func() error
	}{
		{"append", func() error {
			return store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 1, VotedFor: 1}, Entries: run(1, 1000, 1)})
		}},
		{"own snapshot", func() error {
			return store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 900, LastIncludedTerm: 1, Data: large})
		}},
		{"overwrite", func() error {
			return store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 2}, Entries: run(950, 960, 2)})
		}},
		{"second snapshot", func() error {
			return store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 955, LastIncludedTerm: 2, Data: large[3:]})
		}},
		{"received snapshot", func() error {
			return store.Save(raft.Update{
				HardState: &core.HardState{CurrentTerm: 3},
				Snapshot:  &core.Snapshot{LastIncludedIndex: 20000, LastIncludedTerm: 3, Data: large[5:]},
				Entries:   run(20001, 20002, 3),
			})
		}},
	}
	transactions := 0 // of all operations
	for _, op := range operations {
		var files [][]byte
		last := readFile(t, path)
		store.OnCommit(func() {
			now := readFile(t, path)
			torn := slices.Clone(now)
			copy(torn, last[:2*os.Getpagesize()])
			files = append(files, torn, now)
			last = now
		})
		before := mustRead(t, store)
		require.NoError(t, op.do(), op.name)
		after := mustRead(t, store)
		require.False(t, before.equal(after), "%s changed nothing", op.name)
		switched := false
		for i, file := range files {
			found := reopened(t, file, chunk)
			switch {
			case found.equal(before) && !switched:
			case found.equal(after):
				switched = true
			default:
				t.Fatalf("%s, cut at %d of %d, holds %v\nbefore: %v\nafter: %v", op.name, i+1, len(files), found, before, after)
			}
		}
		transactions += len(files) / 2
	}
	require.GreaterOrEqual(t, transactions, 25, "a snapshot takes a transaction for each chunk")
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func mustRead(t testing.TB, store *boltstore.Store) contents {
	t.Helper()
	c, err := read(store)
	require.NoError(t, err)
	return c
}

// reopened returns the content of a copy of a store's file, and checks that the
// opening leaves no invalid records.
func reopened(t *testing.T, file []byte, chunk int) contents {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.bolt")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	store, err := boltstore.Open(path, own, boltstore.Options{})
	require.NoError(t, err)
	c := mustRead(t, store)
	require.NoError(t, store.Close())
	checkNoLeftovers(t, path, c, chunk)
	return c
}

func checkNoLeftovers(t *testing.T, path string, c contents, chunk int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	keys := map[string]int{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error { keys[string(name)]++; return nil })
		})
	})
	require.NoError(t, err)
	chunks := (len(c.Snapshot.Data) + chunk - 1) / chunk
	if keys["log"] != len(c.Entries) || keys["chunks"] != chunks {
		t.Fatalf("the file has %d log records and %d pieces; want %d and %d", keys["log"], keys["chunks"], len(c.Entries), chunks)
	}
}
