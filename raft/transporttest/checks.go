package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// bodies returns a new body of each type of the core.
func bodies() []core.Body {
	return []core.Body{
		&core.RequestVote{}, &core.RequestVoteReply{}, &core.AppendEntries{}, &core.AppendEntriesReply{},
		&core.InstallSnapshot{}, &core.InstallSnapshotReply{}, &core.TimeoutNow{},
		&core.ReadIndex{}, &core.ReadIndexReply{}, &core.Quiesce{}, &core.QuiesceReply{},
	}
}

// checkEveryBody sends each type of body, empty and with a value in each field.
func checkEveryBody(s *subject) {
	a, b := s.pair()
	group := node.GroupID(1)
	for _, full := range []bool{false, true} {
		for i, body := range bodies() {
			if full {
				f := filler{next: uint64(i) * 1000}
				f.fill(reflect.ValueOf(body).Elem())
			}
			m := node.Message{Group: group, Body: body}
			group = group*3 + 1<<40 // large ones too
			s.deliver(a, b, m)
		}
	}
	for _, got := range b.from(1) {
		if got.Body == nil {
			s.Fatalf("a message without a body arrived")
		}
	}
}

// filler gives each field of a body a value of its own.
type filler struct{ next uint64 }

func (f *filler) number() uint64 {
	f.next++
	return f.next * f.next // of one to several bytes
}

func (f *filler) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
		if app, ok := v.Addr().Interface().(*core.AppendEntries); ok { // entries follow one another
			for i := range app.Entries {
				app.Entries[i].Index = app.PrevLogIndex + 1 + uint64(i)
				app.Entries[i].Type = core.EntryType(i % 2)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("host-%d.example:7000", f.number()))
	case reflect.Uint8:
		v.SetUint(f.number() % 251)
	default:
		v.SetUint(f.number())
	}
}

// entry is a message with a command.
func entry(index uint64, data []byte) node.Message {
	return node.Message{Group: 7, Body: &core.AppendEntries{
		Term: 3, LeaderID: 1, PrevLogIndex: index - 1, Entries: []core.Entry{{Index: index, Term: 3, Data: data}},
	}}
}

// command returns data that tells its index.
func command(index uint64, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%08d", index), size/8)
}

// checkOrder sends messages alone and in batches. All arrive, once and in order, and
// an arrived message does not change.
func checkOrder(s *subject) {
	a, b := s.pair()
	var want, batch []node.Message
	for i := range uint64(400) {
		m := entry(i+1, command(i, 8+int(i)%80*8))
		want, batch = append(want, m), append(batch, m)
		if i%7 < 3 {
			a.Send(2, batch)
			batch = nil
		}
	}
	a.Send(2, batch)
	s.wait(b, fmt.Sprintf("arrival of %d messages", len(want)), func() bool { return len(b.from(1)) >= len(want) })
	got := b.from(1)
	for i := range want {
		if !same(got[i], want[i]) {
			s.Fatalf("message %d of %d is %s; want %s", i+1, len(want), got[i].Body, want[i].Body)
		}
	}
	if len(got) > len(want) {
		s.Fatalf("%d messages arrived, and %d were sent", len(got), len(want))
	}
}

// checkAddressee sends messages to two hosts. Neither gets those of the other.
func checkAddressee(s *subject) {
	a, b := s.pair()
	c := s.start(3)
	s.connect(a, c)
	for i := range uint64(30) {
		s.deliver(a, b, entry(2*i+1, nil))
		s.deliver(a, c, entry(2*i+2, nil))
	}
	for _, h := range []*host{b, c} {
		for _, m := range h.from(1) {
			index := m.Body.(*core.AppendEntries).Entries[0].Index
			if index%2 != uint64(h.id)%2^1 {
				s.Fatalf("host %d received the message %d, which was sent to another host", h.id, index)
			}
		}
	}
}

// checkSender sends messages of two hosts that claim to come from a third. The
// receiver learns the true senders.
func checkSender(s *subject) {
	a, b := s.pair()
	c := s.start(3)
	s.connect(c, b)
	for i, from := range []*host{a, c, a, c} {
		for _, body := range []core.Body{
			&core.RequestVote{Term: uint64(i), CandidateID: 4 - from.id},
			&core.AppendEntries{Term: uint64(i), LeaderID: 4 - from.id},
			&core.InstallSnapshot{Term: uint64(i), LeaderID: 4 - from.id, Data: []byte("x")},
		} {
			m := node.Message{Group: 1, Body: body}
			s.deliver(from, b, m)
			if b.has(4-from.id, m) {
				s.Fatalf("%s of host %d was delivered as one of host %d", body, from.id, 4-from.id)
			}
		}
	}
	if got := b.senders(); !slices.Equal(got, []core.NodeID{1, 3}) {
		s.Fatalf("host 2 received messages from %v; want 1 and 3", got)
	}
}

// checkSlice uses the slice of messages again after each Send.
func checkSlice(s *subject) {
	a, b := s.pair()
	slice := make([]node.Message, 2)
	const n = 300
	for i := range uint64(n) {
		slice[0], slice[1] = entry(2*i+1, nil), entry(2*i+2, nil)
		a.Send(2, slice)
		clear(slice)
	}
	s.wait(b, "arrival of all messages", func() bool { return len(b.from(1)) >= 2*n })
	for i, m := range b.from(1) {
		if body, ok := m.Body.(*core.AppendEntries); !ok || len(body.Entries) != 1 || body.Entries[0].Index != uint64(i+1) {
			s.Fatalf("message %d arrived as %v", i+1, m.Body)
		}
	}
}

// checkUpAndDown connects to a host that stops and comes back.
func checkUpAndDown(s *subject) {
	a, b := s.pair()
	if l := a.link(2); l.ups != 1 || l.downs != 0 {
		s.Fatalf("after the connection, host 1 has %d calls of PeerUp and %d of PeerDown", l.ups, l.downs)
	}
	s.deliver(a, b, entry(1, nil))
	if err := b.close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	s.wait(a, "PeerDown(2) of host 1, when host 2 stopped,", func() bool { return a.link(2).downs > 0 })
	if l := a.link(2); l.ups != 1 || l.reason == nil {
		s.Fatalf("after the loss, host 1 has %d calls of PeerUp; the reason of the loss is %v", l.ups, l.reason)
	}
	again := s.start(2)
	s.connect(a, again)
	s.deliver(a, again, entry(2, nil))
}

// checkNewAddress moves a host to another address, while the sender runs.
func checkNewAddress(s *subject) {
	a, b := s.pair()
	s.deliver(a, b, entry(1, nil))
	if a.Address() == "" || a.Address() == b.Address() {
		s.Fatalf("the addresses of two hosts are %q and %q", a.Address(), b.Address())
	}
	for i := range uint64(2) {
		if err := b.close(); err != nil {
			s.Fatalf("Close: %v", err)
		}
		b = s.start(2)
		s.connect(a, b)
		s.deliver(a, b, entry(i+2, nil))
	}
	// A host that was told a wrong address first.
	c := s.start(3)
	gone := s.start(4)
	if err := gone.close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	c.SetPeer(2, gone.Address())
	c.Send(2, []node.Message{entry(9, nil)})
	s.connect(c, b)
	s.deliver(c, b, entry(10, nil))
}

// checkRemovePeer removes a peer. Both hosts lose their connections. A later SetPeer
// reaches the peer again.
func checkRemovePeer(s *subject) {
	a, b := s.pair()
	s.connect(b, a)
	s.deliver(b, a, entry(1, nil))
	a.RemovePeer(2)
	s.wait(b, "PeerDown(1) of host 2, which host 1 has removed,", func() bool { return b.link(1).downs > 0 })
	if err := b.close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	a.RemovePeer(2)
	a.RemovePeer(2)
	again := s.start(2)
	a.Send(2, []node.Message{entry(2, nil)}) // dropped
	a.SetPeer(2, again.Address())
	s.deliver(a, again, entry(3, nil))
	if again.has(1, entry(2, nil)) {
		s.Fatalf("a message for a removed peer was kept")
	}
}

// checkUnknownPeer calls all methods for an unknown peer.
func checkUnknownPeer(s *subject) {
	a, b := s.pair()
	a.Send(99, []node.Message{entry(1, nil)})
	a.Send(2, nil)
	a.RemovePeer(99)
	s.deliver(a, b, entry(2, nil))
	if b.has(1, entry(1, nil)) {
		s.Fatalf("host 2 received a message for host 99")
	}
}

// checkQueue overfills the queue to a host that takes nothing. Send returns at once,
// drops the messages beyond the bound, and keeps no more than the bound alive.
func checkQueue(s *subject) {
	a, b := s.pair()
	s.deliver(a, b, entry(1, nil))
	b.stall()
	const size = 8 << 10
	n := 4 * s.opts.QueueBytes / size
	kept := make([]weak.Pointer[core.AppendEntries], 0, n)
	s.within("Send to a host that takes nothing", func() {
		for i := range n {
			m := entry(uint64(i+2), make([]byte, size))
			kept = append(kept, weak.Make(m.Body.(*core.AppendEntries)))
			a.Send(2, []node.Message{m})
		}
	})
	runtime.GC()
	alive := 0
	for _, p := range kept {
		if p.Value() != nil {
			alive++
		}
	}
	// A frame may have left the queue and wait for the socket.
	if bound := 2*s.opts.QueueBytes/size + 16; alive > bound {
		s.Fatalf("%d messages of %d bytes are kept for a peer; want at most %d", alive, size, bound)
	}
	b.release()
	s.deliver(a, b, entry(1_000_000, nil))
}

// checkConcurrentUse calls all methods at once. The race detector sees the rest.
func checkConcurrentUse(s *subject) {
	a, b := s.pair()
	c := s.start(3)
	var all sync.WaitGroup
	for worker := range uint64(4) {
		all.Go(func() {
			for i := range uint64(50) {
				a.Send(2, []node.Message{entry(worker*100+i+1, command(i, 64))})
				c.Send(2, []node.Message{entry(worker*100+i+1, nil)})
				switch i % 10 {
				case 3:
					c.RemovePeer(2)
				case 5:
					c.SetPeer(2, b.Address())
				}
				_ = a.Address()
			}
		})
	}
	s.within("the concurrent use", all.Wait)
	c.SetPeer(2, b.Address())
	s.deliver(a, b, entry(1000, nil))
	s.deliver(c, b, entry(1001, nil))
}

// checkGoroutines closes connected transports. Goroutines inherit the labels of the
// goroutine that starts them, so the profile shows the remaining ones.
func checkGoroutines(s *subject) {
	label := fmt.Sprintf("run-%d", runs.Add(1))
	pprof.Do(context.Background(), pprof.Labels("transporttest", label), func(context.Context) {
		a, b := s.pair()
		s.connect(b, a)
		s.deliver(a, b, entry(1, nil))
		a.SetPeer(3, b.Address()) // host 3 is not there
		a.Send(3, []node.Message{entry(1, nil)})
		for _, h := range []*host{a, b} {
			if err := h.close(); err != nil {
				s.Fatalf("Close: %v", err)
			}
		}
	})
	left := ""
	for deadline := time.Now().Add(s.patience / 2); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left = goroutines(label); left == "" {
			return
		}
	}
	s.Fatalf("goroutines run after Close:\n%s", left)
}

var runs atomic.Int64

// goroutines returns the stacks of the goroutines with a label.
func goroutines(label string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	var found []string
	for _, stack := range strings.Split(all.String(), "\n\n") {
		if strings.Contains(stack, label) {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}

// checkCloseTwice closes a transport twice at once and once more, and uses it then.
func checkCloseTwice(s *subject) {
	a, b := s.pair()
	s.deliver(a, b, entry(1, nil))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { _ = a.Close() })
	}
	s.within("Close, called twice at once,", both.Wait)
	s.within("the use after Close", func() {
		if err := a.close(); err != nil {
			s.hosts[0].note("Close, called again, returned %v", err)
		}
		a.Send(2, []node.Message{entry(2, nil)})
		a.SetPeer(3, b.Address())
		a.RemovePeer(2)
		_ = a.Address()
	})
	if b.has(1, entry(2, nil)) {
		s.Fatalf("a message was sent after Close")
	}
}

func (h *host) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail(format, args...)
}

// checkNothingAfterClose closes a transport while others send to it.
func checkNothingAfterClose(s *subject) {
	for range 4 {
		a, b := s.pair()
		s.deliver(a, b, entry(1, nil))
		stop := make(chan struct{})
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := uint64(2); ; i++ {
				select {
				case <-stop:
					return
				default:
					a.Send(2, []node.Message{entry(i, command(i, 256))})
				}
			}
		})
		s.wait(b, "message", func() bool { return len(b.from(1)) > 50 })
		err := b.close()
		s.wait(a, "pause", pause(a, 5*time.Millisecond))
		close(stop)
		sending.Wait()
		if err != nil {
			s.Fatalf("Close: %v", err)
		}
		s.within("Close", func() { _ = a.close() })
	}
}

// pause is a condition that is met after some time.
func pause(h *host, d time.Duration) func() bool {
	end := time.Now().Add(d)
	time.AfterFunc(d, func() {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	})
	return func() bool { return !time.Now().Before(end) }
}
