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

// TestGivenUpCheckEnds gives checks of long histories up in each of their stages, and measures the
// processor time that passes until no goroutine is left of them.
func TestGivenUpCheckEnds(t *testing.T) {
	const operations, late = 100_000, 10 * time.Millisecond
	shape := workload.Shape{Operations: operations, Clients: 8, Seed: 1}
	kv, versions := workload.KV(shape, 1, 1, 0), workload.Versioned(shape)
	for _, c := range []struct {
		name    string
		model   porcupine.Model
		history []porcupine.Operation
		verbose bool
	}{
		{"hinted", whole(models.KV), kv, false}, {"hinted", whole(models.KV), kv, true},
		{"opaque", workload.Opaque(whole(models.KV)), kv, false}, {"versioned", whole(models.KVVersioned), versions, false},
	} {
		for timeout := 2 * time.Millisecond; timeout < 150*time.Millisecond; timeout *= 2 {
			after := giveUp(c.model, c.history, timeout, c.verbose)
			if after > late { // once may be the runtime's own work
				after = min(after, giveUp(c.model, c.history, timeout, c.verbose))
			}
			if after > late {
				t.Errorf("%s, verbose %v: %v of work after the answer at %v", c.name, c.verbose, after, timeout)
			}
		}
	}
}

// whole is the model without its partitions.
func whole(m porcupine.Model) porcupine.Model {
	m.Partition, m.PartitionEvent = nil, nil
	return m
}

// giveUp checks for a while and returns the processor time that the check takes beyond
// its answer.
func giveUp(model porcupine.Model, history []porcupine.Operation, timeout time.Duration, verbose bool) time.Duration {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the garbage is collected by whom it comes to next
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
