package sim_test

import (
	"testing"
	"time"

	"raftlab/sim"
)

// TestWASMVerdicts runs each kind of ending in an unpatched toolchain. A
// spinning run cannot be stopped, so its worker is replaced.
func TestWASMVerdicts(t *testing.T) {
	p := program(t, sim.WASM, false)
	for _, e := range verdicts {
		t.Run(e.test, func(t *testing.T) {
			t.Parallel()
			limits := quick
			if e.test == "TestLoud" {
				limits.SpinCPU = time.Minute // the output takes long on a busy machine
			}
			e.check(t, run(t, p, sim.Case{Test: e.test, Seed: 3, Limits: limits}))
		})
	}
}
