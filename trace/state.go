package trace

// A serverRole is the role of a server, as far as others can tell.
type serverRole uint8

const (
	roleUnknown serverRole = iota
	roleDown
	roleFollower
	roleCandidate
	roleLeader
)

// unknown is the value of a number that nothing has shown.
const unknown = -1

// A state is what the messages and answers of a server have shown so far.
type state struct {
	role    serverRole
	term    int
	vote    int // the lane of the candidate with the vote in term
	last    int // index of the last entry
	lastTrm int
	commit  int
	applied int
	snap    int // the last index of the snapshot
}

// A server is the model of one server.
type server struct {
	state
	log   map[int]Entry // entries that the server is known to hold, by index
	acked int           // the last index that the server has acknowledged to a leader or applied, or that was there at a restart
	voted ballot        // the last known vote, also of an older term
}

// A ballot is a vote in a term.
type ballot struct{ candidate, term int }

// votes notes a vote in the server's term.
func (s *server) votes(candidate int) {
	s.vote, s.voted = candidate, ballot{candidate, s.term}
}

// A tracker replays a recording. After each event the servers hold what the black box has
// shown until then.
type tracker struct {
	run     *Recording
	servers []*server
	// request is the event of each call's request, and answered holds the requests that were delivered.
	request map[uint64]int
	event   int

	// changed is called when the entry of a server at an index is replaced or removed.
	changed func(lane, index int, before Entry)
}

func newTracker(run *Recording) *tracker {
	t := &tracker{run: run, request: make(map[uint64]int), servers: make([]*server, len(run.Lanes))}
	for i := range t.servers {
		t.servers[i] = &server{state: state{term: unknown, vote: unknown, last: unknown, lastTrm: unknown, commit: unknown, applied: unknown, snap: unknown}, log: make(map[int]Entry)}
		if run.Omitted == 0 { // a server begins with nothing
			s := t.servers[i]
			s.term, s.last, s.lastTrm, s.commit, s.applied = 0, 0, 0, 0, 0
		}
	}
	return t
}

// next replays event i.
func (t *tracker) next(i int) {
	e := &t.run.Events[i]
	t.event = i
	if e.Kind == Sent && !e.Reply {
		if _, known := t.request[e.Call]; !known {
			t.request[e.Call] = i
		}
	}
	if e.Lane == NoLane || t.run.Lanes[e.Lane].Kind != Server {
		return
	}
	s := t.servers[e.Lane]
	switch e.Kind {
	case Crashed:
		// A leader may have lost entries of its own that it had not saved. Later messages show it.
		s.role, s.commit, s.applied = roleDown, unknown, unknown
	case Restarted:
		s.role = roleFollower
	case Role:
		t.sees(s, e.Term)
		if e.Leads {
			s.role = roleLeader
		} else if s.role == roleLeader || s.role == roleUnknown {
			s.role = roleFollower
		}
	case Proposed:
		t.sees(s, e.Term)
		s.role = roleLeader
		t.put(e.Lane, e.Index, Entry{e.Term, e.Text})
	case Applied:
		s.applied = e.Index
		s.commit = max(s.commit, e.Index)
		if _, known := s.log[e.Index]; known {
			s.acked = max(s.acked, e.Index) // applied entries are saved
		}
	case Snapshot:
		s.snap = max(s.snap, e.Index)
		s.applied = max(s.applied, e.Index)
		s.commit = max(s.commit, e.Index)
		s.last = max(s.last, e.Index)
	case Sent:
		t.sent(e, s)
	}
}

// sees follows a server into a term.
func (t *tracker) sees(s *server, term int) {
	if term > s.term {
		s.term, s.vote, s.role = term, unknown, roleFollower
	}
}

// sent learns from a message of a server.
func (t *tracker) sent(e *Event, s *server) {
	term, ok := e.field(FieldTerm)
	if !ok {
		return
	}
	if e.Reply {
		t.replied(e, s, term)
		return
	}
	if term < s.term {
		return // the request was delayed inside of the server
	}
	if last, ok := e.field(FieldLastLogIndex); ok && !e.is(FieldPreVote) {
		t.sees(s, term)
		if s.role != roleLeader {
			s.role = roleCandidate
		}
		s.votes(e.Lane)
		lastTerm, _ := e.field(FieldLastLogTerm)
		t.logEnds(e.Lane, last, lastTerm)
		return
	}
	if prev, ok := e.field(FieldPrevLogIndex); ok {
		t.sees(s, term)
		s.role = roleLeader
		for k, entry := range e.Entries {
			t.put(e.Lane, prev+1+k, entry)
		}
		if commit, ok := e.field(FieldLeaderCommit); ok {
			s.commit = max(s.commit, commit)
		}
	}
}

// logEnds notes the end of a log as its server claims.
func (t *tracker) logEnds(lane, last, term int) {
	s := t.servers[lane]
	if last < s.last {
		t.truncate(lane, last)
	}
	s.last, s.lastTrm = last, term
	s.acked = max(s.acked, last)
}

// replied learns from a server's reply.
func (t *tracker) replied(e *Event, s *server, term int) {
	at, ok := t.request[e.Call]
	if !ok {
		return
	}
	request := &t.run.Events[at]
	t.sees(s, term)
	asked, _ := request.field(FieldTerm)
	switch {
	case e.is(FieldVoteGranted) && !request.is(FieldPreVote):
		if asked >= s.term {
			s.votes(request.Lane)
		}
	case e.is(FieldSuccess):
		t.accepted(e.Lane, request)
	}
	if snap, ok := request.field(FieldLastIndex); ok && asked >= term {
		snapTerm, _ := request.field(FieldLastTerm)
		t.servers[e.Lane].snap = max(s.snap, snap)
		if snap > s.last {
			s.last, s.lastTrm = snap, snapTerm
		}
		s.acked = max(s.acked, snap)
	}
}

// accepted notes the entries of an accepted AppendEntries.
func (t *tracker) accepted(lane int, request *Event) {
	s := t.servers[lane]
	prev, ok := request.field(FieldPrevLogIndex)
	if !ok {
		return
	}
	if s.role != roleLeader {
		s.role = roleFollower
	}
	n, _ := request.field(FieldEntries)
	prevTerm, _ := request.field(FieldPrevLogTerm)
	if prev > s.last {
		s.last, s.lastTrm = prev, prevTerm
	}
	for k, entry := range request.Entries {
		t.put(lane, prev+1+k, entry)
	}
	if end := prev + n; end > s.last {
		s.last, s.lastTrm = end, unknown
	}
	s.acked = max(s.acked, min(s.last, prev+n))
	if commit, ok := request.field(FieldLeaderCommit); ok {
		s.commit = max(s.commit, min(commit, prev+n))
	}
}

// put stores an entry. A different entry there removes the rest of the log first (5.3).
func (t *tracker) put(lane, index int, entry Entry) {
	s := t.servers[lane]
	have, known := s.log[index]
	if known && have.Term != entry.Term && index <= s.last {
		t.truncate(lane, index-1)
	}
	s.log[index] = entry
	if index > s.last {
		s.last, s.lastTrm = index, entry.Term
	}
}

// truncate removes the entries after last.
func (t *tracker) truncate(lane, last int) {
	s := t.servers[lane]
	for i := last + 1; i <= s.last; i++ {
		if before, known := s.log[i]; known {
			delete(s.log, i)
			if t.changed != nil {
				t.changed(lane, i, before)
			}
		}
	}
	s.last = last
	s.lastTrm = s.log[last].Term
	s.acked = min(s.acked, last)
}
