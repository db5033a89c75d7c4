package labtrace

import (
	"fmt"
	"sync/atomic"

	"raftlab/labrpc"
	"raftlab/trace"
)

// Lanes names the lane of each end and of each server on a network.
type Lanes struct {
	// End returns the lane of a client's end, and whether a server owns the end.
	End func(end any) (name string, server bool)
	// Server returns the lane of a server.
	Server func(server any) string
}

// ServerName is the lane of a server with a number or a name.
func ServerName(server any) string {
	if i, ok := server.(int); ok {
		return fmt.Sprint("S", i)
	}
	return fmt.Sprint(server)
}

// A Tap feeds the messages of a network to a recorder.
type Tap struct {
	rec   *trace.Recorder
	lanes Lanes
	// blocks caches the lanes of links by the number of the link.
	blocks [maxBlocks]atomic.Pointer[[blockLinks]atomic.Pointer[ends]]
}

// The cache holds maxBlocks times blockLinks links.
const (
	maxBlocks  = 256
	blockLinks = 256
)

// ends are the lanes of a link.
type ends struct{ from, to int }

// Listen feeds the messages of a network to a recorder. The returned function ends the tap.
func Listen(net *labrpc.Network, rec *trace.Recorder, lanes Lanes) (stop func()) {
	t := &Tap{rec: rec, lanes: lanes}
	return net.AddTap(t.hear)
}

// hear records an event of the network.
func (t *Tap) hear(e labrpc.Event) {
	m := e.Message
	l := t.link(m)
	if l == nil {
		return // an end without a server
	}
	from, to := l.from, l.to
	if m.Reply {
		from, to = to, from
	}
	call := uint64(m.Link)<<32 | uint64(m.Number)<<2
	out := trace.Event{
		Time: e.Time.Sub(t.rec.Start()), Kind: trace.Sent, Lane: from, Peer: to, Call: call + 1, Message: call + 1,
		Reply: m.Reply, Copy: m.Copy > 0, Name: m.Method, Data: m.Bytes(),
	}
	if m.Reply {
		out.Message++
	}
	if m.Copy > 0 {
		out.Message += 2
	}
	switch e.Kind {
	case labrpc.Delivered:
		out.Kind, out.Lane, out.Peer = trace.Delivered, to, from
	case labrpc.Dropped:
		out.Kind, out.Lane, out.Peer, out.Text = trace.Lost, to, from, e.Reason
	}
	if out.Kind != trace.Sent {
		out.Data = nil // the event Sent has the body
	}
	t.rec.Add(out)
}

// link returns the lanes of a message's link.
func (t *Tap) link(m labrpc.Message) *ends {
	cached := t.cached(m.Link)
	if cached != nil {
		if l := cached.Load(); l != nil {
			return l
		}
	}
	if m.Server == nil {
		return nil
	}
	name, server := t.lanes.End(m.End)
	kind := trace.Client
	if server {
		kind = trace.Server
	}
	l := &ends{t.rec.Lane(name, kind), t.rec.Lane(t.lanes.Server(m.Server), trace.Server)}
	if cached != nil {
		cached.Store(l)
	}
	return l
}

// cached returns the place of a link in the cache, or nil beyond the cache.
func (t *Tap) cached(link int) *atomic.Pointer[ends] {
	if link >= maxBlocks*blockLinks {
		return nil
	}
	block := &t.blocks[link/blockLinks]
	for block.Load() == nil {
		block.CompareAndSwap(nil, new([blockLinks]atomic.Pointer[ends]))
	}
	return &block.Load()[link%blockLinks]
}
