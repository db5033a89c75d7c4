package labtest

import (
	"bytes"
	"strings"

	"raftlab/labgob"
	"raftlab/labrpc"
)

// A Kind is what a message is about.
type Kind uint8

const (
	Other    Kind = iota // of an implementation's own
	Vote                 // RequestVote
	PreVote              // RequestVote with a field PreVote that is true
	Append               // AppendEntries, heartbeats too
	Snapshot             // InstallSnapshot
)

// A Message is a request or a reply between two servers.
type Message struct {
	From, To int // of this message: a reply is from the server that was asked
	Kind     Kind
	Reply    bool
	// Term is the message's field Term; -1 if it has none that is a number.
	Term int
	// Call is the same for a request and its reply, and for no other message.
	Call Call
	data []byte
}

// A Call identifies an RPC in its cluster.
type Call struct{ link, number int }

// Carries says whether a command, given to Start as a string, is in the message.
func (m Message) Carries(command string) bool { return bytes.Contains(m.data, []byte(command)) }

// Between says whether the message is between two servers, either way.
func (m Message) Between(a, b int) bool {
	return m.From == a && m.To == b || m.From == b && m.To == a
}

// Involves says whether the server sends or receives the message.
func (m Message) Involves(id int) bool { return m.From == id || m.To == id }

// Asks says whether the message is a request for a vote or pre-vote.
func (m Message) Asks() bool { return !m.Reply && (m.Kind == Vote || m.Kind == PreVote) }

// Success returns the field Success of a reply; false if it has none.
func (m Message) Success() bool {
	var reply struct{ Success bool }
	return labgob.NewDecoder(bytes.NewReader(m.data)).Decode(&reply) == nil && reply.Success
}

// Direct makes rule decide over every message that could arrive, until it is
// replaced; nil leaves them to the network. It is called by one goroutine at a
// time, and must not block. What the test's goroutine shares with it is
// guarded by [Cluster.Scripted].
func (c *Cluster) Direct(rule func(Message) labrpc.Decision) {
	if rule == nil {
		c.Net.SetScheduler(nil)
		return
	}
	c.Net.SetScheduler(func(raw labrpc.Message) labrpc.Decision {
		m := message(raw)
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

func message(raw labrpc.Message) Message {
	end := raw.End.(endName)
	m := Message{From: end.From, To: end.To, Reply: raw.Reply, Term: -1, Call: Call{raw.Link, raw.Number}, data: raw.Bytes()}
	if raw.Reply {
		m.From, m.To = m.To, m.From
	}
	m.Kind = kindOf(raw)
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

// kindOf returns the kind by the method alone: Vote for pre-votes, too.
func kindOf(raw labrpc.Message) Kind {
	_, method, _ := strings.Cut(raw.Method, ".")
	switch method {
	case "RequestVote":
		return Vote
	case "AppendEntries":
		return Append
	case "InstallSnapshot":
		return Snapshot
	}
	return Other
}
