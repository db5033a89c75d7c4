package sim_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"raftlab/sim"
)

// proofRuns is the number of repeated runs for each engine.
func proofRuns() int {
	if os.Getenv("RAFTLAB_SOAK") != "" {
		return 1000
	}
	return 60
}

// TestSameSeedSameBytes repeats mixed tests with few seeds and compares the
// hashes of the whole output. Many runs at once keep the machine busy, under
// different outer GOMAXPROCS.
func TestSameSeedSameBytes(t *testing.T) {
	t.Run("native", func(t *testing.T) {
		proof(t, program(t, sim.Native, false), []sim.Explore{{}, {Yields: 0.1}, {Sleeps: 0.02}, {Yields: 0.05, Sleeps: 0.01}},
			"TestMixed", "TestParallel", "TestGarbage", "TestForever", "TestDeadlock", "TestPanic", "TestBubble", "TestFiles", "TestTCP", "TestGap")
	})
	t.Run("wasm", func(t *testing.T) {
		proof(t, program(t, sim.WASM, false), []sim.Explore{{}},
			"TestMixed", "TestParallel", "TestGarbage", "TestForever", "TestDeadlock", "TestPanic", "TestBubble", "TestFiles", "TestGap")
	})
}

func proof(t *testing.T, p sim.Program, explores []sim.Explore, tests ...string) {
	const seeds = 3
	var (
		mu     sync.Mutex
		hashes = map[string]string{}
		wg     sync.WaitGroup
		slots  = make(chan int, 6)
	)
	for i := range proofRuns() {
		slots <- i
		wg.Go(func() {
			defer func() { <-slots }()
			c := sim.Case{Test: tests[i%len(tests)], Seed: uint64(i / len(tests) % seeds), Limits: sim.Limits{Virtual: quick.Virtual, Memory: 32 << 20}}
			c.Explore = explores[i/len(tests)/seeds%len(explores)]
			out, err := p.Run(context.Background(), c)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprintf("%s seed %d %v", c.Test, c.Seed, c.Explore)
			if was, ok := hashes[key]; ok && was != out.Hash {
				t.Errorf("%s differs from an earlier run; output now:\n%s", key, out.Output)
			}
			hashes[key] = out.Hash
		})
		if i%50 == 25 {
			t.Setenv("GOMAXPROCS", fmt.Sprint(1+i%7)) // of the processes that run the runs
		}
	}
	wg.Wait()
}

// TestOtherSeedOtherWorld expects other schedules, maps, random numbers and
// times.
func TestOtherSeedOtherWorld(t *testing.T) {
	for _, engine := range []string{sim.Native, sim.WASM} {
		t.Run(engine, func(t *testing.T) {
			p := program(t, engine, false)
			const worlds = 8
			seen := map[string]bool{}
			for seed := range uint64(worlds) {
				seen[run(t, p, sim.Case{Test: "TestMixed", Seed: seed}).Hash] = true
			}
			if len(seen) != worlds {
				t.Errorf("%d seeds gave %d worlds", worlds, len(seen))
			}
		})
	}
}
