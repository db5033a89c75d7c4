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
	// answered is the highest index of a command that the server has answered since its start.
	// Recordings of services have no applied commands. A server applies a command before the answer.
	answered int
	snap     int // the last index of the snapshot
}

// A server is the model of one server.
type server struct {
	state
	log   map[int]Entry // entries that the server is known to hold, by index
	acked int           // the last index that the server has acknowledged to a leader, applied or told of since its last start
	voted ballot        // the last known vote, also of an older term

	// A crash removes unsaved entries. From the start until the server shows the end of its
	// log, doubt is set and last is unknown. The log then ends between acked and most. The
	// server had acknowledged or applied the entries up to promised.
	doubt    bool
	most     int
	promised int
	offered  int // the last index of an AppendEntries without an answer yet
}

// holds returns the entry at an index, unless the server may have lost the entry in a crash.
func (s *server) holds(index int) (Entry, bool) {
	e, known := s.log[index]
	return e, known && !(s.doubt && index > s.acked)
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
	index   map[uint64]int // the entry of a client's call
	event   int

	// changed is called when the entry of a server at an index is replaced or removed.
	changed func(lane, index int, before Entry)
	// forgot is called when a message shows the loss of an entry in a crash.
	forgot func(lane, index int, before Entry)
}

func newTracker(run *Recording) *tracker {
	t := &tracker{run: run, request: make(map[uint64]int), index: make(map[uint64]int), servers: make([]*server, len(run.Lanes))}
	for i := range t.servers {
		t.servers[i] = &server{state: state{term: unknown, vote: unknown, last: unknown, lastTrm: unknown, commit: unknown, applied: unknown, answered: unknown, snap: unknown}, log: make(map[int]Entry)}
		if run.Omitted == 0 && !run.Lanes[i].Running { // a server begins with nothing
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
		s.role, s.commit, s.applied, s.answered = roleDown, unknown, unknown, unknown
	case Restarted:
		s.role = roleFollower
		s.snap = max(s.snap, e.Index)
		s.starts()
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
		s.doubt = false
		t.put(e.Lane, e.Index, Entry{Term: e.Term, Command: e.Text})
	case Applied:
		s.applied = e.Index
		s.commit = max(s.commit, e.Index)
		if _, known := s.log[e.Index]; known {
			s.confirms(e.Index) // applied entries are saved
		}
	case Snapshot:
		s.snap = max(s.snap, e.Index)
		s.applied = max(s.applied, e.Index)
		s.commit = max(s.commit, e.Index)
		if s.doubt {
			s.confirms(e.Index)
		} else {
			s.last = max(s.last, e.Index)
		}
	case Delivered:
		if prev, ok := e.field(FieldPrevLogIndex); ok && !e.Reply {
			s.offered = max(s.offered, prev+e.Fields[FieldEntries])
		}
	case Sent:
		t.sent(e, s)
	}
}

// starts begins the doubt about the entries left after a crash.
func (s *server) starts() {
	promised := s.acked
	if s.doubt {
		promised = max(promised, s.promised)
	} else {
		s.most = max(s.last, s.offered)
	}
	if s.most > s.snap && s.most > 0 {
		s.doubt, s.promised, s.acked = true, promised, max(s.snap, 0)
		s.last, s.lastTrm = unknown, unknown
	}
}

// confirms notes entries up to an index as held.
func (s *server) confirms(index int) {
	s.acked = max(s.acked, index)
	if s.doubt && s.acked >= s.most {
		s.doubt, s.last, s.lastTrm = false, s.acked, s.log[s.acked].Term
	}
}

// lacks notes the entries from an index on as lost in a crash.
func (t *tracker) lacks(lane, index int) {
	s := t.servers[lane]
	for i := index; i <= s.most; i++ {
		if before, known := s.log[i]; known {
			delete(s.log, i)
			if t.forgot != nil {
				t.forgot(lane, i, before)
			}
		}
	}
	s.most, s.promised = index-1, min(s.promised, index-1)
	s.confirms(s.acked)
}

// sees follows a server into a term.
func (t *tracker) sees(s *server, term int) {
	if term > s.term {
		s.term, s.vote, s.role = term, unknown, roleFollower
	}
}

// sent learns from a message of a server.
func (t *tracker) sent(e *Event, s *server) {
	if at, logged := t.index[e.Call]; logged && e.Reply {
		s.answered = max(s.answered, at)
	}
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
	if s.doubt {
		t.lacks(lane, last+1)
		s.doubt = false
	} else if last < s.last {
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
	if prev, ok := request.field(FieldPrevLogIndex); ok && s.offered == prev+request.Fields[FieldEntries] {
		s.offered = 0 // the answer tells more
	}
	switch {
	case e.is(FieldVoteGranted) && !request.is(FieldPreVote):
		if asked >= s.term {
			s.votes(request.Lane)
		}
	case e.is(FieldSuccess):
		t.accepted(e.Lane, request)
	case s.doubt && asked == term:
		t.refused(e.Lane, request)
	}
	if snap, ok := request.field(FieldLastIndex); ok && asked >= term {
		snapTerm, _ := request.field(FieldLastTerm)
		t.servers[e.Lane].snap = max(s.snap, snap)
		if !s.doubt && snap > s.last {
			s.last, s.lastTrm = snap, snapTerm
		}
		s.confirms(snap)
	}
}

// refused learns from a refused AppendEntries after a start. If the server held the entry at
// prevLogIndex before the crash, the entry is lost.
func (t *tracker) refused(lane int, request *Event) {
	s := t.servers[lane]
	prev, ok := request.field(FieldPrevLogIndex)
	if !ok || prev <= s.acked || prev > s.most {
		return
	}
	if have, known := s.log[prev]; known && have.Term == request.Fields[FieldPrevLogTerm] {
		t.lacks(lane, prev)
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
	if !s.doubt && prev > s.last {
		s.last, s.lastTrm = prev, prevTerm
	}
	for k, entry := range request.Entries {
		t.put(lane, prev+1+k, entry)
	}
	if end := prev + n; !s.doubt && end > s.last {
		s.last, s.lastTrm = end, unknown
	}
	s.confirms(prev + n)
	if commit, ok := request.field(FieldLeaderCommit); ok {
		s.commit = max(s.commit, min(commit, prev+n))
	}
}

// put stores an entry. A different entry there removes the rest of the log first (5.3).
func (t *tracker) put(lane, index int, entry Entry) {
	s := t.servers[lane]
	have, known := s.log[index]
	if known && have.Term != entry.Term && (s.doubt || index <= s.last) {
		t.truncate(lane, index-1)
	}
	s.log[index] = entry
	if entry.Call != 0 {
		t.index[entry.Call] = index
	}
	if s.doubt {
		s.most = max(s.most, index)
	} else if index > s.last {
		s.last, s.lastTrm = index, entry.Term
	}
}

// truncate removes the entries after last.
func (t *tracker) truncate(lane, last int) {
	s := t.servers[lane]
	end := s.last
	if s.doubt {
		s.doubt, end = false, s.most
	}
	for i := last + 1; i <= end; i++ {
		if before, known := s.log[i]; known {
			delete(s.log, i)
			if t.changed != nil {
				t.changed(lane, i, before)
			}
		}
	}
	s.last = last
	s.lastTrm = s.log[last].Term
	s.acked, s.promised, s.offered = min(s.acked, last), min(s.promised, last), min(s.offered, last)
}
