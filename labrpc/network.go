package labrpc

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLatency is the latency of a network that is made in a testing/synctest
// bubble.
const DefaultLatency = 200 * time.Microsecond

// A Network is a simulated network: ends, servers, and what happens to the
// messages between them. All methods may be called concurrently, also by
// handlers, schedulers and taps.
type Network struct {
	seed  int64
	done  chan struct{} // closed by Cleanup
	count atomic.Int64
	bytes atomic.Int64
	taps  atomic.Pointer[[]*tap]
	sched atomic.Pointer[Scheduler]

	mu         sync.RWMutex // guards what follows, and the state of links
	closed     bool
	reliable   bool
	reordering bool
	longDelays bool
	faults     Faults // on top of reliable and reordering
	latency    time.Duration
	made       int // ends, ever
	links      map[any]*link
	servers    map[any]*station
}

// A station is a server under a name, until it is deleted or replaced.
type station struct {
	server *Server
	gone   chan struct{} // closed then
}

// MakeNetwork makes a reliable network with a seed drawn at random, which Seed
// tells.
func MakeNetwork() *Network {
	return MakeNetworkSeed(rand.Int64())
}

// MakeNetworkSeed makes a reliable network whose faults are drawn from seed:
// what happens to message n of a link is a function of the seed, the link (by
// the order of MakeEnd) and n. In a testing/synctest bubble its latency is
// DefaultLatency, elsewhere none.
func MakeNetworkSeed(seed int64) *Network {
	rn := &Network{
		seed:     seed,
		done:     make(chan struct{}),
		reliable: true,
		links:    make(map[any]*link),
		servers:  make(map[any]*station),
	}
	if inBubble() {
		rn.latency = DefaultLatency
	}
	return rn
}

// inBubble reports whether the caller runs in a testing/synctest bubble, where
// times have no monotonic reading.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0)
}

// Seed returns the seed from which faults are drawn.
func (rn *Network) Seed() int64 { return rn.seed }

// Cleanup ends the network: every call under way and every later one returns
// false. It does not wait for handlers that are running. It may be called
// twice.
func (rn *Network) Cleanup() {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if !rn.closed {
		rn.closed = true
		close(rn.done)
	}
}

// MakeEnd makes a client end, connected to nothing and disabled. The name may
// be any comparable value that no other end has; MakeEnd panics otherwise.
func (rn *Network) MakeEnd(endname any) *ClientEnd {
	checkName("end", endname)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if rn.links[endname] != nil {
		panic(fmt.Sprintf("labrpc: MakeEnd: there is an end %#v already", endname))
	}
	l := &link{net: rn, name: endname, number: rn.made, cut: make(chan struct{})}
	rn.made++
	rn.links[endname] = l
	return &ClientEnd{l}
}

func checkName(what string, name any) {
	if name != nil && !reflect.ValueOf(name).Comparable() {
		panic(fmt.Sprintf("labrpc: %s name %v is a %T, which is not comparable", what, name, name))
	}
}

// DeleteEnd forgets an end, so that its name may be used anew. Calls through it, under way or later, return
// false.
func (rn *Network) DeleteEnd(endname any) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	l := rn.links[endname]
	if l == nil {
		return
	}
	rn.enable(l, false)
	delete(rn.links, endname)
}

// Connect makes an end lead to a server, which need not exist yet. Unknown
// ends are ignored.
func (rn *Network) Connect(endname any, servername any) {
	checkName("server", servername)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.server = servername
	}
}

// Enable lets an end work, or cuts it: calls under way through it return false
// at once, and their replies are not delivered. Unknown ends are ignored.
func (rn *Network) Enable(endname any, enabled bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		rn.enable(l, enabled)
	}
}

func (rn *Network) enable(l *link, enabled bool) {
	if l.enabled && !enabled {
		close(l.cut)
		l.cut = make(chan struct{})
	}
	l.enabled = enabled
}

// AddServer puts a server under a name. One that has the name already is
// deleted.
func (rn *Network) AddServer(servername any, rs *Server) {
	checkName("server", servername)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.deleteServer(servername)
	rn.servers[servername] = &station{rs, make(chan struct{})}
}

// DeleteServer takes a server off the network: calls to it that are under way
// return false at once, and their replies are not delivered.
func (rn *Network) DeleteServer(servername any) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.deleteServer(servername)
}

func (rn *Network) deleteServer(servername any) {
	if st := rn.servers[servername]; st != nil {
		close(st.gone)
		delete(rn.servers, servername)
	}
}

// Reliable(false) applies the faults of Unreliable to every link that has none
// of its own; Reliable(true) ends that.
func (rn *Network) Reliable(yes bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.reliable = yes
}

// IsReliable returns what Reliable was last told, true at first.
func (rn *Network) IsReliable() bool {
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	return rn.reliable
}

// LongReordering(true) delays two replies in three by 200 ms plus up to 2 s.
func (rn *Network) LongReordering(yes bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.reordering = yes
}

// LongDelays(true) lets calls to nowhere (a disabled end, a deleted server)
// take up to 7 s, not up to 100 ms.
func (rn *Network) LongDelays(yes bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.longDelays = yes
}

// IsLongDelays returns what LongDelays was last told.
func (rn *Network) IsLongDelays() bool {
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	return rn.longDelays
}

// SetLatency sets what every message takes at least, request and reply each,
// on a reliable network too. It should be more than 0 in a bubble: there a
// closed loop of calls that take no time keeps the clock from moving.
func (rn *Network) SetLatency(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("labrpc: latency %v is negative", d))
	}
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.latency = d
}

// Latency returns the latency.
func (rn *Network) Latency() time.Duration {
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	return rn.latency
}

// SetFaults sets faults for the whole network, on top of those that
// Reliable(false) and LongReordering(true) bring: of each number the larger
// one holds. The zero Faults takes them back. It panics on values out of
// range.
func (rn *Network) SetFaults(f Faults) {
	f.check()
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.faults = f
}

// SetLinkFaults gives one end faults of its own, in place of the network's:
// nothing else about reliability applies to it. Unknown ends are ignored.
func (rn *Network) SetLinkFaults(endname any, f Faults) {
	f.check()
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.faults = &f
	}
}

// ClearLinkFaults makes an end follow the network again.
func (rn *Network) ClearLinkFaults(endname any) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.faults = nil
	}
}

// CutRequests cuts, or mends, one direction of an end: requests do not arrive,
// and Call returns false after some time, as it does for a disabled end.
// Replies to what has arrived still come through.
func (rn *Network) CutRequests(endname any, cut bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.cutRequests = cut
	}
}

// CutReplies cuts, or mends, the other direction: requests arrive and are
// served, their replies do not come back.
func (rn *Network) CutReplies(endname any, cut bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.cutReplies = cut
	}
}

// GetCount returns how many RPCs were handed to the server that now has the
// name, 0 if there is none.
func (rn *Network) GetCount(servername any) int {
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	if st := rn.servers[servername]; st != nil {
		return st.server.GetCount()
	}
	return 0
}

// GetTotalCount returns how many calls were made.
func (rn *Network) GetTotalCount() int { return int(rn.count.Load()) }

// GetTotalBytes returns the size of all encoded arguments that were sent and
// all encoded replies that were delivered.
func (rn *Network) GetTotalBytes() int64 { return rn.bytes.Load() }

// faultsOf returns what applies to a link; rn.mu is held.
func (rn *Network) faultsOf(l *link) Faults {
	if l.faults != nil {
		return *l.faults
	}
	f := rn.faults
	if !rn.reliable {
		f.RequestLoss = max(f.RequestLoss, Unreliable.RequestLoss)
		f.ReplyLoss = max(f.ReplyLoss, Unreliable.ReplyLoss)
		f.MaxDelay = max(f.MaxDelay, Unreliable.MaxDelay)
	}
	if rn.reordering {
		f.Reorder = max(f.Reorder, longReorder)
		f.ReorderMin = max(f.ReorderMin, longReorderMin)
		f.ReorderMax = max(f.ReorderMax, longReorderMax)
	}
	return f
}
