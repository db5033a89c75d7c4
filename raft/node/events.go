package node

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// EventKind tells what an [Event] reports.
type EventKind uint8

// The kinds of events, and the fields that each one sets beside Group.
const (
	// RoleChanged reports a new State, Term or leader (Peer) of the member.
	RoleChanged EventKind = iota + 1
	// MembershipChanged reports that the configuration at Index is in force.
	MembershipChanged
	// SnapshotSaved reports that the member has saved a snapshot of its own.
	SnapshotSaved
	// SnapshotInstalled reports that the leader's snapshot at Index is restored.
	SnapshotInstalled
	// SnapshotPostponed reports that the disk has no room for a snapshot, the member's
	// own or the leader's, that ends at Index. Err matches [ErrNoRoom]. The member goes on
	// and tries again.
	SnapshotPostponed
	// PeerUp and PeerDown report on the connection to host Peer. Group is 0.
	PeerUp
	PeerDown
	// StorageStalled reports a save that lasts longer than [HostConfig.StorageTimeout].
	// A leader has stepped down. StorageRecovered reports the end of that save.
	StorageStalled
	StorageRecovered
	// MemberStopped reports that the member has stopped because of Err.
	MemberStopped
)

var eventNames = [...]string{
	RoleChanged: "role changed", MembershipChanged: "membership changed",
	SnapshotSaved: "snapshot saved", SnapshotInstalled: "snapshot installed",
	SnapshotPostponed: "snapshot postponed",
	PeerUp:            "peer up", PeerDown: "peer down",
	StorageStalled: "storage stalled", StorageRecovered: "storage recovered",
	MemberStopped: "member stopped",
}

// String returns the kind in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event reports a change to operators and services. The comments of the kinds name
// the fields that a kind sets beside Time, Kind and Group. State, Term and Peer belong to
// RoleChanged, Peer to PeerUp and PeerDown, Index to MembershipChanged and the
// snapshots, Err to SnapshotPostponed, PeerDown, StorageStalled and MemberStopped.
type Event struct {
	Time  time.Time // of the change, before the event waited for Observe
	Kind  EventKind
	Group GroupID
	State core.State
	Term  uint64
	Peer  core.NodeID
	Index uint64
	Err   error
}

// Trace has functions that a host calls for each message. For each group, the
// calls are in the order of sending and receiving. Messages and events together, in
// the order of their times, are enough to draw a space-time diagram of a cluster. A
// message that was sent and not received is lost, or still on its way. The functions may be called
// from several goroutines at a time and while locks are held. They return soon,
// call nothing of this package and change nothing in the body.
type Trace struct {
	// Sent is called when a message is handed to the transport.
	Sent func(TraceMessage)
	// Received is called when a message has arrived, before it is processed.
	Received func(TraceMessage)
}

// TraceMessage is a message of which a [Trace] is told.
type TraceMessage struct {
	Time     time.Time
	Group    GroupID
	From, To core.NodeID
	Body     core.Body
}

// traceSent tells the host's Trace of a message to a member.
func (n *Node) traceSent(to core.NodeID, body core.Body) {
	if t := n.host.cfg.Trace; t != nil && t.Sent != nil {
		t.Sent(TraceMessage{time.Now(), n.cfg.Group, n.id, to, body})
	}
}

// traceReceived tells the host's Trace of a message from a member. n.mu is held.
func (n *Node) traceReceived(from core.NodeID, body core.Body) {
	if t := n.host.cfg.Trace; t != nil && t.Received != nil {
		returned := false
		defer func() {
			if !returned {
				n.mu.Unlock()
				_ = n.host.exit()
			}
		}()
		t.Received(TraceMessage{time.Now(), n.cfg.Group, from, n.id, body})
		returned = true
	}
}

// notifier is the goroutine that calls HostConfig.Observe.
type notifier struct {
	observe func(Event)
	queue   chan Event
	stop    chan struct{}
	dropped atomic.Int64
	running sync.WaitGroup
}

func newNotifier(observe func(Event), maxWaiting int) *notifier {
	s := &notifier{observe: observe}
	if observe != nil {
		s.queue = make(chan Event, maxWaiting)
		s.stop = make(chan struct{})
		s.running.Go(s.notifyAll)
	}
	return s
}

func (s *notifier) add(e Event) {
	if s.observe == nil {
		return
	}
	e.Time = time.Now()
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}

func (s *notifier) notifyAll() {
	exits := true
	defer func() {
		if exits { // Observe has ended the goroutine (runtime.Goexit), or panics
			s.running.Go(s.notifyAll)
		}
	}()
	for {
		select {
		case e := <-s.queue:
			s.observe(e)
		case <-s.stop:
			for len(s.queue) > 0 {
				s.observe(<-s.queue)
			}
			exits = false
			return
		}
	}
}

// close delivers the waiting events, and ends the goroutine.
func (s *notifier) close() {
	if s.observe != nil {
		close(s.stop)
		s.running.Wait()
	}
}
