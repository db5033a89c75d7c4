package kernel

// NetConfig describes the network of a world. Odds are in 1<<32. A duration is
// in ns.
type NetConfig struct {
	LatencyMin, LatencyMax int64 // of each packet, one way
	Bandwidth              int64 // bytes a second of a connection in one direction; 0 means no limit
	Delay, Reset, Stall    uint64
	Loss, Duplicate, Cut   uint64
	MaxDelay, MaxStall     int64
	CutPeriod              int64 // a path is cut for whole periods
}

// FaultID names a fault. The same run has the same names. A run without one
// fault keeps the names of the faults before the missing one.
type FaultID struct {
	Link   uint64 // the number of the connection, in the order of dialing
	Number uint64 // of the packet in its direction
	Back   bool   // from the listener to the dialer
}

// Kinds of faults.
const (
	FaultDelay = 1 + iota
	FaultReset
	FaultStall
	FaultLoss
	FaultDuplicate
	FaultCut
	FaultWrite
	FaultSync
	FaultRead
	FaultSlow
	FaultLost
	FaultTorn
)

// Met describes a fault that happened.
type Met struct {
	Kind     uint64
	Value    int64 // a duration
	At       int64
	From, To [16]byte
	FromPort uint16
	ToPort   uint16
	File     string // of a fault of a disk, its path there
}

type faultKey struct {
	id   FaultID
	kind uint64
}

// Purposes of draws.
const (
	forLatency = 1 + iota
	forDelay
	forReset
	forStall
	forLoss
	forDuplicate
	forCut
	forLength
)

// draw is a pure function of the seed, the purpose and the fault's name, so no
// decision moves another.
func (k *kernel) draw(purpose uint64, id FaultID) uint64 {
	h := mix(k.ports.seed ^ purpose*0x9e3779b97f4a7c15)
	h = mix(h ^ id.Link*0xd1342543de82ef95)
	n := id.Number << 1
	if id.Back {
		n |= 1
	}
	return mix(h + n*0x9e3779b97f4a7c15)
}

func (k *kernel) hit(odds, purpose uint64, id FaultID) bool {
	return odds > 0 && k.draw(purpose, id)>>32 < odds
}

// length draws a duration from 1 to most.
func (k *kernel) length(most int64, id FaultID) int64 {
	if most <= 0 {
		return 1
	}
	return 1 + int64(k.draw(forLength, id)%uint64(most))
}

// happens records a fault, unless the run leaves the fault out.
func (k *kernel) happens(id FaultID, kind uint64, value int64, from, to addr) bool {
	if k.host.Calm(id) {
		return false
	}
	if kind == FaultCut {
		if k.met[faultKey{id, kind}] {
			return true
		}
		k.met[faultKey{id, kind}] = true
	}
	k.host.Record(id, Met{kind, value, k.host.Now(), from.ip, to.ip, from.port, to.port, ""})
	return true
}

// happensTo is happens for a file.
func (k *kernel) happensTo(d *disk, n *node, id FaultID, kind uint64, value int64) bool {
	if k.host.Calm(id) {
		return false
	}
	m := Met{Kind: kind, Value: value, At: k.host.Now(), ToPort: uint16(n.number)}
	if path := k.linkOf(n.fd); len(path) > len(d.root) {
		m.File = path[len(d.root)+1:]
	}
	k.host.Record(id, m)
	return true
}

// A pattern matches addresses.
type pattern struct {
	ip   [16]byte
	bits int // of ip that must be equal
	port uint16
}

func (p *pattern) matches(a addr) bool {
	if p.port != 0 && p.port != a.port {
		return false
	}
	for i := 0; i < p.bits; i += 8 {
		mask := byte(0xff)
		if left := p.bits - i; left < 8 {
			mask <<= 8 - left
		}
		if (p.ip[i/8]^a.ip[i/8])&mask != 0 {
			return false
		}
	}
	return true
}

// A rule directs the packets from some addresses to some addresses.
type rule struct {
	from, to               pattern
	cut                    bool
	latencyMin, latencyMax int64 // -1: as otherwise
	bandwidth              int64
}

// MaxRules bounds the rules of a world.
const MaxRules = 4096

// way describes the path of a packet.
type way struct {
	cut                    bool
	latencyMin, latencyMax int64
	bandwidth              int64
}

// way applies the rules. The last rule that matches decides.
func (k *kernel) way(from, to addr, id FaultID, server addr) way {
	w := way{latencyMin: k.net.LatencyMin, latencyMax: k.net.LatencyMax, bandwidth: k.net.Bandwidth}
	for _, r := range k.rules {
		if !r.from.matches(from) || !r.to.matches(to) {
			continue
		}
		w.cut = w.cut || r.cut
		if r.latencyMax >= 0 {
			w.latencyMin, w.latencyMax = r.latencyMin, r.latencyMax
		}
		if r.bandwidth >= 0 {
			w.bandwidth = r.bandwidth
		}
	}
	if !w.cut && k.net.Cut > 0 {
		w.cut = k.drawnCut(from, to, id, server)
	}
	return w
}

// drawnCut reports whether the seed has cut a path in the present period. A path
// is known by the server's address, the other machine and the direction.
func (k *kernel) drawnCut(from, to addr, id FaultID, server addr) bool {
	other := from.ip
	if id.Back {
		other = to.ip
	}
	h := uint64(server.port)
	for i := range other {
		h = mix(h ^ uint64(other[i])<<8 ^ uint64(server.ip[i]))
	}
	period := max(k.net.CutPeriod, milli)
	cut := FaultID{1<<48 | h>>16, uint64(k.host.Now() / period), id.Back}
	return k.hit(k.net.Cut, forCut, cut) && k.happens(cut, FaultCut, period, from, to)
}

func (k *kernel) latency(w way, id FaultID) int64 {
	span := w.latencyMax - w.latencyMin
	if span <= 0 {
		return w.latencyMin
	}
	return w.latencyMin + int64(k.draw(forLatency, id)%uint64(span))
}
