//go:build !wasip1 && !race

// The race detector finds some of the broken transports by itself, and then fails the
// test.

package transporttest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// broken is a transport that breaks one promise.
type broken struct {
	node.Transport
	receiver node.Receiver
	fault    fault
	closes   atomic.Int32
	sends    atomic.Int32
	stop     chan struct{}
	queue    chan func() // of a goroutine of the transport
	mu       sync.Mutex
	held     []node.Message
	peers    map[core.NodeID]bool
}

// fault changes the methods of a transport. A nil method is right.
type fault struct {
	send       func(b *broken, to core.NodeID, messages []node.Message)
	receive    func(b *broken, from core.NodeID, messages []node.Message)
	setPeer    func(b *broken, id core.NodeID, address string)
	removePeer func(b *broken, id core.NodeID)
	up, down   func(b *broken, id core.NodeID)
	close      func(b *broken) error
	want       string // a part of the failure
}

func (b *broken) Start(self node.Identity, receiver node.Receiver) error {
	b.receiver = receiver
	return b.Transport.Start(self, b.wrapped())
}

func (b *broken) wrapped() node.Receiver { return &brokenReceiver{b} }

func (b *broken) Send(to core.NodeID, messages []node.Message) {
	if b.fault.send != nil {
		b.fault.send(b, to, messages)
		return
	}
	b.Transport.Send(to, messages)
}

func (b *broken) SetPeer(id core.NodeID, address string) {
	b.mu.Lock()
	b.peers[id] = true
	b.mu.Unlock()
	if b.fault.setPeer != nil {
		b.fault.setPeer(b, id, address)
		return
	}
	b.Transport.SetPeer(id, address)
}

func (b *broken) RemovePeer(id core.NodeID) {
	if b.fault.removePeer != nil {
		b.fault.removePeer(b, id)
		return
	}
	b.Transport.RemovePeer(id)
}

func (b *broken) Close() error {
	if b.fault.close != nil {
		return b.fault.close(b)
	}
	return b.Transport.Close()
}

// brokenReceiver is between a transport and its receiver.
type brokenReceiver struct{ *broken }

func (r *brokenReceiver) Receive(from core.NodeID, messages []node.Message) {
	if r.fault.receive != nil {
		r.fault.receive(r.broken, from, messages)
		return
	}
	r.receiver.Receive(from, messages)
}

func (r *brokenReceiver) PeerUp(id core.NodeID) {
	if r.fault.up != nil {
		r.fault.up(r.broken, id)
		return
	}
	r.receiver.PeerUp(id)
}

func (r *brokenReceiver) PeerDown(id core.NodeID, reason error) {
	if r.fault.down != nil {
		r.fault.down(r.broken, id)
		return
	}
	r.receiver.PeerDown(id, reason)
}

// faults are by the check that finds them, and a name.
var faults = map[string]fault{
	"EveryBody: a field is lost": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		for _, m := range messages {
			if vote, ok := m.Body.(*core.RequestVote); ok {
				vote.PreVote = false
			}
		}
		b.receiver.Receive(from, messages)
	}},
	"EveryBody: the group is lost": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		for i := range messages {
			messages[i].Group = node.GroupID(uint32(messages[i].Group))
		}
		b.receiver.Receive(from, messages)
	}},
	"EveryBody: one type is not carried": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		if _, ok := messages[0].Body.(*core.QuiesceReply); !ok {
			b.Transport.Send(to, messages)
		}
	}},
	"EveryBody: a body is missing": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		b.receiver.Receive(from, append(messages, node.Message{Group: 1}))
	}},
	"Order: a message is lost": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		if b.sends.Add(1) != 20 {
			b.Transport.Send(to, messages)
		}
	}},
	"Order: a message comes twice": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		b.receiver.Receive(from, append(messages, messages[len(messages)-1]))
	}},
	"Order: two messages change places": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		if n := b.sends.Add(1); n == 20 {
			b.held = append([]node.Message(nil), messages...)
			return
		}
		b.Transport.Send(to, messages)
		b.Transport.Send(to, b.held)
		b.held = nil
	}},
	"Order: data changes after the arrival": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range messages {
			b.receiver.Receive(from, []node.Message{m})
			for _, old := range b.held { // as if the buffer were used again
				old.Body.(*core.AppendEntries).Entries[0].Data[0]++
			}
			b.held = []node.Message{m}
		}
	}},
	"Addressee: everybody gets everything": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		for id := range core.NodeID(4) {
			b.Transport.Send(id, messages)
		}
	}},
	"Sender: the claim is believed": {receive: func(b *broken, from core.NodeID, messages []node.Message) {
		for _, m := range messages {
			if vote, ok := m.Body.(*core.RequestVote); ok {
				from = vote.CandidateID
			}
		}
		b.receiver.Receive(from, messages)
	}},
	"CallerKeepsItsSlice: the slice is kept": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		b.later(func() { b.Transport.Send(to, messages) })
	}},
	"PeerUpAndDown: no PeerUp":   {up: func(*broken, core.NodeID) {}},
	"PeerUpAndDown: no PeerDown": {down: func(*broken, core.NodeID) {}},
	"PeerUpAndDown: no reason":   {down: func(b *broken, id core.NodeID) { b.receiver.PeerDown(id, nil) }},
	"PeerUpAndDown: PeerUp again and again": {up: func(b *broken, id core.NodeID) {
		b.receiver.PeerUp(id)
		b.receiver.PeerUp(id)
	}},
	"NewAddress: the first address stays": {setPeer: func(b *broken, id core.NodeID, address string) {
		b.mu.Lock()
		first := b.sends.Add(1) == 1 || id != 2
		b.mu.Unlock()
		if first {
			b.Transport.SetPeer(id, address)
		}
	}},
	"RemovePeer: nothing happens": {removePeer: func(*broken, core.NodeID) {}},
	"UnknownPeer: anybody gets messages for an unknown host": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		if to == 99 {
			to = 2
		}
		b.Transport.Send(to, messages)
	}},
	"QueueIsBounded: the queue has no bound": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		b.mu.Lock()
		b.held = append(b.held, messages...)
		b.mu.Unlock()
		b.Transport.Send(to, messages)
	}},
	"QueueIsBounded: Send blocks": {send: func(b *broken, to core.NodeID, messages []node.Message) {
		if b.sends.Add(1) > 30 {
			<-b.stop
		}
		b.Transport.Send(to, messages)
	}},
	"ConcurrentUse: a lock is held for ever": {removePeer: func(b *broken, id core.NodeID) { <-b.stop }},
	"CloseEndsGoroutines: a goroutine stays": {want: "goroutines run after Close", send: func(b *broken, to core.NodeID, messages []node.Message) {
		go func() { <-b.stop }()
		b.Transport.Send(to, messages)
	}},
	"CloseTwice: the second Close fails": {close: func(b *broken) error {
		if err := b.Transport.Close(); err != nil || b.closes.Add(1) == 1 {
			return err
		}
		return errors.New("closed before")
	}},
	"CloseTwice: Close waits for the other Close": {close: func(b *broken) error {
		if b.closes.Add(1) == 2 {
			<-b.stop
		}
		return b.Transport.Close()
	}},
	"NothingAfterClose: messages arrive after Close": {close: func(b *broken) error {
		err := b.Transport.Close()
		b.later(func() {
			time.Sleep(2 * time.Millisecond) // the caller knows by now that Close has returned
			b.receiver.Receive(1, nil)
		})
		return err
	}},
	"NothingAfterClose: Close does not wait": {
		receive: func(b *broken, from core.NodeID, messages []node.Message) {
			b.receiver.Receive(from, messages)
			time.Sleep(2 * time.Millisecond)
			b.receiver.PeerUp(from)
		},
		close: func(b *broken) error {
			go b.Transport.Close()
			return nil
		},
	},
}

// later calls f on a goroutine of the transport, a little later and in order.
func (b *broken) later(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue == nil {
		b.queue = make(chan func(), 1<<16)
		go func() {
			for {
				select {
				case f := <-b.queue:
					time.Sleep(100 * time.Microsecond)
					f()
				case <-b.stop:
					return
				}
			}
		}()
	}
	select {
	case b.queue <- f:
	default:
	}
}

// listener is a tester that keeps the failure.
type listener struct {
	done   chan struct{}
	failed string
}

func (l *listener) Helper() {}

func (l *listener) Fatalf(format string, args ...any) {
	if l.failed == "" {
		l.failed = fmt.Sprintf(format, args...)
	}
	runtime.Goexit()
}

// TestBrokenTransports runs each check with a transport that breaks the promise.
func TestBrokenTransports(t *testing.T) {
	before := patience
	t.Cleanup(func() { patience = before })
	patience = 300 * time.Millisecond
	found := map[string]bool{}
	for name, f := range faults {
		check, what, _ := strings.Cut(name, ": ")
		found[check] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := runBroken(t, check, f)
			require.NotEmpty(t, failed, "the check %s has not found that %s", check, what)
			require.Contains(t, failed, f.want)
			t.Logf("%.150s", failed)
		})
	}
	for _, c := range checks {
		require.True(t, found[c.name], "no broken transport for the check %s", c.name)
	}
}

// runBroken returns the failure of a check.
func runBroken(t *testing.T, name string, f fault) string {
	stop := make(chan struct{})
	defer close(stop)
	opts := Options{QueueBytes: 256 << 10, New: func(node.Identity) (node.Transport, error) {
		transport, err := tcp.Listen(tcp.Options{
			Listen: "127.0.0.1:0", Plaintext: true, MaxQueueBytes: 256 << 10,
			MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond,
		})
		return &broken{Transport: transport, fault: f, stop: stop, peers: make(map[core.NodeID]bool)}, err
	}}
	for _, c := range checks {
		if c.name == name {
			l := &listener{done: make(chan struct{})}
			go func() {
				defer close(l.done)
				run(l, opts, c.check)
			}()
			<-l.done
			return l.failed
		}
	}
	t.Fatalf("there is no check %s", name)
	return ""
}

// Every type of body is sent.
func TestBodiesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../core/messages.go", nil, 0)
	require.NoError(t, err)
	want := map[string]bool{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "term" && f.Recv != nil {
			want[f.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name] = true
		}
	}
	require.Greater(t, len(want), 5)
	got := map[string]bool{}
	for _, b := range bodies() {
		got[reflect.TypeOf(b).Elem().Name()] = true
	}
	require.Equal(t, want, got)
}
