//go:build unix

package wal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/durable"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// benchSizes are the shapes of a Save: updates of groups, bytes of each entry.
var benchSizes = []struct{ updates, bytes int }{
	{1, 128}, {16, 128}, {256, 128}, {1, 1024}, {16, 1024}, {256, 1024},
}

// BenchmarkSave saves an entry for each of some groups, with one sync.
func BenchmarkSave(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("groups=%d/bytes=%d", size.updates, size.bytes), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "log")
			opts := wal.Options{Identity: identity}
			require.NoError(b, wal.Create(dir, opts))
			store := open(b, dir, opts)
			data := make([]byte, size.bytes)
			updates := make([]node.Update, size.updates)
			entries := make([]core.Entry, size.updates)
			b.SetBytes(int64(size.updates * size.bytes))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for k := range updates {
					entries[k] = core.Entry{Index: uint64(i + 1), Term: 1, Data: data}
					updates[k] = node.Update{Group: node.GroupID(k + 1), Entries: entries[k : k+1]}
				}
				require.NoError(b, store.Save(updates))
			}
		})
	}
}

// BenchmarkRawSync writes as many bytes as BenchmarkSave to a file that has its full
// size, and syncs: what the disk costs without a log.
func BenchmarkRawSync(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("groups=%d/bytes=%d", size.updates, size.bytes), func(b *testing.B) {
			const room = 16 << 20
			file, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			require.NoError(b, err)
			defer file.Close()
			_, err = file.Write(make([]byte, room))
			require.NoError(b, err)
			require.NoError(b, durable.SyncData(file))
			data := make([]byte, size.updates*size.bytes)
			b.SetBytes(int64(len(data)))
			for offset := int64(0); b.Loop(); offset += int64(len(data)) {
				if offset+int64(len(data)) > room {
					offset = 0
				}
				_, err := file.WriteAt(data, offset)
				require.NoError(b, err)
				require.NoError(b, durable.SyncData(file))
			}
		})
	}
}

// BenchmarkOpen opens a log of 256 MiB.
func BenchmarkOpen(b *testing.B) {
	const total = 256 << 20
	for _, bytes := range []int{128, 1024} {
		b.Run(fmt.Sprintf("bytes=%d", bytes), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "log")
			opts := wal.Options{Identity: identity}
			require.NoError(b, wal.Create(dir, opts))
			store := open(b, dir, opts)
			data := make([]byte, bytes)
			next := uint64(1)
			for n := 0; n < total; {
				u := node.Update{Group: 1}
				for range (256 << 10) / (bytes + 10) {
					u.Entries = append(u.Entries, core.Entry{Index: next, Term: 1, Data: data})
					next, n = next+1, n+bytes+10
				}
				require.NoError(b, store.Save([]node.Update{u}))
			}
			require.NoError(b, store.Close())
			b.SetBytes(total)
			b.ReportAllocs()
			start := time.Now()
			for b.Loop() {
				store, err := wal.Open(dir, opts)
				require.NoError(b, err)
				require.NoError(b, store.Close())
			}
			b.ReportMetric(float64(time.Since(start))/float64(b.N)/float64(total)*(1<<30)/1e9, "s/GiB")
		})
	}
}

// BenchmarkEntries reads 64 KiB of entries from anywhere in a long log.
func BenchmarkEntries(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "log")
	opts := wal.Options{Identity: identity}
	require.NoError(b, wal.Create(dir, opts))
	store := open(b, dir, opts)
	data := make([]byte, 128)
	last := uint64(0)
	for range 200 {
		u := node.Update{Group: 1}
		for range 1000 {
			last++
			u.Entries = append(u.Entries, core.Entry{Index: last, Term: 1, Data: data})
		}
		require.NoError(b, store.Save([]node.Update{u}))
	}
	b.ReportAllocs()
	b.SetBytes(64 << 10)
	lo := uint64(1)
	for b.Loop() {
		_, err := store.Entries(1, lo, last, 64<<10)
		require.NoError(b, err)
		if lo += 7919; lo > last {
			lo -= last
		}
	}
}
