package labtest

import (
	"bytes"
	"fmt"
	"regexp"
	"sync"

	"raftlab/labgob"
	"raftlab/labrpc"
)

// A wire listens to what servers send, and checks what holds for every message
// of a correct implementation, whatever else happens:
//
//   - At most one server sends AppendEntries or InstallSnapshot in a term, and it
//     has asked for votes in that term (sections 5.1, 5.2).
//   - A server has at most one vote in a term; a candidate's own is among them.
//
// It judges by the fields Term, VoteGranted and PreVote, and says nothing where
// they do not exist. A vote counts when it has arrived: what a server said in
// the moment of its crash is not known to its next incarnation, nor to anybody.
type wire struct {
	mu     sync.Mutex
	leader map[int]int    // by term
	asked  map[vote]bool  // who asked for votes in which term
	votes  map[vote]int   // for whom
	polls  map[Call]int   // the terms of requests for a vote under way
	last   map[int][]byte // by link: heartbeats repeat themselves
}

// A vote is what a server has one of in each term.
type vote struct{ term, of int }

func newWire() *wire {
	return &wire{
		leader: make(map[int]int),
		asked:  make(map[vote]bool),
		votes:  make(map[vote]int),
		polls:  make(map[Call]int),
		last:   make(map[int][]byte),
	}
}

// listen takes in one event; it says what a correct implementation never sends.
func (w *wire) listen(e labrpc.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch kind := kindOf(e.Message); {
	case e.Kind == labrpc.Sent && (kind == Append || kind == Snapshot) && !e.Message.Reply:
		if bytes.Equal(w.last[e.Message.Link], e.Message.Bytes()) {
			return nil
		}
		w.last[e.Message.Link] = e.Message.Bytes()
		return w.leads(message(e.Message))
	case kind == Vote && e.Message.Reply && e.Kind == labrpc.Delivered:
		return w.granted(message(e.Message))
	case kind == Vote && !e.Message.Reply:
		return w.asks(message(e.Message), e.Kind == labrpc.Delivered)
	}
	return nil
}

// leads judges what only a leader sends.
func (w *wire) leads(m Message) error {
	if m.Term < 0 {
		return nil
	}
	leader, known := w.leader[m.Term]
	if !known {
		leader, w.leader[m.Term] = m.From, m.From
	}
	switch {
	case leader != m.From:
		return fmt.Errorf("servers %d and %d both sent AppendEntries or InstallSnapshot of term %d", leader, m.From, m.Term)
	case len(w.asked) > 0 && !w.asked[vote{m.Term, m.From}]:
		return fmt.Errorf("server %d sent AppendEntries or InstallSnapshot of term %d, in which it has not asked for votes", m.From, m.Term)
	}
	return nil
}

// asks notes that a server stands for election.
func (w *wire) asks(m Message, arrived bool) error {
	if m.Term < 0 {
		return nil
	}
	w.asked[vote{m.Term, m.From}] = true
	if m.Kind != Vote || !figure2(m.data) {
		return nil
	}
	w.polls[m.Call] = m.Term
	if !arrived {
		return nil
	}
	return w.voted(vote{m.Term, m.From}, m.From)
}

// granted judges a reply that arrived.
func (w *wire) granted(m Message) error {
	term, known := w.polls[m.Call]
	delete(w.polls, m.Call)
	var reply struct{ VoteGranted bool }
	if !known || labgob.Decode(m.data, &reply) != nil || !reply.VoteGranted {
		return nil
	}
	return w.voted(vote{term, m.From}, m.To)
}

func (w *wire) voted(v vote, candidate int) error {
	before, known := w.votes[v]
	if known && before != candidate {
		return fmt.Errorf("server %d voted for servers %d and %d in term %d", v.of, before, candidate, v.term)
	}
	w.votes[v] = candidate
	return nil
}

// field finds the fields in gob's description of a struct type: the length of
// the name, the name, and a number below 64 for a basic type, which the name of
// the struct itself does not have.
var field = regexp.MustCompile(`\x01[\x02-\x20]([A-Z][A-Za-z0-9_]*)\x01[\x00-\x7f]\x00`)

// figure2 says whether a request for a vote has Figure 2's four fields, and at
// most PreVote beside them. Any other may make of it something that is not a
// vote.
func figure2(data []byte) bool {
	fields := field.FindAllSubmatch(data, -1)
	for _, f := range fields {
		if string(f[1]) == "PreVote" {
			return len(fields) == 5
		}
	}
	return len(fields) == 4
}
