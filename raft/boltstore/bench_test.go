//go:build !wasip1

package boltstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// BenchmarkSave appends entries of 100 bytes, a number of them in one Save, to one
// group or one to each of several groups.
func BenchmarkSave(b *testing.B) {
	data := make([]byte, 100)
	for _, n := range []int{1, 16, 100, 256} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			store := open(b, create(b))
			entries := make([]core.Entry, n)
			next := uint64(1)
			for b.Loop() {
				for i := range entries {
					entries[i] = core.Entry{Index: next, Term: 1, Data: data}
					next++
				}
				require.NoError(b, store.Save([]node.Update{{Group: 1, Entries: entries}}))
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
	for _, n := range []int{16, 256} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			store := open(b, create(b))
			updates := make([]node.Update, n)
			for next := uint64(1); b.Loop(); next++ {
				for i := range updates {
					updates[i] = node.Update{Group: node.GroupID(i + 1), Entries: []core.Entry{{Index: next, Term: 1, Data: data}}}
				}
				require.NoError(b, store.Save(updates))
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkSaveDuringSnapshot measures Save during the writing of a snapshot of 100
// MB.
func BenchmarkSaveDuringSnapshot(b *testing.B) {
	store := open(b, create(b))
	data := make([]byte, 1<<20)
	var took []time.Duration
	next := uint64(1)
	save := func() {
		start := time.Now()
		require.NoError(b, store.Save([]node.Update{{Group: 1, Entries: run(next, next, 1)}}))
		took = append(took, time.Since(start))
		next++
	}
	for b.Loop() {
		save()
		done := make(chan error)
		go func() { done <- writeMiB(store, next-1, data, 100) }()
		for saved := false; !saved; {
			select {
			case err := <-done:
				require.NoError(b, err)
				saved = true
			default:
				save()
			}
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms/save")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms/save")
	b.ReportMetric(float64(len(took))/float64(b.N), "saves/snapshot")
}

// writeMiB writes a snapshot of n parts.
func writeMiB(store *boltstore.Store, index uint64, part []byte, n int) error {
	w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: index, Term: 1})
	if err != nil {
		return err
	}
	for range n {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	_, err = w.Commit()
	return err
}
