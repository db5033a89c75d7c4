// Package nodetrace records servers of package raft/node for package trace. The page of a
// recording shows the messages, the roles and the snapshots of the members.
package nodetrace

import (
	"fmt"
	"sync"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/trace"
)

// A Tracer records the members of one group. Any goroutine may call the methods.
type Tracer struct {
	rec   *trace.Recorder
	group node.GroupID

	mu       sync.Mutex
	last     uint64
	pending  map[string][]sent // sent messages that were not received
	requests map[link][]request
}

// A sent message has a number. A reply has the number of its request as its call.
type sent struct{ message, call uint64 }

// A link is a pair of members. Requests go from one to the other.
type link struct{ from, to core.NodeID }

// A request has the fields that a reply repeats.
type request struct {
	call             uint64
	name             string
	preVote          bool
	term, prev, last uint64 // last is the index of the last entry
	round            uint64
}

// maxPending bounds the messages on their way between two members. Lost messages stay until
// then. maxRequests bounds the requests that a member may still answer.
const (
	maxPending  = 1000
	maxRequests = 100
)

// New returns a Tracer of a group.
func New(rec *trace.Recorder, group node.GroupID) *Tracer {
	return &Tracer{rec: rec, group: group, pending: make(map[string][]sent), requests: make(map[link][]request)}
}

// Hooks returns the value for [node.HostConfig.Trace]. All hosts of a process may share it.
func (t *Tracer) Hooks() *node.Trace {
	return &node.Trace{Sent: t.sent, Received: t.received}
}

// Observe returns the function for [node.HostConfig.Observe] of a host.
func (t *Tracer) Observe(host core.NodeID) func(node.Event) {
	lane := t.lane(host)
	return func(e node.Event) {
		if e.Group != t.group {
			return
		}
		out := trace.Event{Time: e.Time.Sub(t.rec.Start()), Lane: lane, Term: int(e.Term), Index: int(e.Index)}
		switch e.Kind {
		case node.RoleChanged:
			out.Kind, out.Leads = trace.Role, e.State == core.Leader
		case node.SnapshotSaved:
			out.Kind, out.Text = trace.Snapshot, "takes a snapshot"
		case node.SnapshotInstalled:
			out.Kind, out.Text = trace.Snapshot, "installs a snapshot"
		case node.MemberStopped:
			out.Kind = trace.Crashed
		default:
			out.Kind, out.Text = trace.Noted, e.Kind.String()
		}
		t.rec.Add(out)
	}
}

func (t *Tracer) lane(id core.NodeID) int { return t.rec.Running(fmt.Sprint("S", id)) }

func (t *Tracer) sent(m node.TraceMessage) {
	if m.Group != t.group {
		return
	}
	e := t.event(m)
	e.Kind, e.Lane, e.Peer = trace.Sent, t.lane(m.From), t.lane(m.To)
	key := keyOf(m)
	t.mu.Lock()
	t.last++
	e.Message, e.Call = t.last, t.last
	if e.Reply {
		e.Call = t.asked(m, t.last)
	}
	t.pending[key] = append(t.pending[key], sent{e.Message, e.Call})
	if len(t.pending[key]) > maxPending {
		t.pending[key] = t.pending[key][1:]
	}
	t.mu.Unlock()
	t.rec.Add(e)
}

func (t *Tracer) received(m node.TraceMessage) {
	if m.Group != t.group {
		return
	}
	key := keyOf(m)
	t.mu.Lock()
	var number sent
	if waiting := t.pending[key]; len(waiting) > 0 {
		number = waiting[0]
		if len(waiting) == 1 {
			delete(t.pending, key)
		} else {
			t.pending[key] = waiting[1:]
		}
	}
	e := t.event(m)
	if !e.Reply && number.call != 0 {
		r := request{call: number.call, name: e.Name}
		switch b := m.Body.(type) {
		case *core.RequestVote:
			r.term, r.preVote = b.Term, b.PreVote
		case *core.AppendEntries:
			r.term, r.prev, r.last, r.round = b.Term, b.PrevLogIndex, b.PrevLogIndex+uint64(len(b.Entries)), b.Round
		case *core.InstallSnapshot:
			r.term = b.Term
		}
		open := append(t.requests[link{m.From, m.To}], r)
		t.requests[link{m.From, m.To}] = open[max(0, len(open)-maxRequests):]
	}
	t.mu.Unlock()
	if number.message == 0 {
		return // sent by another process
	}
	e.Kind, e.Lane, e.Peer, e.Message, e.Call, e.Data = trace.Delivered, t.lane(m.To), t.lane(m.From), number.message, number.call, nil
	t.rec.Add(e)
}

// asked returns the call of the newest request that a reply answers, or the number of the reply.
func (t *Tracer) asked(m node.TraceMessage, number uint64) uint64 {
	open := t.requests[link{m.To, m.From}]
	for i := len(open) - 1; i >= 0; i-- {
		if open[i].answeredBy(m.Body) {
			return open[i].call
		}
	}
	return number
}

// answeredBy reports whether a reply repeats the fields of the request.
func (r request) answeredBy(reply core.Body) bool {
	switch b := reply.(type) {
	case *core.RequestVoteReply:
		return r.name == "RequestVote" && r.term == b.RequestTerm && r.preVote == b.PreVote
	case *core.AppendEntriesReply:
		return r.name == "AppendEntries" && r.term == b.RequestTerm && r.prev == b.PrevLogIndex && r.round == b.Round && (!b.Success || r.last <= b.MatchIndex)
	case *core.InstallSnapshotReply:
		return r.name == "InstallSnapshot" && r.term == b.RequestTerm
	}
	return false
}

// keyOf identifies a message. Equal messages between two members arrive in order.
func keyOf(m node.TraceMessage) string { return fmt.Sprintf("%d>%d %v", m.From, m.To, m.Body) }

// event describes a message.
func (t *Tracer) event(m node.TraceMessage) trace.Event {
	e := trace.Event{Time: m.Time.Sub(t.rec.Start()), Text: m.Body.String(), Fields: make(map[trace.Field]int)}
	set := func(f trace.Field, n uint64) { e.Fields[f] = int(n) }
	is := func(f trace.Field, yes bool) {
		e.Fields[f] = 0
		if yes {
			e.Fields[f] = 1
		}
	}
	switch b := m.Body.(type) {
	case *core.RequestVote:
		e.Name = "RequestVote"
		set(trace.FieldTerm, b.Term)
		set(trace.FieldLastLogIndex, b.LastLogIndex)
		set(trace.FieldLastLogTerm, b.LastLogTerm)
		is(trace.FieldPreVote, b.PreVote)
	case *core.RequestVoteReply:
		e.Name, e.Reply = "RequestVote", true
		set(trace.FieldTerm, b.Term)
		is(trace.FieldVoteGranted, b.VoteGranted)
	case *core.AppendEntries:
		e.Name = "AppendEntries"
		set(trace.FieldTerm, b.Term)
		set(trace.FieldPrevLogIndex, b.PrevLogIndex)
		set(trace.FieldPrevLogTerm, b.PrevLogTerm)
		set(trace.FieldLeaderCommit, b.LeaderCommit)
		set(trace.FieldEntries, uint64(len(b.Entries)))
		for _, entry := range b.Entries {
			e.Entries = append(e.Entries, trace.Entry{Term: int(entry.Term), Command: command(entry)})
		}
	case *core.AppendEntriesReply:
		e.Name, e.Reply = "AppendEntries", true
		set(trace.FieldTerm, b.Term)
		is(trace.FieldSuccess, b.Success)
	case *core.InstallSnapshot:
		e.Name = "InstallSnapshot"
		set(trace.FieldTerm, b.Term)
		set(trace.FieldLastIndex, b.LastIncludedIndex)
		set(trace.FieldLastTerm, b.LastIncludedTerm)
	case *core.InstallSnapshotReply:
		e.Name, e.Reply = "InstallSnapshot", true
		set(trace.FieldTerm, b.Term)
	default:
		e.Name, e.Fields = fmt.Sprintf("%T", b), nil
	}
	return e
}

// maxCommand bounds the text of a command.
const maxCommand = 40

func command(e core.Entry) string {
	if len(e.Data) > maxCommand {
		return fmt.Sprintf("%q and %d bytes", e.Data[:maxCommand], len(e.Data)-maxCommand)
	}
	return fmt.Sprintf("%q", e.Data)
}
