package wal_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// newSegments is a directory that counts the segments made anew.
type newSegments struct {
	*simdisk.Disk
	made atomic.Int64
}

func (d *newSegments) Create(name string) (wal.File, error) {
	if strings.HasSuffix(name, ".tmp") {
		d.made.Add(1)
	}
	return d.Disk.Create(name)
}

// A log that shrinks by half with each snapshot grows again into its old segments.
// A log that has become short gives the segments back.
func TestSegmentsAreUsedAgain(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		disk := &newSegments{Disk: simdisk.New()}
		opts := wal.Options{Identity: smallSegments.Identity, SegmentBytes: 64 << 10}
		require.NoError(t, wal.CreateIn(disk, opts))
		store, err := wal.OpenIn(disk, opts)
		require.NoError(t, err)
		defer store.Close()
		const entries, size, rounds, segments = 56, 8000, 10, 8 // segments a round
		next, warm := uint64(0), int64(0)
		for round := range rounds {
			kept := next
			for range entries {
				next++
				require.NoError(t, put(store, 1, size))
				time.Sleep(time.Millisecond) // for the janitor
			}
			header, err := writeSnapshot(store, 1, node.SnapshotHeader{Index: next, Term: 1}, []byte("state"))
			require.NoError(t, err)
			require.NoError(t, store.Save([]node.Update{{Group: 1, Snapshot: &header, CompactTo: kept}}))
			if round == 2 {
				warm = disk.made.Load()
			}
		}
		made := disk.made.Load() - warm
		t.Logf("%d new files for %d segments, and %d for %d", warm, 3*segments, made, (rounds-3)*segments)
		require.Less(t, made, int64(segments))

		require.NoError(t, put(store, 1, size))
		compact(t, store, 1)
		for range 3 {
			require.NoError(t, put(store, 2, 10))
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, store.Usage().Log, 6*opts.SegmentBytes)
	})
}
