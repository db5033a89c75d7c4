package node

import "raftlab/raft/core"

// Transport carries messages between hosts. A transport may lose, delay, repeat
// and reorder messages. A transport delivers a message to the named host alone, and
// authenticates the sender. A [Receiver] trusts the transport's word about the
// sender, and nothing in the message.
//
// Methods may be called from any goroutine. Package transporttest is the conformance test
// of implementations.
type Transport interface {
	// Start begins to receive. It is called once, before Send. The transport
	// calls the receiver until Close returns.
	Start(self Identity, receiver Receiver) error
	// Send queues messages for a peer and returns at once. Messages
	// beyond the bound of the queue are dropped, as a network drops them. Send does not
	// keep the slice. It keeps the bodies until they are sent, so the caller
	// changes nothing in them.
	Send(to core.NodeID, messages []Message)
	// SetPeer tells where a peer is. A new address replaces the old one, also
	// while messages are on their way.
	SetPeer(id core.NodeID, address string)
	// RemovePeer closes the connections to a peer and forgets its address.
	RemovePeer(id core.NodeID)
	// Address is where other hosts reach this one, "" if nowhere.
	Address() string
	// Close ends the connections and waits for the transport's goroutines. It
	// may be called more than once.
	Close() error
}

// Limited is a [Transport] with a bound on the size of a message to a peer. A leader
// makes the chunks of a snapshot and the batches of entries fit, even if
// [Config.SnapshotChunkBytes] or [Config.MaxBatchBytes] is larger. A single command has to
// fit by itself.
type Limited interface {
	// MaxMessageBytes returns the size of the largest message to a peer, 0 if the size
	// is not known, for example because there is no connection. For core.None the
	// result is this host's own bound for all peers, which [Config.MaxCommandBytes] has
	// to keep.
	MaxMessageBytes(to core.NodeID) int
}

// Receiver takes messages from a [Transport]. Its methods return soon and do
// not block on the network.
type Receiver interface {
	// Receive takes messages that the host from has sent. The receiver owns the
	// bodies from then on, and the transport the slice.
	Receive(from core.NodeID, messages []Message)
	// PeerUp reports that a connection to a peer has been established.
	PeerUp(id core.NodeID)
	// PeerDown reports that no connection to a peer is left, and why. A transport of
	// remote procedure calls reports each failed call.
	PeerDown(id core.NodeID, reason error)
}

// Message is a message between two members of a group. The sender and the
// destination are hosts, which the transport knows.
type Message struct {
	Group GroupID
	// Call pairs a reply with its request, for transports of remote procedure
	// calls. The receiving transport numbers the requests, and finds the number in
	// the reply. Transports of plain messages leave Call 0.
	Call uint64
	// Body is nil in the reply to a call that the member has dropped. A member
	// that has stopped replies to no call.
	Body core.Body
}

// Size is about what the message occupies in memory, in bytes. Bounds on queues count
// this size.
func (m *Message) Size() int {
	size := 128
	switch b := m.Body.(type) {
	case *core.AppendEntries:
		size += entriesSize(b.Entries)
	case *core.InstallSnapshot:
		size += len(b.Data)
	}
	return size
}
