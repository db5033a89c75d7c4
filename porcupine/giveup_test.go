//go:build unix

package porcupine_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// givenUp runs checks of long histories, which need more time than the tests give them.
func givenUp(check func(name string, model porcupine.Model, history []porcupine.Operation, verbose bool)) {
	shape := workload.Shape{Operations: 100_000, Clients: 8, Seed: 1}
	kv, versions := workload.KV(shape, 1, 1, 0), workload.Versioned(shape)
	check("hinted", whole(models.KV), kv, false)
	check("hinted-verbose", whole(models.KV), kv, true)
	check("opaque", workload.Opaque(whole(models.KV)), kv, false)
	check("versioned", whole(models.KVVersioned), versions, false)
}

// TestGivenUpCheckEnds gives checks up in each of their stages, and waits for all their goroutines.
func TestGivenUpCheckEnds(t *testing.T) {
	givenUp(func(_ string, model porcupine.Model, history []porcupine.Operation, verbose bool) {
		for timeout := 2 * time.Millisecond; timeout < 50*time.Millisecond; timeout *= 2 {
			giveUp(model, history, timeout, verbose)
		}
	})
}

// BenchmarkGivenUp gives checks up in each of their stages, and reports the greatest processor
// time of a check after its answer.
func BenchmarkGivenUp(b *testing.B) {
	givenUp(func(name string, model porcupine.Model, history []porcupine.Operation, verbose bool) {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				for timeout := 2 * time.Millisecond; timeout < 150*time.Millisecond; timeout *= 2 {
					worst = max(worst, giveUp(model, history, timeout, verbose))
				}
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms-after-at-worst")
		})
	})
}

// whole is the model without its partitions.
func whole(m porcupine.Model) porcupine.Model {
	m.Partition, m.PartitionEvent = nil, nil
	return m
}

// giveUp checks until the timeout, and returns the processor time from the answer until all
// goroutines have ended.
func giveUp(model porcupine.Model, history []porcupine.Operation, timeout time.Duration, verbose bool) time.Duration {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collection is not part of the check
	before := runtime.NumGoroutine()
	porcupine.CheckOperationsContext(context.Background(), model, history, porcupine.Options{Timeout: timeout, Verbose: verbose})
	answered := processorTime()
	for runtime.NumGoroutine() > before {
		time.Sleep(time.Millisecond / 10)
	}
	return processorTime() - answered
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
