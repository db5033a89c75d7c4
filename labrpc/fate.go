package labrpc

import (
	"fmt"
	"math/bits"
	"time"
)

// Faults are the faults of a network or of one link. The zero value is a
// reliable network. Probabilities are from 0 to 1.
type Faults struct {
	RequestLoss float64       // probability that a request is lost
	ReplyLoss   float64       // probability that a reply is lost
	Duplicate   float64       // probability that a request arrives twice
	MaxDelay    time.Duration // a request is delayed by 0 up to this, in whole milliseconds if it is more than one
	Reorder     float64       // probability that a reply is delayed by ReorderMin plus up to ReorderMax
	ReorderMin  time.Duration
	ReorderMax  time.Duration
}

// Unreliable is the course's unreliable network, the network after
// Reliable(false). Requests take 0 to 26 ms, and one message in ten is lost in
// each direction.
var Unreliable = Faults{RequestLoss: 0.1, ReplyLoss: 0.1, MaxDelay: 26 * time.Millisecond}

// LongReordering(true) delays two replies in three by 200 ms plus up to 2 s.
const (
	longReorder    = 2.0 / 3
	longReorderMin = 200 * time.Millisecond
	longReorderMax = 2 * time.Second
)

// check panics and names the field that is out of range.
func (f Faults) check() {
	for name, p := range map[string]float64{"RequestLoss": f.RequestLoss, "ReplyLoss": f.ReplyLoss, "Duplicate": f.Duplicate, "Reorder": f.Reorder} {
		if !(p >= 0 && p <= 1) {
			panic(fmt.Sprintf("labrpc: Faults.%s is %v, and must be from 0 to 1", name, p))
		}
	}
	for name, d := range map[string]time.Duration{"MaxDelay": f.MaxDelay, "ReorderMin": f.ReorderMin, "ReorderMax": f.ReorderMax} {
		if d < 0 {
			panic(fmt.Sprintf("labrpc: Faults.%s is %v, and must not be negative", name, d))
		}
	}
}

// A purpose names a stream of random numbers. Each fault has a stream of its
// own, so turning one fault off leaves the other faults unchanged.
type purpose uint64

const (
	forRequestDelay purpose = iota
	forRequestLoss
	forReplyLoss
	forDuplicate
	forDuplicateDelay
	forReorder
	forReorderSpan
	forReorderDelay
	forTimeout
	forRequestLatency
	forReplyLatency
)

// A fate draws the fate of message number n of a link. Every draw is a pure
// function of the seed, the link, n and the purpose.
type fate struct {
	seed   uint64
	link   int
	number int
}

// bits mixes the coordinates of a draw (splitmix64, applied after each).
func (f fate) bits(p purpose) uint64 {
	x := f.seed
	for _, c := range [...]uint64{uint64(f.link), uint64(f.number), uint64(p)} {
		x += (c + 1) * 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

// chance is true with probability p.
func (f fate) chance(purpose purpose, p float64) bool {
	return p > 0 && float64(f.bits(purpose)>>11)/(1<<53) < p
}

// below is from 0 up to but without n, evenly.
func (f fate) below(purpose purpose, n uint64) uint64 {
	hi, _ := bits.Mul64(f.bits(purpose), n)
	return hi
}

// upTo is from 0 up to and with max, in milliseconds where max is a number of
// them.
func (f fate) upTo(purpose purpose, max time.Duration) time.Duration {
	unit := time.Millisecond
	if max%unit != 0 {
		unit = 1
	}
	return time.Duration(f.below(purpose, uint64(max/unit)+1)) * unit
}

// reorder returns the delay of a reply. The span is drawn first and the delay
// within the span second, so short delays are more frequent than long ones, as
// in the course.
func (f fate) reorder(faults Faults) time.Duration {
	if !f.chance(forReorder, faults.Reorder) {
		return 0
	}
	return faults.ReorderMin + f.upTo(forReorderDelay, f.upTo(forReorderSpan, faults.ReorderMax))
}

// latency returns the time of a message without faults, from latency up to a tenth more.
// Without the difference, the messages of a broadcast would arrive in one instant of
// virtual time. Receivers that seed random numbers with the clock would then all draw the
// same election timeout.
func (f fate) latency(latency time.Duration, reply bool) time.Duration {
	p := forRequestLatency
	if reply {
		p = forReplyLatency
	}
	return latency + time.Duration(f.below(p, uint64(latency/10)+1))
}

// timeout returns how long a caller waits for an answer from nowhere, up to 99
// ms or up to 6,999 ms.
func (f fate) timeout(long bool) time.Duration {
	if long {
		return f.upTo(forTimeout, 6999*time.Millisecond)
	}
	return f.upTo(forTimeout, 99*time.Millisecond)
}
