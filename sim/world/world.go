// Package world lets a test direct the simulated world that it runs in, under
// raftlab sim with the native engine. Outside of a world the functions check
// their arguments and do nothing else, so the same test runs under go test, too.
//
// # Network
//
// A world has a network of its own under package net. Every address exists, no
// packet leaves the process, and names come from a table. Functions here name
// addresses by patterns:
//
//   - every address (the empty string, too)
//     10.0.0.7        an IP address, with any port
//     10.0.0.0/24     a prefix, with any port
//     10.0.0.7:8080   an IP address and a port
//     :8080           a port of any address
//
// A connection has the listener's address at one end, and a port from the seed
// at the other end. A packet has a direction, so Cut("*", "10.0.0.7:8080")
// stops requests, and Cut("10.0.0.7:8080", "*") stops responses.
//
// A cut path behaves as in a real network. TCP keeps the bytes and sends them
// again, first after 200 ms, then less and less often up to every two minutes.
// After 15 minutes, or after TCP_USER_TIMEOUT, the sender's connection fails with
// ETIMEDOUT. A dial times out after 127 s. Datagrams are lost.
//
// # Disks and processes
//
// A [Disk] is a directory with unsynced changes that a loss of power takes away. A
// [Process] is a function on a machine of its own, to be killed and started again.
package world

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"raftlab/sim/internal/kernel"
)

// Errors that callers may match.
var (
	// ErrInvalid is returned for a wrong argument.
	ErrInvalid = errors.New("world: invalid argument")
	// ErrLimit is returned if a world has no room for another rule (4,096) or
	// name (65,536).
	ErrLimit = errors.New("world: limit reached")
)

// Active reports whether the program runs in a simulated world.
func Active() bool { return active() }

// Name gives a host name an IP address. A name may have several addresses, and
// an address several names. The table has localhost, and sim, the first
// machine's name, from the beginning. Package net finds no other names, and asks
// no server unless the program's resolver has a Dial function.
func Name(host, ip string) error {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return fmt.Errorf("%w: address of %s: %w", ErrInvalid, host, err)
	}
	if len(host) == 0 || len(host) > 255 {
		return fmt.Errorf("%w: name %q is not 1 to 255 bytes long", ErrInvalid, host)
	}
	b := a.As16()
	_, err = controlBytes(kernel.OpName, append(b[:], host...))
	return err
}

// Cut stops the packets from some addresses to others, until Heal.
func Cut(from, to string) error { return direct(kernel.OpRule, from, to, Link{}, true) }

// Partition stops the packets between addresses in both directions, until Heal
// for each direction, or HealAll.
func Partition(a, b string) error {
	if err := Cut(a, b); err != nil {
		return err
	}
	return Cut(b, a)
}

// Heal removes the effects of Cut and Shape for exactly these patterns.
func Heal(from, to string) error { return direct(kernel.OpHeal, from, to, Link{}, false) }

// HealAll removes the effects of Cut, Partition and Shape.
func HealAll() error { return Heal("*", "*") }

// Reset resets the connections with one end at an address from and the other at
// an address to. Both ends fail with ECONNRESET.
func Reset(from, to string) error { return direct(kernel.OpReset, from, to, Link{}, false) }

// A Link describes the path of packets.
type Link struct {
	Latency   time.Duration // shortest time of a packet
	Jitter    time.Duration // longest additional time, drawn for each packet
	Bandwidth int64         // bytes a second of each connection; 0 means no limit
}

// Shape sets the properties of the paths from some addresses to others. The
// last call decides for a packet.
func Shape(from, to string, l Link) error {
	if l.Latency < 0 || l.Jitter < 0 || l.Bandwidth < 0 || l.Latency > maxLatency || l.Jitter > maxLatency {
		return fmt.Errorf("%w: link %+v: durations are within 0 and %v, and the bandwidth is not below 0", ErrInvalid, l, maxLatency)
	}
	return direct(kernel.OpRule, from, to, l, false)
}

// maxLatency bounds the latency of a link.
const maxLatency = time.Hour

func direct(op uintptr, from, to string, l Link, cut bool) error {
	r := kernel.RuleOp{LatencyMin: -1, LatencyMax: -1, Bandwidth: -1}
	var err error
	if r.From, err = parsePattern(from); err != nil {
		return err
	}
	if r.To, err = parsePattern(to); err != nil {
		return err
	}
	if cut {
		r.Cut = 1
	} else if op == kernel.OpRule {
		r.LatencyMin, r.LatencyMax, r.Bandwidth = int64(l.Latency), int64(l.Latency+l.Jitter), l.Bandwidth
	}
	_, err = control(op, &r)
	return err
}

// parsePattern reads a pattern of addresses.
func parsePattern(s string) (kernel.PatternOp, error) {
	var p kernel.PatternOp
	if s == "" || s == "*" {
		return p, nil
	}
	if prefix, err := netip.ParsePrefix(s); err == nil {
		p.IP, p.Bits = prefix.Masked().Addr().As16(), uint64(prefix.Bits())
		if prefix.Addr().Is4() {
			p.Bits += 96
		}
		return p, nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		p.IP, p.Bits = ip.As16(), 128
		return p, nil
	}
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err == nil && n > 0 {
			p.Port = n
			return p, nil
		}
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() > 0 {
		p.IP, p.Bits, p.Port = ap.Addr().As16(), 128, uint64(ap.Port())
		return p, nil
	}
	return p, fmt.Errorf("%w: %q is neither an IP address, a prefix, an IP address with a port, nor a port", ErrInvalid, s)
}

// Faults are the random faults of the world's network. Each share is between 0
// and 1. The seed decides where faults happen. Faults are recorded, and raftlab
// sim --shrink leaves out the irrelevant ones.
type Faults struct {
	Delay     float64       // share of packets that are late
	MaxDelay  time.Duration // longest delay
	Reset     float64       // share of packets of TCP that reset their connection
	Stall     float64       // share of packets of TCP that hold up the packets behind them
	MaxStall  time.Duration // longest stall
	Loss      float64       // share of datagrams that are lost
	Duplicate float64       // share of datagrams that arrive twice
	Cut       float64       // share of time in which one direction of a path is cut
	CutPeriod time.Duration // how long a path is cut
}

// SetFaults replaces the random faults of the network, those of raftlab sim
// --net too. The zero value ends all random faults.
func SetFaults(f Faults) error {
	var n kernel.NetConfig
	if _, err := control(kernel.OpGetNet, &n); err != nil {
		return err
	}
	for _, share := range []struct {
		name  string
		share float64
		odds  *uint64
	}{
		{"Delay", f.Delay, &n.Delay}, {"Reset", f.Reset, &n.Reset}, {"Stall", f.Stall, &n.Stall},
		{"Loss", f.Loss, &n.Loss}, {"Duplicate", f.Duplicate, &n.Duplicate}, {"Cut", f.Cut, &n.Cut},
	} {
		if share.share < 0 || share.share > 1 {
			return fmt.Errorf("%w: %s %v is not within 0 and 1", ErrInvalid, share.name, share.share)
		}
		*share.odds = uint64(share.share * (1 << 32))
	}
	for _, d := range []time.Duration{f.MaxDelay, f.MaxStall, f.CutPeriod} {
		if d < 0 || d > maxLatency {
			return fmt.Errorf("%w: duration %v is not within 0 and %v", ErrInvalid, d, maxLatency)
		}
	}
	n.MaxDelay, n.MaxStall, n.CutPeriod = int64(f.MaxDelay), int64(f.MaxStall), int64(f.CutPeriod)
	_, err := control(kernel.OpNet, &n)
	return err
}
