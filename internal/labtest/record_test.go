package labtest

import (
	"os"
	"testing"

	"raftlab/internal/testkit"
	"raftlab/trace"
)

// A recording has the snapshots that servers take and read, and each change of a saved
// state's size before the crash.
func TestRecordOfSnapshots(t *testing.T) {
	if os.Getenv("RAFTLAB_TRACE") == "0" {
		t.Skip("recordings are off")
	}
	testkit.Run(t, func(t *testing.T) {
		c := New(t, 3, SnapshotEvery(2))
		for i := range 5 {
			c.One(i, 3)
		}
		sizes := make([]int, c.N)
		for i := range sizes {
			sizes[i] = c.Persister(i).RaftStateSize()
		}
		c.Crash(c.All()...)
		c.Restart(c.All()...)
		run := c.rec.Recorder.Recording()
		for i, size := range sizes {
			var taken, read, saved bool
			for _, e := range run.Events {
				switch {
				case e.Lane != i:
				case e.Kind == trace.Snapshot && e.Text == "takes a snapshot":
					taken = taken || e.Index == 4
				case e.Kind == trace.Restarted:
					read = read || e.Index == 4
				case e.Kind == trace.Saved && !read:
					saved = e.Text == savedText(size)
				}
			}
			if !taken || !read || !saved {
				t.Errorf("server %d: a snapshot up to index 4 is taken: %v, and read: %v; the saved size of %d bytes is the last: %v", i, taken, read, size, saved)
			}
		}
	})
}
