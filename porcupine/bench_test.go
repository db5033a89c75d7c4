package porcupine_test

import (
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/workload"
)

// BenchmarkRows measures the histories of workload.Rows with the ready models, and with the plain
// API alone (opaque).
func BenchmarkRows(b *testing.B) {
	for _, row := range workload.Rows() {
		b.Run(row.Name, func(b *testing.B) {
			history := row.History()
			b.Run("hinted", func(b *testing.B) { benchmarkRow(b, row.Model, history, row.Legal, false) })
			b.Run("verbose", func(b *testing.B) { benchmarkRow(b, row.Model, history, row.Legal, true) })
			b.Run("opaque", func(b *testing.B) { benchmarkRow(b, workload.Opaque(row.Model), history, row.Legal, false) })
			b.Run("opaque-verbose", func(b *testing.B) { benchmarkRow(b, workload.Opaque(row.Model), history, row.Legal, true) })
		})
	}
}

func benchmarkRow(b *testing.B, model porcupine.Model, history []porcupine.Operation, legal, verbose bool) {
	b.ReportAllocs()
	for b.Loop() {
		opts := porcupine.Options{Timeout: 10 * time.Second, Verbose: verbose}
		got, _, _ := porcupine.CheckOperationsContext(b.Context(), model, history, opts)
		if (got == porcupine.Ok) != legal || got == porcupine.Unknown {
			b.Skip("got ", got)
		}
	}
}
