package sim_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"raftlab/sim"
)

// proofSize returns the number of runs for an engine, and the number of seeds. Each case
// runs at least twice.
func proofSize(cases int) (runs, seeds int) {
	if os.Getenv("RAFTLAB_SOAK") != "" {
		return 1000, 3
	}
	return 2 * cases, 1
}

// TestSameSeedSameBytes repeats mixed tests with few seeds and compares the
// hashes of the whole output. Many runs at once keep the machine busy, under
// different outer GOMAXPROCS.
func TestSameSeedSameBytes(t *testing.T) {
	t.Run("native", func(t *testing.T) {
		explores := []sim.Explore{{}, {Yields: 0.05, Sleeps: 0.01}}
		if os.Getenv("RAFTLAB_SOAK") != "" {
			explores = append(explores, sim.Explore{Yields: 0.1}, sim.Explore{Sleeps: 0.02})
		}
		proof(t, program(t, sim.Native, false), explores,
			"TestMixed", "TestParallel", "TestGarbage", "TestForever", "TestDeadlock", "TestPanic", "TestBubble", "TestFiles", "TestTCP", "TestGap")
	})
	t.Run("wasm", func(t *testing.T) {
		proof(t, program(t, sim.WASM, false), []sim.Explore{{}},
			"TestMixed", "TestParallel", "TestGarbage", "TestForever", "TestDeadlock", "TestPanic", "TestBubble", "TestFiles", "TestGap")
	})
}

func proof(t *testing.T, p sim.Program, explores []sim.Explore, tests ...string) {
	runs, seeds := proofSize(len(explores) * len(tests))
	var (
		mu     sync.Mutex
		hashes = map[string]string{}
		wg     sync.WaitGroup
		slots  = make(chan int, 6)
	)
	for i := range runs {
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
		if i%20 == 10 {
			t.Setenv("GOMAXPROCS", fmt.Sprint(1+i%7)) // of the processes that run the runs
		}
	}
	wg.Wait()
	if len(hashes) > runs/2 {
		t.Errorf("%d runs of %d cases repeat too little", runs, len(hashes))
	}
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
