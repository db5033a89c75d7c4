package trace

import (
	"fmt"
	"slices"
	"time"
)

// suspicions returns rules that messages broke, as far as the messages show the state of
// servers. A run without its beginning, or without the content of messages, shows too little.
func suspicions(run *Recording) []Finding {
	if !run.understood() || slices.ContainsFunc(run.Events, run.withoutContent) {
		return nil
	}
	s := &suspect{run: run, t: newTracker(run), found: map[string]bool{}, votes: map[[2]int]vote{}, committed: map[int]int{}, applied: map[int]int{}, doubtful: map[int]doubtfulVote{}, newest: map[int]sighting{}}
	s.t.forgot = s.forgot
	for i := range run.Events {
		e := &run.Events[i]
		if e.Lane != NoLane && run.Lanes[e.Lane].Kind == Server {
			s.before(i, e)
		}
		s.t.next(i)
		if commit, ok := e.field(FieldLeaderCommit); ok && e.Kind == Sent && e.Lane != NoLane {
			first := run.group(e.Lane)[0]
			s.committed[first] = max(s.committed[first], commit)
		}
		if e.Kind == Applied && e.Lane != NoLane {
			s.applies(e)
		}
	}
	for _, lane := range sortedLanes(s.doubtful) {
		s.againstOwnLog(s.doubtful[lane])
	}
	s.alone()
	slices.SortStableFunc(s.all, func(a, b Finding) int { return lastEvent(a) - lastEvent(b) })
	return s.all
}

// withoutContent reports whether a message of Raft is too long for the recording.
func (r *Recording) withoutContent(e Event) bool {
	return e.Kind == Sent && !e.Reply && e.Fields == nil && r.RPC(e.Name) != ""
}

func lastEvent(f Finding) int {
	if len(f.Steps) == 0 {
		return 0
	}
	return f.Steps[len(f.Steps)-1].Event
}

type vote struct{ candidate, event int }

// A suspect looks for broken rules while a tracker replays a run.
type suspect struct {
	run       *Recording
	t         *tracker
	all       []Finding
	found     map[string]bool
	votes     map[[2]int]vote // the vote of a server in a term that somebody else knows of
	committed map[int]int     // the highest commitIndex that a leader has told, by the first server of its group
	applied   map[int]int     // the highest index applied without a breach of section 5.4.2
	doubtful  map[int]doubtfulVote
	newest    map[int]sighting // the newest term that has reached a server since its last start
	answers   bool             // a reply to AppendEntries has the field Success
}

// proven holds the kinds of findings with a proof in the messages. Other kinds rest on
// answers, and a late answer can refute the finding.
var proven = map[string]bool{"own vote": true, "behind": true, "forgot": true, "mismatch": true, "old term": true}

// accuse adds the first finding of a kind.
func (s *suspect) accuse(kind, title, words, place, text string, steps ...Step) {
	if s.found[kind] || kind != "two votes" && slices.ContainsFunc(s.run.Lanes, func(l Lane) bool { return l.Running }) {
		return // votes alone need no knowledge of what was before
	}
	s.found[kind] = true
	s.all = append(s.all, Finding{Rule: Other, Title: title, Words: words, Place: place, Text: text, Steps: inOrder(steps), Seen: true, Proven: proven[kind]})
}

func (s *suspect) name(lane int) string { return s.run.lane(lane) }

// before looks at an event before the tracker does.
func (s *suspect) before(i int, e *Event) {
	if e.Kind == Crashed {
		delete(s.newest, e.Lane) // a term that was not saved is another breach
	}
	term, ok := e.field(FieldTerm)
	if !ok {
		return
	}
	s.terms(i, e, term)
	switch {
	case e.Kind == Delivered && asksForVote(e, term):
		s.voted(i, e.Peer, e.Peer, term) // a candidate votes for itself
	case e.Reply && e.is(FieldVoteGranted):
		s.granted(i, e)
	case e.Kind == Sent && e.Reply && e.is(FieldSuccess):
		s.accepted(i, e)
	case leadsBy(e, term):
		s.commits(i, e, term)
	}
}

// alone accuses a server that leads after refusals, with its own vote alone. No set of two or more
// voters has such a majority.
func (s *suspect) alone() {
	for _, c := range campaigns(s.run) {
		refused := make(map[int]int)
		got := 0
		for lane, i := range c.refused {
			if i < c.leads {
				refused[lane] = i
			}
		}
		for _, i := range c.got {
			if i < c.leads {
				got++
			}
		}
		if c.leads < 0 || got > 0 || len(refused) == 0 {
			continue
		}
		steps := []Step{{c.asked, fmt.Sprintf("%s asks for votes in term %d.", s.name(c.candidate), c.term)}}
		for _, lane := range sortedLanes(refused) {
			steps = append(steps, Step{refused[lane], fmt.Sprintf("The refusal of %s reaches %s (%s).", s.name(lane), s.name(c.candidate), c.why[lane])})
		}
		s.accuse("own vote", QuorumToLead.Title(), AskFirst.Words(), QuorumToLead.Place(),
			fmt.Sprintf("%s leads term %d with its own vote alone. A refusal is no vote", s.name(c.candidate), c.term),
			append(steps, Step{c.leads, fmt.Sprintf("%s acts as leader of term %d. No vote of another server has reached it.", s.name(c.candidate), c.term)})...)
	}
}

// A sighting is the arrival of a term at a server.
type sighting struct{ term, event int }

// inFlight bounds the time in which a server may still send what it had prepared before a
// newer term arrived.
const inFlight = 10 * time.Millisecond

// terms looks for a server that goes on in its term after a newer one has reached it. A vote
// may be refused without a look at its term, because the voter hears from a leader. A pre-vote asks for a term that nobody has.
func (s *suspect) terms(i int, e *Event, term int) {
	_, asks := e.field(FieldLastLogIndex)
	switch {
	case e.Kind == Delivered && !asks:
		if at, ok := s.t.request[e.Call]; ok && e.Reply && s.run.Events[at].is(FieldPreVote) && e.is(FieldVoteGranted) {
			return
		}
		if term > s.newest[e.Lane].term {
			s.newest[e.Lane] = sighting{term, i}
		}
	case e.Kind == Sent && !e.Reply:
		if e.is(FieldPreVote) {
			term--
		}
		seen := s.newest[e.Lane]
		if term >= seen.term || e.Time < s.run.Events[seen.event].Time+inFlight {
			return
		}
		s.accuse("stays", "A server went on in an older term",
			"A server that receives a request or a response with a newer term adopts the term, and becomes a follower.", "Section 5.1; Rules for Servers, Figure 2",
			fmt.Sprintf("%s has got a message with term %d, and still acts in term %d", s.name(e.Lane), seen.term, term),
			Step{seen.event, s.run.Words(seen.event) + "."}, Step{i, s.run.Words(i) + "."})
	}
}

// granted looks at a granted vote.
func (s *suspect) granted(i int, e *Event) {
	at, ok := s.t.request[e.Call]
	if !ok {
		return
	}
	request := &s.run.Events[at]
	asked, hasTerm := request.field(FieldTerm)
	if !hasTerm || request.is(FieldPreVote) {
		return
	}
	if e.Kind == Delivered {
		s.voted(i, e.Peer, request.Lane, asked)
		return
	}
	if e.Kind != Sent {
		return
	}
	voter := s.t.servers[e.Lane]
	last, lastTerm := request.Fields[FieldLastLogIndex], request.Fields[FieldLastLogTerm]
	newer := func(index int) bool {
		own, known := voter.log[index]
		return known && (own.Term > lastTerm || own.Term == lastTerm && index > last)
	}
	switch {
	case newer(voter.acked) && s.found["behind"]:
	case newer(voter.acked):
		own := voter.log[voter.acked]
		stored := s.stored(e.Lane, voter.acked, i)
		before := append(s.restarts(e.Lane, stored.Event, i), stored)
		if voter.snap == voter.acked {
			before = append(before, s.snapshots(e.Lane, voter.acked, own.Term, i)...)
		}
		text := fmt.Sprintf("%s votes for %s, whose log ends at index %d of term %d. The log of %s ends at index %d of term %d or later",
			s.name(e.Lane), s.name(request.Lane), last, lastTerm, s.name(e.Lane), voter.acked, own.Term)
		if cut := s.t.cuts(e.Lane, voter.acked, i); len(cut) > 0 {
			text += fmt.Sprintf(". Or %s has removed index %d, which it held, on an AppendEntries that ends before that index. Then the vote is right, and the removal is wrong (section 5.3)", s.name(e.Lane), voter.acked)
			before = append(before, cut...)
		}
		s.accuse("behind", olderLog, olderLogWords, olderLogPlace, text,
			append(before,
				Step{at, fmt.Sprintf("%s asks for votes: its log ends at index %d of term %d.", s.name(request.Lane), last, lastTerm)},
				Step{i, fmt.Sprintf("%s grants the vote, though it holds index %d of term %d.", s.name(e.Lane), voter.acked, own.Term)})...)
	case voter.doubt && newer(voter.promised):
		if _, known := s.doubtful[e.Lane]; !known {
			s.doubtful[e.Lane] = doubtfulVote{voter: e.Lane, request: at, granted: i, index: voter.promised, entry: voter.log[voter.promised]}
		}
	}
}

const (
	olderLog      = "A vote for a candidate with an older log"
	olderLogWords = "A voter denies its vote if its own log is more up to date: a later term of the last entry, or the same term and a longer log."
	olderLogPlace = "Section 5.4.1"
)

// A doubtfulVote went to a candidate with an older log than the voter's log before a crash.
// The vote is right if the crash has cost the voter the entry at index.
type doubtfulVote struct {
	voter, request, granted, index int
	entry                          Entry
}

// againstOwnLog accuses a voter without messages about the entries left after the crash.
func (s *suspect) againstOwnLog(v doubtfulVote) {
	stored := s.stored(v.voter, v.index, v.granted)
	request := &s.run.Events[v.request]
	s.accuse("forgot", "A vote against the log that the voter had before a crash",
		"A server saves entries before it acknowledges or applies them, and denies its vote to an older log.", "log[] is persistent state, Figure 2; section 5.4.1",
		fmt.Sprintf("%s had index %d of term %d, and votes after a crash for %s, whose log is older. Messages do not show which of two rules is broken: the crash has cost %s the entry, or the vote is wrong",
			s.name(v.voter), v.index, v.entry.Term, s.name(request.Lane), s.name(v.voter)),
		append(s.restarts(v.voter, stored.Event, v.granted), stored,
			Step{v.request, fmt.Sprintf("%s asks for votes: its log ends at index %d of term %d.", s.name(request.Lane), request.Fields[FieldLastLogIndex], request.Fields[FieldLastLogTerm])},
			Step{v.granted, fmt.Sprintf("%s grants the vote.", s.name(v.voter))})...)
}

// forgot accuses a server that has lost an acknowledged or applied entry in a crash.
func (s *suspect) forgot(lane, index int, before Entry) {
	server, now := s.t.servers[lane], s.t.event
	if index > server.promised {
		return
	}
	if s.found["forgot"] {
		delete(s.doubtful, lane)
		return
	}
	steps := s.run.loss(lane, index, before, now)
	stored := s.stored(lane, index, now)
	steps = append(append(steps, stored), s.restarts(lane, stored.Event, now)...)
	if v, voted := s.doubtful[lane]; voted {
		steps = append(steps, Step{v.granted, fmt.Sprintf("%s votes for %s. The vote fits the log that %s has left.", s.name(lane), s.name(s.run.Events[v.request].Lane), s.name(lane))})
		delete(s.doubtful, lane)
	}
	s.accuse("forgot", "A server lost an entry in a crash",
		"A server saves its log before it answers, and a leader saves a command before it counts itself among the holders.", "log[] is persistent state, Figure 2; section 5.3",
		fmt.Sprintf("%s had %s at index %d before its crash, and has no entry there after its start", s.name(lane), before.Command, index), steps...)
}

// snapshots returns the snapshot at the end of a server's log, and the start with nothing
// after the snapshot.
func (s *suspect) snapshots(lane, index, term, before int) (steps []Step) {
	started := false
	for i := before - 1; i >= 0; i-- {
		switch e := &s.run.Events[i]; {
		case e.Lane != lane:
		case e.Kind == Restarted && !started:
			started = true
			steps = append(steps, Step{i, fmt.Sprintf("%s has a snapshot up to index %d, and as far as messages show no entries after it. The term of the last entry, %d, must be saved with the snapshot.", s.name(lane), index, term)})
		case e.Kind == Snapshot && e.Index == index:
			return append(steps, Step{i, s.run.Words(i) + "."})
		}
	}
	return steps
}

// stored returns the step at which a server acknowledged an entry.
func (s *suspect) stored(lane, index, before int) Step {
	for i := before - 1; i >= 0; i-- {
		e := &s.run.Events[i]
		if e.Kind == Applied && e.Lane == lane && e.Index == index {
			return Step{i, fmt.Sprintf("%s applies index %d: %s.", s.name(lane), index, e.Text)}
		}
		if e.Kind != Sent || !e.Reply || e.Lane != lane || !e.is(FieldSuccess) {
			continue
		}
		at, ok := s.t.request[e.Call]
		if !ok {
			continue
		}
		r := &s.run.Events[at]
		if prev := r.Fields[FieldPrevLogIndex]; prev < index && prev+r.Fields[FieldEntries] >= index {
			return Step{i, fmt.Sprintf("%s has accepted index %d from %s.", s.name(lane), index, s.name(r.Lane))}
		}
	}
	return Step{before, fmt.Sprintf("%s told of index %d itself.", s.name(lane), index)}
}

// cuts returns the last AppendEntries that a server accepted after it got the entry at an index
// and before an event, and that ends before the index. A wrong follower removes what comes after.
func (t *tracker) cuts(lane, index, before int) []Step {
	for i := before - 1; i >= 0; i-- {
		e := &t.run.Events[i]
		if e.Lane == lane && (e.Kind == Proposed || e.Kind == Applied) && e.Index >= index {
			return nil // the server had the entry then
		}
		if prev, leads := e.field(FieldPrevLogIndex); leads && e.Lane == lane && e.Kind == Sent && prev+e.Fields[FieldEntries] >= index {
			return nil // as a leader it had the entry then
		}
		at, ok := t.request[e.Call]
		if !ok || e.Kind != Sent || !e.Reply || e.Lane != lane || !e.is(FieldSuccess) {
			continue
		}
		r := &t.run.Events[at]
		prev, appends := r.field(FieldPrevLogIndex)
		switch end := prev + r.Fields[FieldEntries]; {
		case !appends:
		case end >= index && prev < index:
			return nil // the entry came here
		case end < index:
			return []Step{{i, fmt.Sprintf("%s accepts %s of %s that ends at index %d, sent %v before. Entries after that index stay, because nothing conflicts with them.",
				t.run.lane(lane), sentAs(r), t.run.lane(r.Lane), end, (e.Time - r.Time).Round(100*time.Microsecond))}}
		}
	}
	return nil
}

// restarts returns the crashes and starts of a server between two events.
func (s *suspect) restarts(lane, from, to int) (steps []Step) {
	for i := from; i < to; i++ {
		if e := s.run.Events[i]; e.Lane == lane && (e.Kind == Crashed || e.Kind == Restarted) {
			steps = append(steps, Step{i, lossText(e.Kind, s.name(lane))})
		}
	}
	return steps
}

// loss returns the steps of an entry lost in a crash. A leader took the entry, and the
// message at event now shows the loss.
func (r *Recording) loss(lane, index int, before Entry, now int) (steps []Step) {
	name := r.lane(lane)
	e := &r.Events[now]
	if last, asks := e.field(FieldLastLogIndex); asks {
		steps = append(steps, Step{now, fmt.Sprintf("%s says that its log ends at index %d. A crash has cost it %s (of term %d) at index %d.", name, last, before.Command, before.Term, index)})
	} else {
		steps = append(steps, Step{now, fmt.Sprintf("%s refuses, so it has no entry at prevLogIndex. A crash has cost it %s (of term %d) at index %d.", name, before.Command, before.Term, index)})
	}
	crashed := false
	saves := slices.ContainsFunc(r.Events, func(e Event) bool { return e.Kind == Saved })
	for i := now - 1; i >= 0; i-- {
		e := &r.Events[i]
		switch {
		case e.Lane != lane:
		case e.Kind == Crashed:
			crashed = true
		case e.Kind == Saved && crashed:
			saves = false
		case e.Kind == Proposed && e.Index == index && e.Term == before.Term:
			text := fmt.Sprintf("%s, as leader of term %d, takes %s at index %d", name, e.Term, e.Text, index)
			if saves {
				text += ", and never saves it before the crash: its saved state has the same size until then"
			}
			return append(steps, Step{i, text + "."})
		}
	}
	return steps
}

// lossText describes a crash or a start between a promise and the breach of the promise.
func lossText(k Kind, name string) string {
	if k == Crashed {
		return name + " crashes. What it has not saved is lost here: term, vote, entries and snapshot are persistent state (Figure 2)."
	}
	return name + " starts again, with what it reads from the persister."
}

// voted notes a vote that another server knows of.
func (s *suspect) voted(i, voter, candidate, term int) {
	key := [2]int{voter, term}
	first, known := s.votes[key]
	if !known {
		s.votes[key] = vote{candidate, i}
		return
	}
	if first.candidate == candidate {
		return
	}
	s.accuse("two votes", OneVote.Title(), OneVote.Words(), OneVote.Place(),
		fmt.Sprintf("%s voted for %s and for %s in term %d", s.name(voter), s.name(first.candidate), s.name(candidate), term),
		Step{first.event, fmt.Sprintf("The vote of %s for %s in term %d is known here.", s.name(voter), s.name(first.candidate), term)},
		Step{i, fmt.Sprintf("The vote of %s for %s in term %d is known here.", s.name(voter), s.name(candidate), term)})
}

// accepted looks at an accepted AppendEntries.
func (s *suspect) accepted(i int, e *Event) {
	at, ok := s.t.request[e.Call]
	if !ok {
		return
	}
	s.answers = true
	request, follower := &s.run.Events[at], s.t.servers[e.Lane]
	prev, has := request.field(FieldPrevLogIndex)
	if !has {
		return
	}
	prevTerm, hasTerm := request.field(FieldPrevLogTerm)
	own, known := follower.log[prev]
	known = known && hasTerm
	gap, mismatch := "A follower accepted entries behind a gap", "A follower accepted entries that do not fit its log"
	if request.Fields[FieldEntries] == 0 {
		gap, mismatch = "A follower accepted a heartbeat behind a gap", "A follower accepted a heartbeat that does not fit its log"
	}
	switch {
	case prev > follower.last && follower.last >= 0 && prev > follower.snap:
		s.accuse("gap", gap,
			"A follower replies false if its log has no entry at prevLogIndex with prevLogTerm.", "Section 5.3; AppendEntries, receiver 2, Figure 2",
			fmt.Sprintf("%s accepts %s with prevLogIndex %d. No message has given it an entry beyond index %d", s.name(e.Lane), sentAs(request), prev, follower.last),
			Step{at, fmt.Sprintf("%s sends %s.", s.name(request.Lane), request.Text)},
			Step{i, fmt.Sprintf("%s accepts, though its log ends at index %d.", s.name(e.Lane), follower.last)})
	case known && prev <= follower.acked && prev > follower.snap && own.Term != prevTerm:
		s.accuse("mismatch", mismatch,
			"A follower replies false if its log has no entry at prevLogIndex with prevLogTerm.", "Section 5.3; AppendEntries, receiver 2, Figure 2",
			fmt.Sprintf("%s accepts %s with prevLogIndex %d of term %d. Its own entry there is of term %d", s.name(e.Lane), sentAs(request), prev, prevTerm, own.Term),
			Step{at, fmt.Sprintf("%s sends %s.", s.name(request.Lane), request.Text)},
			Step{i, fmt.Sprintf("%s accepts, though its entry at index %d is of term %d.", s.name(e.Lane), prev, own.Term)})
	}
}

// sentAs names an AppendEntries.
func sentAs(request *Event) string {
	if request.Fields[FieldEntries] == 0 {
		return "an empty AppendEntries, a heartbeat,"
	}
	return "an AppendEntries"
}

// applies notes an applied entry as committed. A leader with an entry of an older term may
// have counted replicas.
func (s *suspect) applies(e *Event) {
	server := s.t.servers[e.Lane]
	if entry, known := server.log[e.Index]; !known || server.role == roleLeader && entry.Term < server.term {
		return
	}
	first := s.run.group(e.Lane)[0]
	s.applied[first] = max(s.applied[first], e.Index)
}

// oldAnswers returns the newest answers to requests of older terms that reached a leader in its term.
func (s *suspect) oldAnswers(leader, term, before int) (steps []Step) {
	const most = 3
	for i := before - 1; i >= 0 && len(steps) < most; i-- {
		e := &s.run.Events[i]
		if e.Lane != leader {
			continue
		}
		own, ok := e.field(FieldTerm)
		if _, appends := e.field(FieldPrevLogIndex); e.Kind == Sent && !e.Reply && appends && ok && own < term {
			break // the leader's earlier term
		}
		at, known := s.t.request[e.Call]
		if e.Kind != Delivered || !known || !e.is(FieldSuccess) {
			continue
		}
		r := &s.run.Events[at]
		if asked, ok := r.field(FieldTerm); ok && asked < term {
			steps = append(steps, Step{i, fmt.Sprintf("%s gets an answer of %s to its request of term %d, up to index %d. In term %d this answer says nothing.",
				s.name(leader), s.name(e.Peer), asked, r.Fields[FieldPrevLogIndex]+r.Fields[FieldEntries], term)})
		}
	}
	return steps
}

// commits looks at the commitIndex that a leader tells.
func (s *suspect) commits(i int, e *Event, term int) {
	commit, ok := e.field(FieldLeaderCommit)
	leader := s.t.servers[e.Lane]
	if !ok || leader.term > term {
		return
	}
	group := s.run.group(e.Lane)
	if commit <= s.committed[group[0]] {
		return
	}
	entry, known := leader.log[commit]
	if !known {
		return
	}
	if entry.Term < term && commit > s.applied[group[0]] {
		s.accuse("old term", "A leader committed an entry of an older term by counting",
			"Only log entries from the leader's current term are committed by counting replicas. Older ones are committed with them.", "Section 5.4.2, Figure 8",
			fmt.Sprintf("%s, leader of term %d, commits index %d, an entry of term %d, and no entry of its own term", s.name(e.Lane), term, commit, entry.Term),
			Step{i, fmt.Sprintf("%s tells commitIndex %d, whose entry (%s) is of term %d.", s.name(e.Lane), commit, entry.Command, entry.Term)})
	}
	holders := 0
	for _, lane := range group {
		server := s.t.servers[lane]
		if have, ok := server.log[commit]; ok && have.Term == entry.Term || server.snap >= commit || lane == e.Lane {
			holders++
		}
	}
	if needed := s.run.majority(e.Lane); s.answers && holders < needed && !s.found["forgot"] && !s.found["minority"] { // the steps of a second one cost time
		s.accuse("minority", "A leader committed an entry that a majority does not store",
			"A leader commits an entry once it is stored on a majority of the servers.", "Section 5.3; Figure 2, Leaders",
			fmt.Sprintf("%s tells commitIndex %d when %d of %d servers are known to store that entry", s.name(e.Lane), commit, holders, len(group)),
			append(s.oldAnswers(e.Lane, term, i), Step{i, fmt.Sprintf("%s tells commitIndex %d to %s.", s.name(e.Lane), commit, s.name(e.Peer))})...)
	}
}
