package labtest

import (
	"bytes"

	"raftlab/labrpc"
)

// A Kind is the kind of RPC a message belongs to.
type Kind uint8

const (
	Other    Kind = iota // an RPC outside of the paper
	Vote                 // RequestVote
	PreVote              // RequestVote with a true field PreVote
	Append               // AppendEntries, including heartbeats
	Snapshot             // InstallSnapshot
)

// A Message is a request or a reply between two servers.
type Message struct {
	From, To int // sender and receiver; the called server sends the reply
	Kind     Kind
	Reply    bool
	// Term is the message's field Term, or -1 if the message has no such number.
	Term int
	// Call is shared by a request and its reply, and by no other message.
	Call  Call
	data  []byte
	kinds *kinds
}

// A Call identifies an RPC in its cluster.
type Call struct{ link, number int }

// Carries reports whether the message carries a command. The command was given to
// Start as a string.
func (m Message) Carries(command string) bool { return bytes.Contains(m.data, []byte(command)) }

// Between reports whether the message goes from a to b or from b to a.
func (m Message) Between(a, b int) bool {
	return m.From == a && m.To == b || m.From == b && m.To == a
}

// Involves reports whether the server sends or receives the message.
func (m Message) Involves(id int) bool { return m.From == id || m.To == id }

// Asks reports whether the message is a request for a vote or pre-vote.
func (m Message) Asks() bool { return !m.Reply && (m.Kind == Vote || m.Kind == PreVote) }

// Success returns the field Success of a reply, or the field that has its meaning. Without
// such a field Success returns false.
func (m Message) Success() bool { return m.kinds.accepted(m.data) }

// Direct makes rule decide the fate of every deliverable message. The rule holds
// until the next call of Direct. A nil rule leaves the decisions to the network.
// One goroutine at a time calls rule, and rule must not block.
// [Cluster.Scripted] guards data shared by the rule and the test's goroutine.
func (c *Cluster) Direct(rule func(Message) labrpc.Decision) {
	if rule == nil {
		c.Net.SetScheduler(nil)
		return
	}
	c.Net.SetScheduler(func(raw labrpc.Message) labrpc.Decision {
		m := message(raw, c.kinds.of(raw))
		m.kinds = c.kinds
		c.script.Lock()
		defer c.script.Unlock()
		return rule(m)
	})
}

// Scripted runs f while no rule runs.
func (c *Cluster) Scripted(f func()) {
	c.script.Lock()
	defer c.script.Unlock()
	f()
}

// message makes a Message of a kind. With a true field PreVote a Vote is a PreVote.
func message(raw labrpc.Message, kind Kind) Message {
	end := raw.End.(endName)
	m := Message{From: end.From, To: end.To, Reply: raw.Reply, Term: -1, Call: Call{raw.Link, raw.Number}, data: raw.Bytes()}
	if raw.Reply {
		m.From, m.To = m.To, m.From
	}
	m.Kind = kind
	var signed struct {
		Term    int
		PreVote bool
	}
	var unsigned struct {
		Term    uint64
		PreVote bool
	}
	if raw.Decode(&signed) == nil {
		m.Term = signed.Term
	} else if raw.Decode(&unsigned) == nil {
		m.Term, signed.PreVote = int(unsigned.Term), unsigned.PreVote
	}
	if m.Kind == Vote && signed.PreVote {
		m.Kind = PreVote
	}
	return m
}
