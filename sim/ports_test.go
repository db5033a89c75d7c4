//go:build linux

package sim_test

import (
	"net"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// TestFixedPortRepeats runs a test that listens on a fixed port, alone and then
// with the port in use outside of the world, as by another run.
func TestFixedPortRepeats(t *testing.T) {
	p := program(t, sim.Native, false)
	c := sim.Case{Test: "TestFixedPort", Seed: 3}
	first := run(t, p, c)
	require.Equal(t, sim.Pass, first.Verdict, "%s", first.Output)
	require.Contains(t, string(first.Output), `127.0.0.1:18471 says "from the test\n", <nil>`)
	l, err := net.Listen("tcp", "127.0.0.1:18471")
	require.NoError(t, err)
	defer l.Close()
	again := run(t, p, c)
	require.Equal(t, string(first.Output), string(again.Output))
	require.Equal(t, first.Hash, again.Hash)
}

// TestPortsRepeat runs a test that prints all its ports. The test runs twice,
// then in another world, and then with all these ports in use outside of the
// world.
func TestPortsRepeat(t *testing.T) {
	p := program(t, sim.Native, false)
	c := sim.Case{Test: "TestPorts", Seed: 11}
	first := run(t, p, c)
	require.Equal(t, sim.Pass, first.Verdict, "%s", first.Output)
	ports := regexp.MustCompile(`:(\d{4,5})\b`).FindAllStringSubmatch(string(first.Output), -1)
	require.Greater(t, len(ports), 20, "%s", first.Output)
	require.Equal(t, first.Hash, run(t, p, c).Hash)

	other := run(t, p, sim.Case{Test: "TestPorts", Seed: 12})
	require.NotEqual(t, first.Hash, other.Hash, "another seed gives the same ports")

	taken := 0
	for _, port := range ports {
		if l, err := net.Listen("tcp", "127.0.0.1:"+port[1]); err == nil {
			defer l.Close()
			taken++
		}
		if l, err := net.ListenPacket("udp", "127.0.0.1:"+port[1]); err == nil {
			defer l.Close()
		}
	}
	require.Positive(t, taken)
	again := run(t, p, c)
	require.Equal(t, sim.Pass, again.Verdict, "%s", again.Output)
	require.Equal(t, string(first.Output), string(again.Output))
}
