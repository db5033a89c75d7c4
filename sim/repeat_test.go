package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// TestRepeatCommand expects the command of a run in the environment of the
// test. For a run without a command, the value names the file.
func TestRepeatCommand(t *testing.T) {
	for _, engine := range []string{sim.Native, sim.WASM} {
		p := program(t, engine, false)
		for _, c := range []sim.Case{
			{Test: "TestRepeat", Seed: 5},
			{Test: "TestRepeat", Seed: 6, Limits: sim.Limits{Virtual: time.Minute}, Explore: sim.Explore{Yields: 0.1}},
		} {
			if engine == sim.WASM {
				c.Explore = sim.Explore{}
			}
			res, out, err := sim.Check(t.Context(), p, c)
			require.NoError(t, err)
			require.Equal(t, sim.Safety, res.Verdict, "%s", out.Output)
			require.Contains(t, string(out.Output), "repeat with: "+res.Command+"\n")
		}
	}
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestRepeat", Explore: sim.Explore{Listed: true}})
	require.Contains(t, string(out.Output), "repeat with: raftlab sim --replay FILE")
}
