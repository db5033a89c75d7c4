package bench

import (
	"os"
	"syscall"
	"testing"
	"time"

	original "github.com/anishathalye/porcupine"

	"raftlab/porcupine"
	"raftlab/porcupine/workload"
)

// BenchmarkSideBySide measures our package, hinted and opaque, and the original on the histories of
// workload.Rows. Each check gets 5 seconds, and 30 with RAFTLAB_SOAK=1. Undecided checks are
// skipped. The original does not get the million operations on one key, because it would need more
// memory than most machines have.
func BenchmarkSideBySide(b *testing.B) {
	patience := 5 * time.Second
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		patience = 30 * time.Second
	}
	for _, row := range workload.Rows() {
		b.Run(row.Name, func(b *testing.B) { sideBySide(b, row, patience) })
	}
}

func sideBySide(b *testing.B, row workload.Row, patience time.Duration) {
	history := row.History()
	for name, m := range map[string]porcupine.Model{"ours-hinted": row.Model, "ours-opaque": workload.Opaque(row.Model)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer reportCPU(b, processorTime())
			for b.Loop() {
				if got := porcupine.CheckOperationsTimeout(m, history, patience); (got == porcupine.Ok) != row.Legal || got == porcupine.Unknown {
					b.Skip("got ", got)
				}
			}
		})
	}
	if row.Name == "sequential-1M" {
		return
	}
	b.Run("original", func(b *testing.B) {
		model, theirHistory := theirs(row.Model, history)
		b.ReportAllocs()
		defer reportCPU(b, processorTime())
		for b.Loop() {
			if got := original.CheckOperationsTimeout(model, theirHistory, patience); got == original.Unknown {
				b.Skip("not decided in ", patience)
			}
		}
	})
}

// processorTime returns the processor time of this process.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports processor time, because other work on the machine disturbs it less than elapsed
// time.
func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((processorTime()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}
