// Package transporttest is the conformance test of [node.Transport]. The suite
// checks the promises of the interface through the interface alone. A test of an
// implementation calls Run:
//
//	func TestTransport(t *testing.T) {
//		transporttest.Run(t, transporttest.Options{
//			New:        func(id node.Identity) (node.Transport, error) { return mytransport.Listen(...) },
//			QueueBytes: 1 << 20,
//		})
//	}
//
// The package registers no flag and needs no other package of the project's
// tests.
package transporttest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Options describe the transport under test.
type Options struct {
	// New makes the transport of a host. The suite starts the transport. The suite
	// makes several transports of one host, one after the other. A transport that
	// retries should do so after some milliseconds.
	New func(id node.Identity) (node.Transport, error)
	// Unordered: messages may overtake one another and get lost, also on a connection
	// that stands. The suite then checks that messages arrive at all.
	Unordered bool
	// Addressless: hosts find each other without addresses, and have no connections. The
	// suite then checks neither SetPeer and RemovePeer, nor PeerUp and PeerDown.
	Addressless bool
	// QueueBytes is the bound of the queue to one peer, at least 256 KiB and at most 16
	// MiB. 0: the transport has no queue, and Send hands the messages to the peer
	// itself. The suite sends messages of up to 8 KiB.
	QueueBytes int
}

// checks are the tests of the suite.
var checks = []struct {
	name  string
	check func(*subject)
	needs func(Options) bool // nil: always
}{
	{"EveryBody", checkEveryBody, nil},
	{"Order", checkOrder, ordered},
	{"Addressee", checkAddressee, nil},
	{"Sender", checkSender, nil},
	{"CallerKeepsItsSlice", checkSlice, ordered},
	{"PeerUpAndDown", checkUpAndDown, addressed},
	{"NewAddress", checkNewAddress, addressed},
	{"RemovePeer", checkRemovePeer, addressed},
	{"UnknownPeer", checkUnknownPeer, nil},
	{"QueueIsBounded", checkQueue, func(o Options) bool { return o.QueueBytes > 0 }},
	{"ConcurrentUse", checkConcurrentUse, nil},
	{"CloseEndsGoroutines", checkGoroutines, nil},
	{"CloseTwice", checkCloseTwice, nil},
	{"NothingAfterClose", checkNothingAfterClose, nil},
}

func ordered(o Options) bool   { return !o.Unordered }
func addressed(o Options) bool { return !o.Addressless }

// Run runs the suite.
func Run(t *testing.T, opts Options) {
	for _, c := range checks {
		if c.needs != nil && !c.needs(opts) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { run(t, opts, c.check) })
	}
}

func run(t tester, opts Options, check func(*subject)) {
	s := &subject{tester: t, opts: opts, patience: patience}
	defer s.closeAll()
	check(s)
	for _, h := range s.hosts {
		if problem := h.problem(); problem != "" {
			s.Fatalf("host %d: %s", h.id, problem)
		}
	}
}

// tester is the part of testing.T that the suite uses.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// patience bounds the wait for something that must happen. Tests of the suite make
// it less.
var patience = 10 * time.Second

const cluster = "transporttest"

// subject is the transports under test.
type subject struct {
	tester
	opts     Options
	patience time.Duration
	hosts    []*host
}

// start makes and starts the transport of a host.
func (s *subject) start(id core.NodeID) *host {
	s.Helper()
	identity := node.Identity{Cluster: cluster, Host: id}
	transport, err := s.opts.New(identity)
	if err != nil {
		s.Fatalf("New for host %d: %v", id, err)
	}
	h := &host{Transport: transport, id: id, changed: make(chan struct{}, 1), received: make(map[core.NodeID][]node.Message), links: make(map[core.NodeID]*link)}
	s.hosts = append(s.hosts, h)
	if err := transport.Start(identity, h); err != nil {
		s.Fatalf("Start of host %d: %v", id, err)
	}
	return h
}

// connect tells a of b, and waits for the connection.
func (s *subject) connect(a, b *host) {
	s.Helper()
	before := a.link(b.id).ups
	a.SetPeer(b.id, b.Address())
	if !s.opts.Addressless {
		s.wait(a, fmt.Sprintf("PeerUp(%d) of host %d", b.id, a.id), func() bool {
			l := a.link(b.id)
			return l.ups > before || l.ups > l.downs // the peer may have made itself known
		})
	}
}

// pair starts two connected hosts.
func (s *subject) pair() (a, b *host) {
	s.Helper()
	a, b = s.start(1), s.start(2)
	s.connect(a, b)
	return a, b
}

// wait waits until a host has received enough for a condition.
func (s *subject) wait(h *host, what string, done func() bool) {
	s.Helper()
	deadline := time.NewTimer(s.patience)
	defer deadline.Stop()
	for !done() {
		select {
		case <-h.changed:
		case <-deadline.C:
			s.Fatalf("there was no %s in %v", what, s.patience)
		}
	}
}

// within calls f, which must return in time. f does not end the test.
func (s *subject) within(what string, f func()) {
	s.Helper()
	returned := make(chan struct{})
	go func() { defer close(returned); f() }()
	select {
	case <-returned:
	case <-time.After(s.patience):
		s.Fatalf("%s did not return in %v", what, s.patience)
	}
}

// deliver sends a message again and again until b has received it, as Raft does.
func (s *subject) deliver(a, b *host, m node.Message) {
	s.Helper()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(s.patience)
	for !b.has(a.id, m) {
		a.Send(b.id, []node.Message{m})
		select {
		case <-b.changed:
		case <-retry.C:
		case <-deadline:
			s.Fatalf("%s from host %d did not arrive at host %d in %v", m.Body, a.id, b.id, s.patience)
		}
	}
}

func (s *subject) closeAll() {
	s.Helper()
	for _, h := range s.hosts {
		h.release()
		s.within(fmt.Sprintf("Close of host %d", h.id), func() { _ = h.Close() })
	}
}

// host is a transport and its receiver.
type host struct {
	node.Transport
	id      core.NodeID
	changed chan struct{} // capacity 1: something was received

	mu       sync.Mutex
	received map[core.NodeID][]node.Message
	links    map[core.NodeID]*link
	calls    int           // of the receiver, under way
	stalled  chan struct{} // Receive waits until it is closed; nil: Receive does not wait
	closed   bool          // Close has returned
	wrong    string        // the first broken promise
}

// link counts the reports on a peer.
type link struct {
	ups, downs int
	reason     error // of the last loss
}

// Receive implements [node.Receiver].
func (h *host) Receive(from core.NodeID, messages []node.Message) {
	h.enter(fmt.Sprintf("Receive from %d", from))
	defer h.leave()
	h.mu.Lock()
	stalled := h.stalled
	h.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received[from] = append(h.received[from], messages...)
}

// PeerUp implements [node.Receiver].
func (h *host) PeerUp(id core.NodeID) {
	h.enter(fmt.Sprintf("PeerUp(%d)", id))
	defer h.leave()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.linkLocked(id).ups++
}

// PeerDown implements [node.Receiver].
func (h *host) PeerDown(id core.NodeID, reason error) {
	h.enter(fmt.Sprintf("PeerDown(%d)", id))
	defer h.leave()
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.linkLocked(id)
	l.downs++
	l.reason = reason
	if reason == nil {
		h.fail("PeerDown(%d) has no reason", id)
	}
}

func (h *host) enter(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.closed {
		h.fail("%s was called after Close", call)
	}
}

func (h *host) leave() {
	h.mu.Lock()
	h.calls--
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// fail notes a broken promise. The caller holds mu.
func (h *host) fail(format string, args ...any) {
	if h.wrong == "" {
		h.wrong = fmt.Sprintf(format, args...)
	}
}

func (h *host) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong
}

func (h *host) linkLocked(id core.NodeID) *link {
	if h.links[id] == nil {
		h.links[id] = &link{}
	}
	return h.links[id]
}

// link returns the reports on a peer so far.
func (h *host) link(id core.NodeID) link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *h.linkLocked(id)
}

// from returns what a peer has sent.
func (h *host) from(id core.NodeID) []node.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.received[id])
}

// senders returns the hosts from which messages have come.
func (h *host) senders() []core.NodeID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.received))
}

// has reports whether a message from a peer has arrived.
func (h *host) has(from core.NodeID, m node.Message) bool {
	return slices.ContainsFunc(h.from(from), func(got node.Message) bool { return same(got, m) })
}

// stall makes Receive wait until release.
func (h *host) stall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled = make(chan struct{})
}

func (h *host) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stalled != nil {
		close(h.stalled)
		h.stalled = nil
	}
}

// close closes the transport. Afterwards no call of the receiver is allowed.
func (h *host) close() error {
	err := h.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.calls > 0 {
		h.fail("Close returned during a call of the receiver")
	}
	return err
}

// same reports whether two messages are equal, but for Call, which belongs to the
// transport.
func same(a, b node.Message) bool {
	return a.Group == b.Group && equal(reflect.ValueOf(a.Body), reflect.ValueOf(b.Body))
}

// equal is reflect.DeepEqual, but an empty slice equals nil.
func equal(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || equal(a.Elem(), b.Elem()))
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
