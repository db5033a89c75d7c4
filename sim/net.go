package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Net describes the network inside of a world. The zero value is a network
// without faults, whose packets take 20 to 80 microseconds. Each decision is a
// pure function of the seed, the connection and the packet's number.
type Net struct {
	LatencyMin time.Duration `json:"latencyMin,omitempty"` // of a packet, one way
	LatencyMax time.Duration `json:"latencyMax,omitempty"` // 0 means 80 microseconds, with 20 for LatencyMin
	Bandwidth  int64         `json:"bandwidth,omitempty"`  // bytes a second in each direction of a connection; 0 means no limit
	Delay      float64       `json:"delay,omitempty"`      // share of packets that are late
	MaxDelay   time.Duration `json:"maxDelay,omitempty"`   // longest delay; 0 means 200 ms
	Reset      float64       `json:"reset,omitempty"`      // share of packets of TCP that reset their connection
	Stall      float64       `json:"stall,omitempty"`      // share of packets of TCP that hold up the packets behind them
	MaxStall   time.Duration `json:"maxStall,omitempty"`   // longest stall; 0 means 5 s
	Loss       float64       `json:"loss,omitempty"`       // share of datagrams that are lost
	Duplicate  float64       `json:"duplicate,omitempty"`  // share of datagrams that arrive twice
	Cut        float64       `json:"cut,omitempty"`        // share of time in which one direction of a path is cut
	CutPeriod  time.Duration `json:"cutPeriod,omitempty"`  // how long a path is cut; 0 means 1 s
}

// MaxNetDuration bounds the durations of a Net.
const MaxNetDuration = time.Hour

// Validate reports a value out of range as ErrInvalid.
func (n Net) Validate() error {
	for _, f := range n.fields() {
		switch v := f.value.(type) {
		case *float64:
			if *v < 0 || *v > 1 {
				return fmt.Errorf("%w: network: share %s %v is not within 0 and 1", ErrInvalid, f.name, *v)
			}
		case *time.Duration:
			if *v < 0 || *v > MaxNetDuration {
				return fmt.Errorf("%w: network: %s %v is not within 0 and %v", ErrInvalid, f.name, *v, MaxNetDuration)
			}
		case *int64:
			if *v < 0 {
				return fmt.Errorf("%w: network: %s %d is below 0", ErrInvalid, f.name, *v)
			}
		}
	}
	if n.LatencyMin > n.LatencyMax && n.LatencyMax != 0 {
		return fmt.Errorf("%w: network: the shortest latency %v is above the longest %v", ErrInvalid, n.LatencyMin, n.LatencyMax)
	}
	return nil
}

type netField struct {
	name  string
	value any // a pointer into the Net
}

func (n *Net) fields() []netField {
	return []netField{
		{"latency-min", &n.LatencyMin}, {"latency", &n.LatencyMax}, {"bandwidth", &n.Bandwidth},
		{"delay", &n.Delay}, {"max-delay", &n.MaxDelay}, {"reset", &n.Reset}, {"stall", &n.Stall}, {"max-stall", &n.MaxStall},
		{"loss", &n.Loss}, {"duplicate", &n.Duplicate}, {"cut", &n.Cut}, {"cut-period", &n.CutPeriod},
	}
}

// ParseNet reads the form of String, for example "latency=2ms,cut=0.01".
func ParseNet(s string) (Net, error) {
	var n Net
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		fields := n.fields()
		i := slices.IndexFunc(fields, func(f netField) bool { return f.name == name })
		if i < 0 {
			var names []string
			for _, f := range fields {
				names = append(names, f.name)
			}
			return n, fmt.Errorf("%w: network: %q is none of %s", ErrInvalid, name, strings.Join(names, ", "))
		}
		var err error
		switch v := fields[i].value.(type) {
		case *float64:
			*v, err = strconv.ParseFloat(value, 64)
		case *time.Duration:
			*v, err = time.ParseDuration(value)
		case *int64:
			*v, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return n, fmt.Errorf("%w: network: %s: %w", ErrInvalid, name, err)
		}
	}
	return n, n.Validate()
}

// String is the form that ParseNet reads. The zero value gives "".
func (n Net) String() string {
	var parts []string
	for _, f := range n.fields() {
		text := ""
		switch v := f.value.(type) {
		case *float64:
			text = strconv.FormatFloat(*v, 'g', -1, 64)
		case *time.Duration:
			text = v.String()
		case *int64:
			text = strconv.FormatInt(*v, 10)
		}
		if text != "0" && text != "0s" {
			parts = append(parts, f.name+"="+text)
		}
	}
	return strings.Join(parts, ",")
}

// words is the form of package kernel.
func (n Net) words() []uint64 {
	if n.LatencyMax == 0 {
		n.LatencyMax = 80 * time.Microsecond
		n.LatencyMin = min(20*time.Microsecond, max(n.LatencyMin, 20*time.Microsecond))
	}
	orElse := func(d, otherwise time.Duration) uint64 {
		if d == 0 {
			d = otherwise
		}
		return uint64(d)
	}
	odds := func(share float64) uint64 { return uint64(share * (1 << 32)) }
	return []uint64{
		uint64(n.LatencyMin), uint64(n.LatencyMax), uint64(n.Bandwidth),
		odds(n.Delay), odds(n.Reset), odds(n.Stall), odds(n.Loss), odds(n.Duplicate), odds(n.Cut),
		orElse(n.MaxDelay, 200*time.Millisecond), orElse(n.MaxStall, 5*time.Second), orElse(n.CutPeriod, time.Second),
	}
}

// NetNetwork is the Network of a Fault in the network of a world.
const NetNetwork = 0x6e6574

// MaxFaults bounds the recorded faults of a world's network.
const MaxFaults = 1 << 16

// netCalm returns the world's own part of the faults to leave out, in order.
func (f Faults) netCalm() [][faultWords]uint64 {
	var list [][faultWords]uint64
	for _, c := range f.Calm {
		if f.Record && c.Network == NetNetwork {
			number := uint64(c.Number) << 1
			if c.Reply {
				number |= 1
			}
			list = append(list, [faultWords]uint64{uint64(c.Link), number})
		}
	}
	slices.SortFunc(list, func(a, b [faultWords]uint64) int { return slices.Compare(a[:], b[:]) })
	return list
}

// faultKinds names the kinds of faults in package kernel.
var faultKinds = []string{"", "delay", "reset", "stall", "loss", "duplicate", "cut",
	"failed write", "failed sync", "failed read", "slow call", "loss of changes of directories", "torn content"}

// firstDiskFault is the first kind of a disk.
const firstDiskFault = 7

var errFaultKind = errors.New("sim: a recorded fault has an unknown kind")

// netFaults reads the recorded faults of the world's network.
func (p *page) netFaults(r report) ([]Fault, error) {
	n := min(r[wordMet], MaxFaults)
	buf := make([]byte, 8*faultWords*n)
	if _, err := p.f.ReadAt(buf, int64(p.faultsAt()+8*faultWords*p.calm)); n > 0 && err != nil {
		return nil, err
	}
	faults := make([]Fault, n)
	for i := range faults {
		var w [faultWords]uint64
		for j := range w {
			w[j] = binary.LittleEndian.Uint64(buf[8*(faultWords*i+j):])
		}
		if w[2] >= uint64(len(faultKinds)) {
			return nil, errFaultKind
		}
		what := faultKinds[w[2]]
		if w[3] != 0 {
			what += " of " + time.Duration(w[3]).String()
		}
		end := func(w uint64) string {
			return fmt.Sprintf("%d.%d.%d.%d:%d", byte(w>>40), byte(w>>32), byte(w>>24), byte(w>>16), uint16(w))
		}
		at := time.Duration(w[4] - r[wordBegan]).Round(time.Microsecond)
		where := fmt.Sprintf("from %s to %s", end(w[5]), end(w[6]))
		if w[2] >= firstDiskFault {
			where = fmt.Sprintf("on disk %d, file %d,", uint16(w[0]), uint16(w[6]))
		}
		faults[i] = Fault{NetNetwork, int(w[0]), int(w[1] >> 1), w[1]&1 != 0, fmt.Sprintf("%s %s at %v", what, where, at)}
	}
	return faults, nil
}
