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

	mu      sync.Mutex
	last    uint64
	pending map[string][]uint64 // numbers of sent messages that were not received
}

// maxPending bounds the messages on their way between two members. A message of which the
// hooks do not see the end is forgotten.
const maxPending = 1000

// New returns a Tracer of a group.
func New(rec *trace.Recorder, group node.GroupID) *Tracer {
	return &Tracer{rec: rec, group: group, pending: make(map[string][]uint64)}
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

func (t *Tracer) lane(id core.NodeID) int { return t.rec.Lane(fmt.Sprint("S", id), trace.Server) }

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
	t.pending[key] = append(t.pending[key], t.last)
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
	number := uint64(0)
	if waiting := t.pending[key]; len(waiting) > 0 {
		number = waiting[0]
		if len(waiting) == 1 {
			delete(t.pending, key)
		} else {
			t.pending[key] = waiting[1:]
		}
	}
	t.mu.Unlock()
	if number == 0 {
		return // sent by another process
	}
	e := t.event(m)
	e.Kind, e.Lane, e.Peer, e.Message, e.Call, e.Data = trace.Delivered, t.lane(m.To), t.lane(m.From), number, number, nil
	t.rec.Add(e)
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
