package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of the elections in an explanation. An explanation with the first unexplained
// refusal needs fewer of the last elections.
const (
	recentCampaigns = 5
	lastOfPattern   = 2
)

// elections shows the last elections and why nobody won them.
func (x *explainer) elections() {
	every := slices.DeleteFunc(elections(x.run, false), func(c *campaign) bool { return c.asked >= x.end() || !x.concerns(c.candidate) })
	all := x.recent(slices.Clone(every))
	shown := all
	if k := slices.IndexFunc(every, (*campaign).unexplained); k >= 0 && len(all) > 0 && every[k].asked < all[0].asked {
		shown = append([]*campaign{every[k]}, all[max(0, len(all)-lastOfPattern):]...) // the first of its kind says more than later ones
	}
	needed := 0
	for _, c := range shown {
		needed = x.run.majority(c.candidate)
		x.step(c.asked, "%s.", x.outcome(c, needed))
	}
	if len(all) == 0 {
		for _, c := range x.recent(elections(x.run, true)) {
			x.step(c.asked, "%s.", x.outcome(c, x.run.majority(c.candidate)))
		}
		if !x.run.understood() {
			x.says("The page does not understand all messages of Raft, so it cannot tell the elections")
		} else {
			x.says("No server asked for votes")
			if len(x.f.Steps) > 0 {
				x.f.Text += ", and no candidate got a majority of pre-votes"
			}
		}
	}
	x.network()
	x.electionText(all)
	x.lastVotes(every)
}

// lastVotes tells of each server with unexplained refusals when it last voted for another.
func (x *explainer) lastVotes(every []*campaign) {
	silent := make(map[int]bool)
	granted, since := make(map[int]*campaign), make(map[int]int)
	for _, c := range every {
		for lane, why := range c.why {
			since[lane]++
			silent[lane] = silent[lane] || strings.HasPrefix(why, noReason)
		}
		for lane := range c.sent {
			granted[lane], since[lane] = c, 0
		}
	}
	for _, lane := range sortedLanes(silent) {
		switch c := granted[lane]; {
		case !silent[lane] || since[lane] < 2:
		case c == nil && !x.run.understood(): // a vote may be unknown
		case c == nil:
			x.says("%s has voted for nobody else, and refused all %d requests", x.name(lane), since[lane])
		default:
			x.says("%s voted last for %s in term %d, and has refused all %d requests since", x.name(lane), x.name(c.candidate), c.term, since[lane])
		}
	}
}

// recent returns the newest elections before the breach. A candidate that reached nobody
// tells nothing beside others.
func (x *explainer) recent(all []*campaign) []*campaign {
	all = slices.DeleteFunc(all, func(c *campaign) bool { return c.asked >= x.end() || !x.concerns(c.candidate) })
	if slices.ContainsFunc(all, func(c *campaign) bool { return c.reached }) {
		all = slices.DeleteFunc(all, func(c *campaign) bool { return !c.reached })
	}
	return all[max(0, len(all)-recentCampaigns):]
}

// concerns reports whether a breach without lanes, or with this lane, was found.
func (x *explainer) concerns(lane int) bool {
	return len(x.b.Lanes) == 0 || slices.Contains(x.b.Lanes, lane)
}

// end returns the number of events until the breach.
func (x *explainer) end() int {
	if x.limit > 0 {
		return x.limit
	}
	for i, e := range x.run.Events {
		if x.b.Time > 0 && e.Time > x.b.Time {
			return i
		}
	}
	return len(x.run.Events)
}

// outcome describes an election.
func (x *explainer) outcome(c *campaign, needed int) string {
	what := "votes"
	if c.pre {
		what = "pre-votes"
	}
	text := fmt.Sprintf("%s asks for %s in term %d and gets %d of the %d needed, with its own", x.name(c.candidate), what, c.term, 1+len(c.got), needed)
	if c.leads >= 0 {
		text += ". It leads"
	}
	for _, lane := range x.run.group(c.candidate) {
		_, yes := c.got[lane]
		_, no := c.refused[lane]
		fate, asked := c.fate[lane]
		switch {
		case lane == c.candidate || yes:
		case no:
			text += fmt.Sprintf(". %s refuses (%s)", x.name(lane), c.why[lane])
		case asked:
			text += fmt.Sprintf(". %s: %s", x.name(lane), fate)
		default:
			text += fmt.Sprintf(". %s is not asked", x.name(lane))
		}
	}
	return text
}

// network adds the state of the network at the breach.
func (x *explainer) network() {
	for i := x.end() - 1; i >= 0; i-- {
		if e := x.run.Events[i]; e.Kind == Network {
			x.step(i, "The network from here on: %s.", e.Text)
			return
		}
	}
}

// electionText says what the last elections have in common.
func (x *explainer) electionText(recent []*campaign) {
	unexplained, enough := make(map[string]bool), ""
	rivals := make(map[int][]string) // by term
	for _, c := range recent {
		rivals[c.term] = append(rivals[c.term], x.name(c.candidate))
		if 1+len(c.got) >= x.run.majority(c.candidate) && c.leads < 0 {
			enough = fmt.Sprintf("%s had enough votes in term %d and did not lead", x.name(c.candidate), c.term)
		}
		for lane := range c.refused {
			if strings.HasPrefix(c.why[lane], noReason) {
				unexplained[x.name(lane)] = true
			}
		}
	}
	if enough != "" {
		x.says("%s", enough)
	}
	if len(unexplained) > 0 {
		x.says("Refusals of %s have no reason in the messages", strings.Join(sortedKeys(unexplained), " and "))
	}
	split := 0
	for _, names := range rivals {
		if len(names) > 1 {
			split++
		}
	}
	if split > 1 {
		x.says("Votes were split in %d of the last terms", split)
	}
	if n := len(recent); n > 0 {
		last := x.run.Events[recent[n-1].asked].Time
		if quiet := x.run.Events[x.end()-1].Time - last; quiet > silence {
			x.says("Nobody has asked for votes in the last %v", quiet.Round(time.Millisecond))
		}
	}
	x.rolesApart()
}

// silence is far beyond an election timeout.
const silence = 2 * time.Second

// rolesApart says that a server leads a term that is not the newest.
func (x *explainer) rolesApart() {
	terms := make(map[int]Event) // the newest Role of each server
	newest := NoLane
	for _, e := range x.run.Events[:x.end()] {
		switch {
		case e.Kind == Crashed || e.Kind == Restarted:
			delete(terms, e.Lane)
		case e.Kind == Role && x.concerns(e.Lane):
			terms[e.Lane] = e
		}
	}
	for lane, e := range terms {
		if newest == NoLane || e.Term > terms[newest].Term {
			newest = lane
		}
	}
	for _, lane := range sortedLanes(terms) {
		if e := terms[lane]; e.Leads && e.Term < terms[newest].Term {
			x.says("%s leads term %d, and %s is in term %d", x.name(lane), e.Term, x.name(newest), terms[newest].Term)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func sortedLanes[V any](m map[int]V) []int {
	var all []int
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// agreement shows how far a command got.
func (x *explainer) agreement() {
	last := -1
	for i, e := range x.run.Events[:x.end()] {
		if e.Kind == Proposed && (x.b.Index == 0 && e.Text == x.b.After || x.b.Index > 0 && e.Index == x.b.Index) {
			last = i
		}
	}
	if last < 0 {
		if x.b.After != "" && x.run.Omitted == 0 {
			x.says("No server accepted the command as leader")
		}
		x.elections()
		return
	}
	p := x.run.Events[last]
	x.step(last, "%s accepts %s as leader of term %d, at index %d.", x.name(p.Lane), p.Text, p.Term, p.Index)
	t := newTracker(x.run)
	for i := range x.end() {
		t.next(i)
	}
	var holders, others, applied, behind []string
	for _, lane := range x.run.group(p.Lane) {
		s := t.servers[lane]
		if s.applied >= p.Index {
			applied = append(applied, x.name(lane))
		} else {
			behind = append(behind, x.name(lane))
		}
		if have, ok := s.holds(p.Index); ok && have.Term == p.Term || s.snap >= p.Index {
			holders = append(holders, x.name(lane))
		} else {
			others = append(others, x.name(lane))
			x.replication(last, p, lane)
			x.lastStart(lane)
		}
	}
	understood := x.run.understood()
	if understood {
		x.says("As far as messages show, index %d of term %d is in the logs of %s", p.Index, p.Term, orNobody(holders))
		if len(others) > 0 {
			x.f.Text += ", and not of " + strings.Join(others, ", ")
		}
	} else {
		x.says("The page does not understand all messages of Raft, so it cannot tell which logs have index %d", p.Index)
	}
	leader := t.servers[p.Lane]
	if commit := leader.commit; understood && commit >= 0 {
		x.f.Text += fmt.Sprintf("; %s has told a commitIndex of %d", x.name(p.Lane), commit)
		if commit < p.Index && len(holders) >= x.run.majority(p.Lane) {
			x.f.Text += fmt.Sprintf(", though a majority stores index %d", p.Index)
		}
	}
	x.says("Applied by %s, and not by %s", orNobody(applied), orNobody(behind))
	x.deposed(last, p)
	x.network()
}

// lastStart shows the last snapshot, crash and start of a server before the breach.
func (x *explainer) lastStart(lane int) {
	newest := make(map[Kind]int)
	for i, e := range x.run.Events[:x.end()] {
		if e.Lane == lane && (e.Kind == Snapshot || e.Kind == Crashed || e.Kind == Restarted) {
			newest[e.Kind] = i
		}
	}
	if _, crashed := newest[Crashed]; !crashed {
		return
	}
	for kind, i := range newest {
		if kind == Snapshot {
			x.step(i, "%s.", x.run.Words(i))
		} else {
			x.step(i, "%s", lossText(kind, x.name(lane)))
		}
	}
}

// deposed shows the first newer term after a command was accepted. A pre-vote asks for a
// term that nobody has.
func (x *explainer) deposed(from int, p Event) {
	preVotes := make(map[uint64]bool)
	for i := from; i < x.end(); i++ {
		e := &x.run.Events[i]
		if e.is(FieldPreVote) {
			preVotes[e.Call] = true
		}
		asked := preVotes[e.Call] && (!e.Reply || e.is(FieldVoteGranted))
		if term, ok := e.field(FieldTerm); ok && !asked && e.Kind == Sent && term > p.Term && e.Lane != p.Lane && x.sameGroup(e.Lane, p.Lane) {
			x.step(i, "%s is in term %d: %s.", x.name(e.Lane), term, x.run.Words(i))
			return
		}
	}
}

func (x *explainer) sameGroup(a, b int) bool { return slices.Contains(x.run.group(a), b) }

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// A link counts messages from a leader to a follower after a command was accepted.
type link struct {
	sent, arrived, accepted, refused int
	lost                             string // the cause of the last loss
	first, refusal, loss             int    // events, or -1
}

// replication shows what became of the messages from the leader to a follower that does not
// store the command.
func (x *explainer) replication(from int, p Event, follower int) {
	l := link{first: -1, refusal: -1, loss: -1}
	ours := make(map[uint64]bool)
	for i := from; i < x.end(); i++ {
		e := &x.run.Events[i]
		_, entries := e.field(FieldPrevLogIndex)
		_, snapshot := e.field(FieldLastIndex)
		switch {
		case e.Kind == Sent && !e.Reply && (entries || snapshot) && e.Lane == p.Lane && e.Peer == follower:
			ours[e.Call] = true
			l.sent++
			if l.first < 0 {
				l.first = i
			}
		case ours[e.Call]:
			l.note(i, e)
		}
	}
	name, leader := x.name(follower), x.name(p.Lane)
	if l.sent == 0 {
		x.step(from, "After this, %s sends no AppendEntries to %s.", leader, name)
		return
	}
	text := fmt.Sprintf("From here on %s sends %d messages to %s: %d arrive, %d are accepted, %d are refused", leader, l.sent, name, l.arrived, l.accepted, l.refused)
	if l.lost != "" {
		text += fmt.Sprintf(" (the last loss: %s)", l.lost)
	}
	x.step(l.first, "%s. The first: %s.", text, x.run.Events[l.first].Text)
	if l.refusal >= 0 {
		x.step(l.refusal, "The last refusal: %s.", x.run.Words(l.refusal))
	} else if l.loss >= 0 {
		x.step(l.loss, "The last loss: %s.", x.run.Words(l.loss))
	}
}

func (l *link) note(i int, e *Event) {
	switch {
	case e.Kind == Lost:
		l.lost, l.loss = cause(e), i
	case e.Kind == Delivered && !e.Reply:
		l.arrived++
	case e.Kind == Delivered && e.is(FieldSuccess):
		l.accepted++
	case e.Kind == Delivered:
		if _, ok := e.field(FieldSuccess); ok {
			l.refused++
			l.refusal = i
		}
	}
}
