package sim_test

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// TestNetworkRepeats runs tests of the network twice, with a network that fails
// too, and in another world.
func TestNetworkRepeats(t *testing.T) {
	p := program(t, sim.Native, false)
	rough := sim.Net{LatencyMax: 5 * time.Millisecond, Bandwidth: 1 << 20, Delay: 0.1, Loss: 0.05, Duplicate: 0.05, Cut: 0.05}
	for _, n := range []sim.Net{{}, rough} {
		for _, test := range []string{"TestHTTP", "TestStreams", "TestFullBuffers", "TestResets", "TestDark", "TestUnix", "TestDatagrams"} {
			c := sim.Case{Test: test, Seed: 7, Net: n}
			first, again := run(t, p, c), run(t, p, c)
			require.Equal(t, string(first.Output), string(again.Output), "%s with %v", test, n)
			require.Equal(t, first.Virtual, again.Virtual, "%s with %v", test, n)
			if n == (sim.Net{}) {
				require.Equal(t, sim.Pass, first.Verdict, "%s", first.Output)
			}
			c.Seed++
			require.NotEqual(t, first.Virtual, run(t, p, c).Virtual, "%s takes as long in another world", test)
		}
	}
}

// TestNamesOfAWorld checks that names and addresses do not come from the machine.
func TestNamesOfAWorld(t *testing.T) {
	out := run(t, program(t, sim.Native, false), sim.Case{Test: "TestNames"})
	for _, want := range []string{
		"localhost [127.0.0.1 ::1] <nil>", "sim [10.0.0.1] <nil>", "nowhere.example [] lookup nowhere.example: no such host",
		"[localhost.] <nil>", "[127.0.0.1/8 ::1/128 10.0.0.1/8] <nil>", "sim <nil>",
	} {
		require.Contains(t, string(out.Output), want)
	}
}

// TestNetworkFaultsAreShrunk finds a failure that one reset among many faults
// causes, and expects the shrinker to leave this fault alone.
func TestNetworkFaultsAreShrunk(t *testing.T) {
	p := program(t, sim.Native, false)
	c := sim.Case{Test: "TestBrittle", Net: sim.Net{Delay: 0.05, Reset: 0.002}, Faults: sim.Faults{Record: true}}
	var failed sim.Outcome
	for failed.Verdict != sim.Safety {
		c.Seed++
		require.Less(t, c.Seed, uint64(50), "no seed fails")
		failed = run(t, p, c)
	}
	require.Greater(t, len(failed.Faults), 1)
	s := sim.Shrinker{Program: p}
	small, out, err := s.Shrink(context.Background(), c)
	require.NoError(t, err)
	require.Len(t, out.Faults, 1)
	require.Regexp(t, `^reset from 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+ at \d`, out.Faults[0].What)
	require.Equal(t, out.Hash, run(t, p, small).Hash)

	small.Faults.Calm = append(small.Faults.Calm, out.Faults...)
	require.Equal(t, sim.Pass, run(t, p, small).Verdict, "without the reset")
}

// TestDatagramsMeetFaults expects each kind of fault of datagrams.
func TestDatagramsMeetFaults(t *testing.T) {
	p := program(t, sim.Native, false)
	for kind, n := range map[string]sim.Net{"loss": {Loss: 0.1}, "duplicate": {Duplicate: 0.1}, "delay": {Delay: 0.1}, "cut": {Cut: 0.5, CutPeriod: 10 * time.Millisecond}} {
		out := run(t, p, sim.Case{Test: "TestDatagrams", Seed: 1, Net: n, Faults: sim.Faults{Record: true}})
		require.Equal(t, sim.Safety, out.Verdict, kind)
		require.NotEmpty(t, out.Faults)
		for _, f := range out.Faults {
			require.True(t, strings.HasPrefix(f.What, kind), "%s: %s", kind, f.What)
		}
	}
}

// TestParseNet reads what String writes, and names what is wrong.
func TestParseNet(t *testing.T) {
	for _, text := range []string{"", "latency=2ms", "latency-min=1ms,latency=3ms,bandwidth=1000,delay=0.5,max-delay=1s,reset=0.001,stall=1,max-stall=3s,loss=0.25,duplicate=0.125,cut=0.01,cut-period=10s"} {
		n, err := sim.ParseNet(text)
		require.NoError(t, err)
		require.Equal(t, text, n.String())
	}
	for text, want := range map[string]string{
		"speed=1": `"speed" is none of latency-min, latency`, "loss=2": "share loss 2", "delay=x": "delay", "latency=2h": "latency 2h0m0s",
		"bandwidth=-1": "bandwidth -1", "latency-min=2s,latency=1s": "shortest latency 2s",
	} {
		_, err := sim.ParseNet(text)
		require.ErrorIs(t, err, sim.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	_, err := program(t, sim.WASM, false).Run(context.Background(), sim.Case{Test: "TestMixed", Net: sim.Net{Loss: 1}})
	require.ErrorIs(t, err, sim.ErrUnsupported)
}

// TestWorldIsDirected runs the tests of package world in worlds, where the
// network obeys.
func TestWorldIsDirected(t *testing.T) {
	requireNative(t)
	programs, err := sim.Build(t.Context(), sim.Options{Engine: sim.Native}, "./world")
	require.NoError(t, err)
	defer programs[0].Close()
	tests, err := programs[0].Tests(t.Context(), ".")
	require.NoError(t, err)
	skipped := regexp.MustCompile(`(?m)^--- SKIP`)
	for _, test := range tests {
		out := run(t, programs[0], sim.Case{Test: test, Seed: 5})
		require.Equal(t, sim.Pass, out.Verdict, "%s", out.Output)
		require.False(t, skipped.Match(out.Output), "%s", bytes.TrimSpace(out.Output))
		require.Equal(t, out.Hash, run(t, programs[0], sim.Case{Test: test, Seed: 5}).Hash)
	}
}

// TestLargeLibraries runs gRPC over a network that is cut and reset, and bbolt,
// raft/wal and raft/boltstore on disks that lose power, and a cluster of raft/node
// in processes that are killed. A bbolt without syncs must lose transactions.
func TestLargeLibraries(t *testing.T) {
	if os.Getenv("RAFTLAB_SOAK") == "" {
		t.Skip("builds gRPC and bbolt: set RAFTLAB_SOAK=1")
	}
	requireNative(t)
	programs, err := sim.Build(t.Context(), sim.Options{Engine: sim.Native}, "./testdata/stack")
	require.NoError(t, err)
	defer programs[0].Close()
	for _, test := range []string{"TestGRPC", "TestBoltSurvivesPowerLoss", "TestStoragesSurvivePowerLoss", "TestCluster"} {
		for seed := range uint64(20) {
			out := run(t, programs[0], sim.Case{Test: test, Seed: seed})
			require.Equal(t, sim.Pass, out.Verdict, "%s", out.Output)
			again := run(t, programs[0], sim.Case{Test: test, Seed: seed})
			require.Equal(t, out.Hash, again.Hash)
			require.Equal(t, out.Virtual, again.Virtual)
		}
	}
	careless := map[sim.Verdict]int{}
	for seed := range uint64(20) {
		careless[run(t, programs[0], sim.Case{Test: "TestCarelessStoreIsCaught", Seed: seed}).Verdict]++
	}
	require.Greater(t, careless[sim.Safety]+careless[sim.Crash], 10, "%v", careless)
}
