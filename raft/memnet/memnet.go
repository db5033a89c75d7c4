// Package memnet is a network in memory for hosts of one process, for tests of
// services that import raft/node. A seed decides the fate of each message.
//
//	network := memnet.New(memnet.Options{Seed: 1})
//	transport := network.Join(1) // of host 1
//
// Without latency and faults, Send delivers a message itself. With latency, a
// single goroutine delivers all messages in the order of their times.
//
// Tests in a testing/synctest bubble set a latency: a loop of proposals over a
// network without latency never lets virtual time pass.
package memnet

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Options are the settings of a network. The zero value is a network without
// faults and latency.
type Options struct {
	// Seed decides the fate of messages on faulty links.
	Seed uint64
	// Faults are those of every link; see [Network.SetFaults].
	Faults Faults
	// PeerTimeout is the time after which two hosts with a cut link between them are
	// told that the peer is down. The default is 3 s. A host that leaves is down at
	// once.
	PeerTimeout time.Duration
	// MaxQueueBytes bounds the messages under way on a link with latency, in bytes.
	// Messages beyond the bound are dropped, as a network drops them. The default is
	// 64 MiB.
	MaxQueueBytes int
}

// Faults are what happens to the messages of a link, in one direction.
type Faults struct {
	// Latency is the delay of each message. A random time below Jitter is added to
	// each delay, so messages overtake one another.
	Latency, Jitter time.Duration
	// Drop and Duplicate are the probabilities of a loss and of a second arrival,
	// from 0 to 1.
	Drop, Duplicate float64
	// Cut loses every message.
	Cut bool
}

// link is one direction between two hosts.
type link struct{ from, to core.NodeID }

// Network carries messages between its hosts. The methods may be called from any
// goroutine.
type Network struct {
	mu         sync.Mutex
	rand       *rand.Rand
	faults     Faults
	links      map[link]Faults
	transports map[core.NodeID]*Transport
	deliveries deliveries
	maxQueued  int          // bytes of a link in deliveries
	queued     map[link]int // bytes in deliveries
	order      uint64
	wake       chan struct{} // capacity 1: the first delivery has changed
	running    bool          // the delivering goroutine runs

	timeout time.Duration
	up      map[link]bool // the peers that hosts were told to be up
	cuts    map[link]*cut // of which the hosts do not know yet
	telling sync.Mutex    // held to tell hosts of peers, so that they are told in order
}

// New makes a network without hosts.
func New(opts Options) *Network {
	return &Network{
		rand:       rand.New(rand.NewPCG(opts.Seed, 0)),
		faults:     opts.Faults,
		links:      make(map[link]Faults),
		transports: make(map[core.NodeID]*Transport),
		wake:       make(chan struct{}, 1),
		timeout:    cmp.Or(opts.PeerTimeout, 3*time.Second),
		maxQueued:  cmp.Or(opts.MaxQueueBytes, 64<<20),
		queued:     make(map[link]int),
		up:         make(map[link]bool),
		cuts:       make(map[link]*cut),
	}
}

// SetFaults sets the faults of all links.
func (nw *Network) SetFaults(f Faults) {
	nw.change(func() {
		nw.faults = f
		clear(nw.links)
	})
}

// SetLink sets the faults of the link from one host to another.
func (nw *Network) SetLink(from, to core.NodeID, f Faults) {
	nw.change(func() { nw.links[link{from, to}] = f })
}

// Partition cuts the links between hosts that are not in the same part. Hosts
// that no part names are in a part of their own, together. The other faults of
// these links stay.
func (nw *Network) Partition(parts ...[]core.NodeID) {
	part := make(map[core.NodeID]int)
	for i, ids := range parts {
		for _, id := range ids {
			part[id] = i + 1
		}
	}
	nw.change(func() {
		for from := range nw.transports {
			for to := range nw.transports {
				f := nw.faultsOf(link{from, to})
				f.Cut = part[from] != part[to]
				nw.links[link{from, to}] = f
			}
		}
	})
}

// Heal mends every cut link.
func (nw *Network) Heal() {
	nw.change(func() {
		for l, f := range nw.links {
			f.Cut = false
			nw.links[l] = f
		}
	})
}

func (nw *Network) faultsOf(l link) Faults {
	if f, ok := nw.links[l]; ok {
		return f
	}
	return nw.faults
}

// Join returns a transport for a host. A host joins again after Close of the old
// transport.
func (nw *Network) Join(id core.NodeID) *Transport {
	return &Transport{network: nw, id: id}
}

// Transport is a host's place in a [Network].
type Transport struct {
	network  *Network
	id       core.NodeID
	receiver node.Receiver
	delivers sync.WaitGroup // calls of the receiver
	closed   bool           // under network.mu
}

var _ node.Transport = (*Transport)(nil)

// Start makes the host reachable.
func (t *Transport) Start(self node.Identity, receiver node.Receiver) error {
	if self.Host != t.id {
		return fmt.Errorf("memnet: host %d starts the transport of host %d", self.Host, t.id)
	}
	var err error
	nw := t.network
	nw.change(func() {
		switch {
		case t.closed:
			err = errors.New("memnet: the transport is closed")
		case nw.transports[t.id] != nil:
			err = fmt.Errorf("memnet: host %d is on the network already", t.id)
		default:
			t.receiver = receiver
			nw.transports[t.id] = t
		}
	})
	return err
}

// SetPeer does nothing: hosts find one another by their ids.
func (t *Transport) SetPeer(core.NodeID, string) {}

// RemovePeer does nothing.
func (t *Transport) RemovePeer(core.NodeID) {}

// Address returns the host's name on the network.
func (t *Transport) Address() string { return fmt.Sprintf("memnet:%d", t.id) }

// Send delivers messages, or has them delivered later, as the link's faults say.
func (t *Transport) Send(to core.NodeID, messages []node.Message) {
	nw := t.network
	nw.mu.Lock()
	peer := nw.transports[to]
	f := nw.faultsOf(link{t.id, to})
	if t.closed || peer == nil || f.Cut {
		nw.mu.Unlock()
		return
	}
	if f == (Faults{}) {
		peer.delivers.Add(1)
		nw.mu.Unlock()
		defer peer.delivers.Done() // also if the receiver ends the goroutine
		peer.receiver.Receive(t.id, messages)
		return
	}
	for _, m := range messages {
		nw.schedule(link{t.id, to}, peer, m, f)
	}
	nw.mu.Unlock()
	select {
	case nw.wake <- struct{}{}:
	default:
	}
}

// schedule decides a message's fate. nw.mu is held.
func (nw *Network) schedule(l link, to *Transport, m node.Message, f Faults) {
	copies := 1
	if nw.rand.Float64() < f.Drop {
		copies--
	}
	if nw.rand.Float64() < f.Duplicate {
		copies++
	}
	size := m.Size()
	for range copies {
		if nw.queued[l] > 0 && nw.queued[l]+size > nw.maxQueued {
			break
		}
		nw.queued[l] += size
		delay := f.Latency
		if f.Jitter > 0 {
			delay += time.Duration(nw.rand.Int64N(int64(f.Jitter)))
		}
		nw.order++
		heap.Push(&nw.deliveries, delivery{time.Now().Add(delay), nw.order, l, to, m, size})
	}
	if !nw.running && len(nw.deliveries) > 0 {
		nw.running = true
		go nw.deliverAll() // ends when the last host leaves
	}
}

// deliverAll is the goroutine that delivers delayed messages.
func (nw *Network) deliverAll() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	returned := false
	defer func() {
		if !returned { // a receiver has ended the goroutine (runtime.Goexit)
			go nw.deliverAll()
		}
	}()
	for {
		wait, ok := nw.deliverDue()
		if !ok {
			returned = true
			return
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-nw.wake:
		}
	}
}

// deliverDue delivers what is due, and returns for how long nothing is. It
// returns false if no host is left.
func (nw *Network) deliverDue() (time.Duration, bool) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for {
		if len(nw.transports) == 0 {
			nw.deliveries, nw.running = nil, false
			clear(nw.queued)
			return 0, false
		}
		if len(nw.deliveries) == 0 {
			return time.Hour, true
		}
		if wait := time.Until(nw.deliveries[0].due); wait > 0 {
			return wait, true
		}
		d := heap.Pop(&nw.deliveries).(delivery)
		nw.queued[d.link] -= d.size
		if nw.transports[d.link.to] != d.to || nw.faultsOf(d.link).Cut { // a host that has joined again has new connections
			continue
		}
		nw.deliver(d)
	}
}

// deliver hands a message to the receiver. The caller holds nw.mu.
func (nw *Network) deliver(d delivery) {
	d.to.delivers.Add(1)
	nw.mu.Unlock()
	defer nw.mu.Lock() // also if the receiver ends the goroutine
	defer d.to.delivers.Done()
	d.to.receiver.Receive(d.link.from, []node.Message{d.message})
}

// Close takes the host off the network.
func (t *Transport) Close() error {
	nw := t.network
	nw.change(func() {
		t.closed = true
		if nw.transports[t.id] == t {
			delete(nw.transports, t.id)
		}
	})
	select {
	case nw.wake <- struct{}{}:
	default:
	}
	t.delivers.Wait()
	return nil
}

// delivery is a message on its way.
type delivery struct {
	due     time.Time
	order   uint64
	link    link
	to      *Transport
	message node.Message
	size    int // of the message, in bytes
}

// deliveries is a heap of messages by time, and by order of sending.
type deliveries []delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	if !d[i].due.Equal(d[j].due) {
		return d[i].due.Before(d[j].due)
	}
	return d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
