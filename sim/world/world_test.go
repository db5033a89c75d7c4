package world_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim/world"
)

func inWorld(t *testing.T) {
	t.Helper()
	if !world.Active() {
		t.Skip("runs in a simulated world: raftlab sim ./sim/world")
	}
}

// echo serves an address until the end of the test.
func echo(t *testing.T, address string) {
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
}

func dial(t *testing.T, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// answer sends a word and returns the time until the echo.
func answer(c net.Conn, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	c.SetDeadline(began.Add(limit))
	if _, err := fmt.Fprint(c, "word"); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return time.Since(began), err
}

// TestCut cuts each direction of a connection, and heals it.
func TestCut(t *testing.T) {
	inWorld(t)
	const server = "10.0.7.1:80"
	echo(t, server)
	for _, way := range [][2]string{{"*", server}, {server, "*"}, {"10.0.7.0/24", "10.0.7.0/24"}, {":80", ""}} {
		c := dial(t, server)
		_, err := answer(c, time.Second)
		require.NoError(t, err)
		require.NoError(t, world.Cut(way[0], way[1]))
		_, err = answer(c, time.Second)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "%v", way)
		if way[0] == "*" {
			_, err = net.DialTimeout("tcp", server, time.Second)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		require.NoError(t, world.Heal(way[0], way[1]))
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
		_, err = io.ReadFull(c, make([]byte, 4)) // sent again after the cut
		require.NoError(t, err)
		_, err = answer(c, time.Second)
		require.NoError(t, err)
	}
}

// TestLongPartition expects a sender to give up in the end.
func TestLongPartition(t *testing.T) {
	inWorld(t)
	echo(t, "10.0.7.1:81")
	c := dial(t, "10.0.7.1:81")
	require.NoError(t, world.Partition("10.0.7.1:81", "*"))
	defer world.HealAll()
	took, err := answer(c, time.Hour)
	require.ErrorIs(t, err, syscall.ETIMEDOUT, "after %v", took)
	began := time.Now()
	_, err = net.Dial("tcp", "10.0.7.1:81")
	require.ErrorIs(t, err, syscall.ETIMEDOUT)
	require.InDelta(t, 127, time.Since(began).Seconds(), 1)
}

// TestReset resets connections by their address.
func TestReset(t *testing.T) {
	inWorld(t)
	echo(t, "10.0.7.1:82")
	echo(t, "10.0.7.2:82")
	one, two := dial(t, "10.0.7.1:82"), dial(t, "10.0.7.2:82")
	require.NoError(t, world.Reset("*", "10.0.7.1"))
	_, err := answer(one, time.Second)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = answer(two, time.Second)
	require.NoError(t, err)
}

// TestShape makes a path slow in time and in bytes.
func TestShape(t *testing.T) {
	inWorld(t)
	echo(t, "10.0.7.1:83")
	require.NoError(t, world.Shape("*", "10.0.7.1:83", world.Link{Latency: 300 * time.Millisecond}))
	c := dial(t, "10.0.7.1:83")
	took, err := answer(c, time.Second)
	require.NoError(t, err)
	require.InDelta(t, 0.3, took.Seconds(), 0.01)
	require.NoError(t, world.Shape("*", "10.0.7.1:83", world.Link{Bandwidth: 10_000}))
	began := time.Now()
	c.SetDeadline(time.Time{})
	_, err = c.Write(make([]byte, 50_000))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 50_000))
	require.NoError(t, err)
	require.InDelta(t, 5, time.Since(began).Seconds(), 0.1)
	require.NoError(t, world.HealAll())
}

// TestName gives names to a machine.
func TestName(t *testing.T) {
	inWorld(t)
	require.NoError(t, world.Name("One.Example", "10.0.7.1"))
	require.NoError(t, world.Name("one.example", "fd00::1"))
	echo(t, "10.0.7.1:84")
	addrs, err := net.LookupHost("ONE.example")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"10.0.7.1", "fd00::1"}, addrs)
	names, err := net.LookupAddr("10.0.7.1")
	require.NoError(t, err)
	require.Equal(t, []string{"one.example."}, names)
	_, err = answer(dial(t, "one.example:84"), time.Second)
	require.NoError(t, err)
	_, err = net.LookupHost("two.example")
	dns := (*net.DNSError)(nil)
	require.True(t, errors.As(err, &dns) && dns.IsNotFound, "%v", err)
}

// TestSetFaults turns faults on and off.
func TestSetFaults(t *testing.T) {
	inWorld(t)
	echo(t, "10.0.7.1:85")
	c := dial(t, "10.0.7.1:85")
	require.NoError(t, world.SetFaults(world.Faults{Stall: 1, MaxStall: time.Hour}))
	_, err := answer(c, time.Second)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, world.SetFaults(world.Faults{}))
	_, err = answer(dial(t, "10.0.7.1:85"), time.Second)
	require.NoError(t, err)
}

// TestArguments expects an error for a wrong argument, outside of a world too.
func TestArguments(t *testing.T) {
	for _, pattern := range []string{"nowhere", "10.0.0", ":0", ":x", "10.0.0.1:", "10.0.0.0/33"} {
		require.ErrorIs(t, world.Cut(pattern, "*"), world.ErrInvalid, pattern)
		require.ErrorIs(t, world.Heal("*", pattern), world.ErrInvalid, pattern)
	}
	require.ErrorIs(t, world.Name("", "10.0.0.1"), world.ErrInvalid)
	require.ErrorIs(t, world.Name("one", "10.0.0"), world.ErrInvalid)
	require.ErrorIs(t, world.Shape("*", "*", world.Link{Latency: -1}), world.ErrInvalid)
	require.ErrorIs(t, world.SetFaults(world.Faults{Loss: 2}), world.ErrInvalid)
	require.ErrorIs(t, world.SetFaults(world.Faults{MaxDelay: -1}), world.ErrInvalid)
}
