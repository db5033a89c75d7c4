package labrpc

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLatency is the latency of a network made in a testing/synctest bubble.
const DefaultLatency = 200 * time.Microsecond

// A Network is a simulated network with ends, servers and messages between
// them. All methods may be called concurrently, also by handlers, schedulers
// and taps.
type Network struct {
	seed    int64
	done    chan struct{}       // closed by Cleanup
	workers *workers[*delivery] // nil in a bubble
	count   atomic.Int64
	bytes   atomic.Int64
	taps    atomic.Pointer[[]*tap]
	sched   atomic.Pointer[Scheduler]

	mu         sync.RWMutex // guards what follows, and the state of links
	closed     bool
	reliable   bool
	reordering bool
	longDelays bool
	faults     Faults  // on top of reliable and reordering
	present    *Faults // all of these; see changed
	latency    time.Duration
	made       int // ends, ever
	links      map[any]*link
	servers    map[any]*station
}

// A station is a server under a name, until the server is deleted or replaced.
type station struct {
	server *Server
	gone   chan struct{} // closed then
}

// MakeNetwork makes a reliable network with a random seed. Seed returns the
// seed.
func MakeNetwork() *Network {
	return MakeNetworkSeed(rand.Int64())
}

// MakeNetworkSeed makes a reliable network that draws faults from seed. The
// fate of message n of a link is a function of the seed, the link (numbered by
// MakeEnd) and n. The latency is DefaultLatency in a testing/synctest bubble,
// and zero elsewhere.
func MakeNetworkSeed(seed int64) *Network {
	rn := &Network{
		seed:     seed,
		done:     make(chan struct{}),
		reliable: true,
		present:  &Faults{},
		links:    make(map[any]*link),
		servers:  make(map[any]*station),
	}
	if inBubble() {
		rn.latency = DefaultLatency
	} else {
		rn.workers = newWorkers(rn.done, (*delivery).serve)
	}
	return rn
}

// inBubble reports whether the caller runs in a testing/synctest bubble, where
// times have no monotonic reading.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0)
}

// Seed returns the seed of the faults.
func (rn *Network) Seed() int64 { return rn.seed }

// Cleanup ends the network. Every call under way and every later call returns
// false. Cleanup does not wait for running handlers. Cleanup may be called
// twice.
func (rn *Network) Cleanup() {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if !rn.closed {
		rn.closed = true
		close(rn.done)
	}
}

// MakeEnd makes a disabled client end without a server. The name may be any
// comparable value. MakeEnd panics if another end has the name.
func (rn *Network) MakeEnd(endname any) *ClientEnd {
	checkName("end", endname)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if rn.links[endname] != nil {
		panic(fmt.Sprintf("labrpc: MakeEnd: an end %#v exists already", endname))
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

// DeleteEnd deletes an end, and the name is free again. Calls through the end
// return false, both calls under way and later ones.
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

// Connect connects an end to a server. The server need not exist yet. Unknown
// ends are ignored.
func (rn *Network) Connect(endname any, servername any) {
	checkName("server", servername)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.server = servername
	}
}

// Enable enables or disables an end. When an end is disabled, calls under way
// return false at once, and their replies are not delivered. Unknown ends are
// ignored.
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

// AddServer adds a server under a name, and deletes the name's old server if
// there is one.
func (rn *Network) AddServer(servername any, rs *Server) {
	checkName("server", servername)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.deleteServer(servername)
	rn.servers[servername] = &station{rs, make(chan struct{})}
}

// DeleteServer deletes a server. Calls under way to the server return false at
// once, and their replies are not delivered.
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

// Reliable(false) applies the faults of Unreliable to every link without faults
// of its own. Reliable(true) ends the faults.
func (rn *Network) Reliable(yes bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.reliable = yes
	rn.changed()
}

// IsReliable returns the last argument of Reliable, true at first.
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
	rn.changed()
}

// LongDelays(true) lets calls to nowhere (a disabled end, a deleted server)
// take up to 7 s, not up to 100 ms.
func (rn *Network) LongDelays(yes bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.longDelays = yes
}

// IsLongDelays returns the last argument of LongDelays.
func (rn *Network) IsLongDelays() bool {
	rn.mu.RLock()
	defer rn.mu.RUnlock()
	return rn.longDelays
}

// SetLatency sets the least time that a message takes, a request or a reply, on
// a reliable network too. In a bubble the latency should be more than 0,
// because a closed loop of calls that take no time stops the clock.
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

// SetFaults sets faults for the whole network, on top of Reliable(false) and
// LongReordering(true). The larger of two numbers holds. The zero Faults
// removes the faults. SetFaults panics on values out of range.
func (rn *Network) SetFaults(f Faults) {
	f.check()
	rn.mu.Lock()
	defer rn.mu.Unlock()
	rn.faults = f
	rn.changed()
}

// SetLinkFaults gives one end faults of its own. The network's faults do not
// apply to this end any more. Unknown ends are ignored.
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

// CutRequests cuts or restores the direction of requests. Through a cut end,
// requests do not arrive, and Call returns false after some time, as for a
// disabled end. Replies to earlier requests still arrive.
func (rn *Network) CutRequests(endname any, cut bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.cutRequests.Store(cut)
	}
}

// CutReplies cuts or restores the direction of replies. Through a cut end,
// requests arrive and are served, and their replies do not come back.
func (rn *Network) CutReplies(endname any, cut bool) {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if l := rn.links[endname]; l != nil {
		l.cutReplies.Store(cut)
	}
}

// GetCount returns the number of RPCs handed to the present server of a name,
// or 0 without a server.
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

// GetTotalBytes returns the size of all sent arguments and delivered replies,
// encoded.
func (rn *Network) GetTotalBytes() int64 { return rn.bytes.Load() }

// faultsOf returns the faults of a link. Nobody changes the result, because later
// changes make new Faults. The caller holds rn.mu.
func (rn *Network) faultsOf(l *link) *Faults {
	if l.faults != nil {
		return l.faults
	}
	return rn.present
}

// changed computes the faults of the links without faults of their own. The
// caller holds rn.mu.
func (rn *Network) changed() {
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
	rn.present = &f
}
