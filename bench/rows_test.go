package bench

import (
	"os"
	"testing"
	"time"

	original "github.com/anishathalye/porcupine"

	"raftlab/porcupine"
	"raftlab/porcupine/workload"
)

// BenchmarkSideBySide measures ours, hinted and opaque, and the original on the
// histories that checkers explode on. The original gets 5 seconds each, and
// 30 with RAFTLAB_SOAK=1; what it does not decide in that time is skipped. It is not given
// the million operations on one key, as it needs more memory than most machines have.
func BenchmarkSideBySide(b *testing.B) {
	patience := 5 * time.Second
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		patience = 30 * time.Second
	}
	for _, row := range workload.Rows() {
		r := row()
		for name, m := range map[string]porcupine.Model{"ours-hinted": r.Model, "ours-opaque": workload.Opaque(r.Model)} {
			b.Run(r.Name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got := porcupine.CheckOperationsTimeout(m, r.History, patience); (got == porcupine.Ok) != r.Legal {
						b.Skip("got ", got)
					}
				}
			})
		}
		if r.Name == "sequential-1M" {
			continue
		}
		b.Run(r.Name+"/original", func(b *testing.B) {
			model, history := theirs(r.Model, r.History)
			b.ReportAllocs()
			for b.Loop() {
				if got := original.CheckOperationsTimeout(model, history, patience); got == original.Unknown {
					b.Skip("not decided in ", patience)
				}
			}
		})
	}
}
