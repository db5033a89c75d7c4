package labtest

import (
	"bytes"
	"regexp"
	"sync"

	"raftlab/labrpc"
	"raftlab/trace"
)

// A wire observes the messages of the servers. Every correct implementation passes
// the wire's checks, with any faults of servers and network.
//
//   - At most one server sends AppendEntries or InstallSnapshot in a term, and the
//     server has asked for votes in that term (sections 5.1, 5.2).
//   - A server has at most one vote in a term. A candidate votes for itself.
//
// The wire reads the fields Term, VoteGranted and PreVote, and skips messages
// without the fields. Methods and the field of a granted vote may have other names
// ([kinds]). A vote counts on delivery. A server may send a vote at the
// moment of its crash, and if the message is lost, neither the server's next
// incarnation nor any other server knows of the vote.
type wire struct {
	kinds *kinds

	mu     sync.Mutex
	leader map[int]int    // by term
	asked  map[vote]bool  // candidates by term
	votes  map[vote]int   // the chosen candidate
	polls  map[Call]int   // terms of the open requests for a vote
	last   map[int][]byte // last request of each link, to skip repeated heartbeats
}

// A vote identifies the single vote of a server in a term.
type vote struct{ term, of int }

func newWire(k *kinds) *wire {
	return &wire{
		kinds:  k,
		leader: make(map[int]int),
		asked:  make(map[vote]bool),
		votes:  make(map[vote]int),
		polls:  make(map[Call]int),
		last:   make(map[int][]byte),
	}
}

// listen observes one event. The error reports a message that no correct
// implementation sends.
func (w *wire) listen(e labrpc.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch kind := w.kinds.of(e.Message); {
	case e.Kind == labrpc.Sent && (kind == Append || kind == Snapshot) && !e.Message.Reply:
		if bytes.Equal(w.last[e.Message.Link], e.Message.Bytes()) {
			return nil
		}
		w.last[e.Message.Link] = e.Message.Bytes()
		return w.leads(message(e.Message, kind))
	case kind == Vote && e.Message.Reply && e.Kind == labrpc.Delivered:
		return w.granted(message(e.Message, kind))
	case kind == Vote && !e.Message.Reply:
		return w.asks(message(e.Message, kind), e.Kind == labrpc.Delivered)
	}
	return nil
}

// leads checks a message reserved to leaders.
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
		return violated(trace.Breach{Rule: trace.ElectionSafety, Lanes: []int{leader, m.From}, Term: m.Term}, "servers %d and %d both sent AppendEntries or InstallSnapshot of term %d", leader, m.From, m.Term)
	case len(w.asked) > 0 && !w.asked[vote{m.Term, m.From}]:
		return violated(trace.Breach{Rule: trace.AskFirst, Lanes: []int{m.From}, Term: m.Term}, "server %d sent AppendEntries or InstallSnapshot of term %d, but has not asked for votes in that term", m.From, m.Term)
	}
	return nil
}

// asks records that a server asks for votes in a term. If the request has arrived,
// asks also records the candidate's vote for itself.
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

// granted checks a delivered reply to a request for a vote.
func (w *wire) granted(m Message) error {
	term, known := w.polls[m.Call]
	delete(w.polls, m.Call)
	if !known || !w.kinds.granted(m.data) {
		return nil
	}
	return w.voted(vote{term, m.From}, m.To)
}

func (w *wire) voted(v vote, candidate int) error {
	before, known := w.votes[v]
	if known && before != candidate {
		return violated(trace.Breach{Rule: trace.OneVote, Lanes: []int{v.of, before, candidate}, Term: v.term}, "server %d voted for servers %d and %d in term %d", v.of, before, candidate, v.term)
	}
	w.votes[v] = candidate
	return nil
}

// field finds the fields in gob's description of a struct type. A field consists of
// the length of the name, the name, and a number below 64 for a basic type. No such
// number follows the name of the struct.
var field = regexp.MustCompile(`\x01[\x02-\x20]([A-Z][A-Za-z0-9_]*)\x01[\x00-\x7f]\x00`)

// figure2 reports whether a request for a vote has the four fields of Figure 2 and
// at most the field PreVote besides. With any other field the request may mean
// something other than a vote.
func figure2(data []byte) bool {
	fields := field.FindAllSubmatch(data, -1)
	for _, f := range fields {
		if string(f[1]) == "PreVote" {
			return len(fields) == 5
		}
	}
	return len(fields) == 4
}
