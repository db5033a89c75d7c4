package porcupine_test

import (
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/workload"
)

// BenchmarkRows measures the histories that checkers explode on: with the
// ready models as they are, and with nothing but the plain API (opaque).
func BenchmarkRows(b *testing.B) {
	for _, row := range workload.Rows() {
		r := row()
		for _, opaque := range []bool{false, true} {
			name, model := r.Name+"/hinted", r.Model
			if opaque {
				name, model = r.Name+"/opaque", workload.Opaque(r.Model)
			}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					got := porcupine.CheckOperationsTimeout(model, r.History, 5*time.Second)
					if (got == porcupine.Ok) != r.Legal || got == porcupine.Unknown {
						b.Skip("got ", got)
					}
				}
			})
		}
	}
}
