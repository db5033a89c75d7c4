//go:build !wasip1

package boltstore_test

import (
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// digest describes all that a storage holds.
func digest(t testing.TB, s node.Storage) string {
	t.Helper()
	groups, err := s.Groups()
	require.NoError(t, err)
	var out []byte
	for _, id := range groups {
		state, err := s.Load(id)
		require.NoError(t, err)
		out = fmt.Appendf(out, "group %d %+v\n", id, state)
		if state.LastIndex > state.CompactedIndex {
			entries, err := s.Entries(id, state.CompactedIndex+1, state.LastIndex, 1<<30)
			require.NoError(t, err)
			for _, e := range entries {
				out = appendNumbers(out, e.Index, e.Term, uint64(e.Type), hash(e.Data))
			}
		}
		if state.Snapshot.Index > 0 {
			out = fmt.Appendf(out, "body %x\n", hash(body(t, s, id)))
		}
	}
	return string(out)
}

// appendNumbers adds a line of numbers.
func appendNumbers(out []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		out = append(strconv.AppendUint(out, n, 16), ' ')
	}
	return append(out, '\n')
}

func hash(data []byte) uint64 { return crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)) }

func body(t testing.TB, s node.Storage, id node.GroupID) []byte {
	t.Helper()
	r, err := s.OpenSnapshot(id)
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.Header().Size)))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return data
}

// run makes entries of one term.
func run(first, last, term uint64) []core.Entry {
	var es []core.Entry
	for i := first; i <= last; i++ {
		es = append(es, core.Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "command %d/%d", i, term)})
	}
	return es
}

// write commits a snapshot with a body.
func write(t testing.TB, s node.Storage, id node.GroupID, index, term uint64, data []byte) *node.SnapshotHeader {
	t.Helper()
	w, err := s.CreateSnapshot(id, node.SnapshotHeader{Index: index, Term: term, Configuration: []byte("members")})
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	header, err := w.Commit()
	require.NoError(t, err)
	return &header
}

// snapshot replaces a group's log up to index by a snapshot.
func snapshot(t testing.TB, s node.Storage, id node.GroupID, index, term uint64, data []byte) {
	t.Helper()
	save(t, s, node.Update{Group: id, Snapshot: write(t, s, id, index, term, data), CompactTo: index})
}

func save(t testing.TB, s node.Storage, updates ...node.Update) {
	t.Helper()
	require.NoError(t, s.Save(updates))
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// requireClean closes a store, and checks that the file has the records of the
// content only.
func requireClean(t testing.TB, store *boltstore.Store, path string) {
	t.Helper()
	store.Settle()
	want := map[string]int{}
	groups, err := store.Groups()
	require.NoError(t, err)
	for _, id := range groups {
		state, err := store.Load(id)
		require.NoError(t, err)
		want["heads"]++
		if state.LastIndex > state.CompactedIndex {
			entries, err := store.Entries(id, state.CompactedIndex+1, state.LastIndex, 1<<30)
			require.NoError(t, err)
			for _, e := range entries {
				want["logs"] += 1 + len(e.Data)/(16<<10)
			}
		}
		if state.Snapshot.Index > 0 {
			want["snapshots"]++
			want["bodies"] += boltstore.Pieces(state.Snapshot.Size)
		}
	}
	require.NoError(t, store.Close())
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	found := map[string]int{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error { found[string(name)]++; return nil })
		})
	})
	require.NoError(t, err)
	delete(found, "state")
	require.Equal(t, want, found, "records in the buckets")
}
