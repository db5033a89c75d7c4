package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Finding is a broken rule with the events that prove it.
type Finding struct {
	Rule  Rule   `json:"rule"`
	Title string `json:"title"`
	// Words is the rule, and Place is its place in the paper.
	Words string `json:"words"`
	Place string `json:"place"`
	// Text is what the check said, or what the messages show.
	Text  string `json:"text"`
	Steps []Step `json:"steps"`
	// Seen marks a finding from the messages alone, before or beside what the checks found.
	Seen bool `json:"seen,omitempty"`
	// Proven marks a finding with a proof in the messages. Such a finding can cause damage later.
	Proven     bool        `json:"proven,omitempty"`
	Operations []Operation `json:"operations,omitempty"`
	Earlier    []Operation `json:"earlier,omitempty"`
	// Waits describes the blocked goroutines of a deadlock.
	Waits []string `json:"waits,omitempty"`
}

// A Step is an event of a proof, in words.
type Step struct {
	Event int    `json:"event"`
	Text  string `json:"text"`
}

// maxSteps bounds the steps of a finding.
const maxSteps = 12

// Explain returns what broke in a run. First come the breaches of the checks, each with
// the events of the proof. Then come other rules broken by messages, in the order of time.
// These are often the cause. Without a breach, the first finding is the message of the test.
// A broken rule with a proof in the messages comes before all others if the damage is younger.
func Explain(run *Recording) []Finding {
	var all []Finding
	for _, b := range run.Breaches {
		f := newFinding(b.Rule, b.Text)
		f.Operations, f.Earlier, f.Waits = b.Operations, b.Earlier, b.Waits
		x := explainer{run: run, b: b, f: &f}
		x.explain()
		f.Steps = inOrder(f.Steps)
		all = append(all, f)
	}
	// A missing agreement is a consequence of a deadlock.
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(first(a.Rule), first(b.Rule)) })
	if len(all) == 0 {
		if f, failed := checkFailed(run); failed {
			all = append(all, f)
		}
	}
	seen := suspicions(run)
	if cause, found := causeOf(all, seen); found {
		seen = slices.DeleteFunc(seen, func(f Finding) bool { return f.Title == cause.Title })
		all = append([]Finding{cause}, all...)
	} else if len(all) == 1 && all[0].Rule == Other && len(seen) > 0 {
		all[0].Steps = inOrder(append(all[0].Steps, seen[0].Steps...)) // the likely cause
	}
	for _, f := range seen {
		if len(all) == 0 || f.Title != all[0].Title {
			all = append(all, f)
		}
	}
	return all
}

// causeOf returns the first proven finding older than the damage, with the steps of the
// damage at the end.
func causeOf(damage, seen []Finding) (cause Finding, found bool) {
	if len(damage) == 0 || damage[0].Rule == Deadlock {
		return cause, false
	}
	for _, f := range seen {
		if end := lastEvent(f); f.Proven && f.Title != damage[0].Title && end < lastEvent(damage[0]) {
			f.Text += ". Later a check found the damage: " + cmp.Or(damage[0].Text, damage[0].Title)
			later := slices.DeleteFunc(slices.Clone(damage[0].Steps), func(s Step) bool { return s.Event <= end })
			f.Steps = append(slices.Clone(f.Steps), later[max(0, len(later)-max(0, maxSteps-len(f.Steps))):]...)
			return f, true
		}
	}
	return cause, false
}

func first(r Rule) int {
	if r == Deadlock {
		return 0
	}
	return 1
}

func newFinding(r Rule, text string) Finding {
	return Finding{Rule: r, Title: r.Title(), Words: r.Words(), Place: r.Place(), Text: text, Steps: []Step{}}
}

// inOrder sorts steps by their events, and leaves out repetitions and the middle of a long
// list.
func inOrder(steps []Step) []Step {
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Event - b.Event })
	steps = slices.CompactFunc(steps, func(a, b Step) bool { return a.Event == b.Event && a.Text == b.Text })
	if len(steps) > maxSteps {
		steps = append(steps[:maxSteps/2], steps[len(steps)-maxSteps/2:]...)
	}
	return steps
}

// An explainer finds the events of one breach.
type explainer struct {
	run   *Recording
	b     Breach
	f     *Finding
	limit int // the event of the check, or 0
}

func (x *explainer) explain() {
	switch x.b.Rule {
	case ElectionSafety, AskFirst:
		x.leaders()
	case OneVote:
		x.votes()
	case StateMachineSafety:
		x.commands()
	case ApplyInOrder, SnapshotState:
		x.order()
	case TermsGrow:
		x.term()
	case QuorumToLead:
		x.leaders()
	case LeaderInTime:
		x.elections()
	case AgreementInTime:
		x.agreement()
	case AnswerInTime:
		x.concerning(x.b.Text)
	case Linearizable:
		x.operations()
	case Deadlock:
		x.silence()
	}
}

func (x *explainer) step(event int, format string, args ...any) {
	x.f.Steps = append(x.f.Steps, Step{event, fmt.Sprintf(format, args...)})
}

// says adds a sentence to the text of the finding, without its full stop.
func (x *explainer) says(format string, args ...any) {
	if end := strings.TrimRight(x.f.Text, ".?! "); x.f.Text != "" && len(end) == len(x.f.Text) {
		x.f.Text += "."
	}
	x.f.Text = strings.TrimLeft(x.f.Text+" "+fmt.Sprintf(format, args...), " ")
}

func (x *explainer) name(lane int) string { return x.run.lane(lane) }

// leaders shows how servers came to lead a term.
func (x *explainer) leaders() {
	votersOf := make(map[int][]int) // candidates by voter
	for _, lane := range x.b.Lanes {
		first := -1
		for i := range x.run.Events {
			if e := &x.run.Events[i]; e.Lane == lane && (leadsBy(e, x.b.Term) || e.Kind == Role && e.Leads && e.Term == x.b.Term) {
				first = i
				break
			}
		}
		var mine *campaign
		for _, c := range campaigns(x.run) {
			if c.term == x.b.Term && c.candidate == lane {
				mine = c
			}
		}
		if mine != nil {
			x.votesOf(mine, x.run.majority(lane), first, votersOf)
		}
		if first >= 0 {
			x.olderElections(lane, mine, first)
		}
		if first >= 0 {
			why := ""
			if mine == nil && x.run.understood() {
				why = ", though it has not asked for votes in this term"
			}
			x.step(first, "%s acts as leader of term %d%s.", x.name(lane), x.b.Term, why)
		}
	}
	for voter, candidates := range votersOf {
		if len(candidates) > 1 {
			x.says("%s voted for both", x.name(voter))
			x.crashes(voter, x.f.Steps)
		}
	}
}

// votesOf adds the steps of a campaign up to the candidate's leadership.
func (x *explainer) votesOf(c *campaign, needed, leads int, votersOf map[int][]int) {
	x.step(c.asked, "%s asks for votes in term %d (its log ends at index %d of term %d).", x.name(c.candidate), c.term,
		x.run.Events[c.asked].Fields[FieldLastLogIndex], x.run.Events[c.asked].Fields[FieldLastLogTerm])
	votersOf[c.candidate] = append(votersOf[c.candidate], c.candidate)
	votes := 1
	events := make([]int, 0, len(c.got))
	voter := make(map[int]int)
	for lane, i := range c.got {
		if leads < 0 || i <= leads {
			events = append(events, i)
			voter[i] = lane
		}
	}
	slices.Sort(events)
	for _, i := range events {
		votes++
		votersOf[voter[i]] = append(votersOf[voter[i]], c.candidate)
		x.step(i, "The vote of %s reaches %s: %d of the %d votes needed.", x.name(voter[i]), x.name(c.candidate), votes, needed)
	}
	if votes < needed && leads >= 0 && x.run.understood() {
		x.says("%s had %d of the %d votes needed", x.name(c.candidate), votes, needed)
	}
}

// olderElections shows what older terms have to do with a server's leadership at event
// first. If the server asked for votes in the term (mine), these are the votes of older
// terms that arrived since. Otherwise these are the server's last election, and the message
// that brought the newer term.
func (x *explainer) olderElections(lane int, mine *campaign, first int) {
	var last *campaign
	for _, c := range campaigns(x.run) {
		if c.candidate != lane || c.term >= x.b.Term || c.asked > first {
			continue
		}
		last = c
		for voter, i := range c.got {
			if mine != nil && i > mine.asked && i <= first {
				x.step(i, "A vote of %s for term %d reaches %s in term %d. Votes of an older term do not count.", x.name(voter), c.term, x.name(lane), x.b.Term)
			}
		}
	}
	if mine != nil || last == nil {
		return
	}
	votes := 1
	for _, i := range last.got {
		if i <= first {
			votes++
		}
	}
	led := ""
	if last.leads >= 0 && last.leads < first {
		led = ", and leads that term"
	}
	x.step(last.asked, "%s asks for votes in term %d, gets %d of the %d needed, with its own%s.", x.name(lane), last.term, votes, x.run.majority(lane), led)
	for i := last.asked; i < first; i++ {
		e := &x.run.Events[i]
		if term, ok := e.field(FieldTerm); ok && e.Kind == Delivered && e.Lane == lane && term == x.b.Term {
			x.step(i, "%s learns of term %d from %s. It is a follower from here on, and its election in term %d is over.", x.name(lane), term, x.name(e.Peer), last.term)
			return
		}
	}
}

// crashes adds the crashes and restarts of a server between the steps so far.
func (x *explainer) crashes(lane int, steps []Step) {
	if len(steps) == 0 {
		return
	}
	from, to := steps[0].Event, steps[0].Event
	for _, s := range steps {
		from, to = min(from, s.Event), max(to, s.Event)
	}
	for i := from; i <= to; i++ {
		if e := x.run.Events[i]; e.Lane == lane && (e.Kind == Crashed || e.Kind == Restarted) {
			x.step(i, "%s", lossText(e.Kind, x.name(lane)))
		}
	}
}

// votes shows the two votes of a server in a term.
func (x *explainer) votes() {
	if len(x.b.Lanes) == 0 {
		return
	}
	voter := x.b.Lanes[0]
	for _, c := range campaigns(x.run) {
		if c.term != x.b.Term {
			continue
		}
		if c.candidate == voter {
			x.step(c.asked, "%s asks for votes in term %d, and so votes for itself.", x.name(voter), c.term)
		}
		if i, ok := c.sent[voter]; ok {
			x.step(i, "%s votes for %s in term %d.", x.name(voter), x.name(c.candidate), c.term)
		}
	}
	x.crashes(voter, slices.Clone(x.f.Steps))
}

// commands shows how two commands came to one index.
func (x *explainer) commands() {
	puts := make(map[int]string) // by event
	understood := x.run.understood()
	t := newTracker(x.run)
	t.changed = func(lane, index int, before Entry) {
		if index == x.b.Index && !sameCommand(before.Command, x.b.After) {
			x.removed(t, lane, before)
		}
	}
	t.forgot = func(lane, index int, before Entry) {
		if index == x.b.Index && sameCommand(before.Command, x.b.Before) {
			lost := x.run.loss(lane, index, before, t.event)
			x.f.Steps = append(x.f.Steps, lost...)
			puts[lost[len(lost)-1].Event] = "" // the loss tells more
		}
	}
	firstApplied := map[string]bool{}
	var held map[int]int // the servers with the first command, at the event since
	since, until := 0, 0
	terms := map[int]bool{}
	for i := range x.run.Events {
		e := &x.run.Events[i]
		switch {
		case e.Kind == Applied && e.Index == x.b.Index:
			if !firstApplied[e.Text] {
				holders := x.holders(t, e)
				what := ": the entry is committed"
				if len(holders) < x.run.majority(e.Lane) {
					what = ": the server takes the entry as committed, and no majority is known to store it"
				}
				if what += ". As far as messages show, it is in the logs of " + x.names(holders); !understood {
					what = ""
				}
				if own, known := t.servers[e.Lane].holds(e.Index); understood && known && !sameCommand(own.Command, e.Text) {
					what += fmt.Sprintf(". It has accepted %s of term %d for this index before, so its own entry there had to go: a conflicting entry is deleted with all that follow (section 5.3; AppendEntries, receiver 3, Figure 2)", own.Command, own.Term)
					x.f.Steps = append(x.f.Steps, x.accepting(e.Lane, e.Index, i)...)
				}
				x.step(i, "%s applies %s at index %d%s.", x.name(e.Lane), e.Text, e.Index, what)
				if len(firstApplied) == 0 {
					held, since = holders, i
				}
				until = i
			}
			firstApplied[e.Text] = true
		case e.Kind == Proposed && e.Index == x.b.Index:
			puts[i] = fmt.Sprintf("%s, as leader of term %d, puts %s at index %d.", x.name(e.Lane), e.Term, e.Text, e.Index)
			terms[e.Term] = true
		}
		t.next(i)
	}
	for i, text := range puts {
		if text != "" {
			x.step(i, "%s", text)
		}
	}
	for _, lane := range sortedLanes(held) {
		x.crashes(lane, []Step{{Event: since}, {Event: until}})
	}
	x.winners(terms)
}

// accepting returns the newest acceptance of an AppendEntries with the entry at an index.
func (x *explainer) accepting(lane, index, before int) []Step {
	requests := make(map[uint64]*Event)
	var newest []Step
	for i := range before {
		e := &x.run.Events[i]
		prev, appends := e.field(FieldPrevLogIndex)
		switch r := requests[e.Call]; {
		case e.Kind == Sent && !e.Reply && appends && e.Peer == lane && prev < index && index <= prev+len(e.Entries):
			requests[e.Call] = e
		case r != nil && e.Kind == Sent && e.Reply && e.Lane == lane && e.is(FieldSuccess):
			entry := r.Entries[index-1-r.Fields[FieldPrevLogIndex]]
			newest = []Step{{i, fmt.Sprintf("%s accepts %s (of term %d) for index %d from %s.", x.name(lane), entry.Command, entry.Term, index, x.name(r.Lane))}}
		}
	}
	return newest
}

// winners shows the elections of the terms in which leaders proposed.
func (x *explainer) winners(terms map[int]bool) {
	for _, c := range campaigns(x.run) {
		if terms[c.term] && c.leads >= 0 {
			last, lastTerm := x.run.Events[c.asked].Fields[FieldLastLogIndex], x.run.Events[c.asked].Fields[FieldLastLogTerm]
			x.step(c.asked, "%s stands for term %d with a log that ends at index %d of term %d, and wins with the votes of %s.",
				x.name(c.candidate), c.term, last, lastTerm, x.names(c.got))
		}
	}
}

// removed shows the removal of a server's entry at the index of the breach.
func (x *explainer) removed(t *tracker, lane int, before Entry) {
	e := &x.run.Events[t.event]
	how := "as this message shows"
	if at, ok := t.request[e.Call]; ok && e.Reply {
		how = fmt.Sprintf("on the AppendEntries of %s", x.name(x.run.Events[at].Lane))
	} else if e.Lane == lane { // the server's own words, so the removal was before
		x.f.Steps = append(x.f.Steps, t.cuts(lane, x.b.Index, t.event)...)
	}
	x.step(t.event, "%s removes %s (of term %d) from index %d of its log, %s.", x.name(lane), before.Command, before.Term, x.b.Index, how)
}

// holders returns the servers that hold a command which a server applies.
func (x *explainer) holders(t *tracker, e *Event) map[int]int {
	held := map[int]int{e.Lane: t.event}
	for _, lane := range x.run.group(e.Lane) {
		if have, known := t.servers[lane].holds(e.Index); known && sameCommand(have.Command, e.Text) {
			held[lane] = t.event
		}
	}
	return held
}

func sameCommand(a, b string) bool { return a == b }

// names lists lanes.
func (x *explainer) names(lanes map[int]int) string {
	var names []string
	for lane := range lanes {
		names = append(names, x.name(lane))
	}
	if len(names) == 0 {
		return "nobody"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// order shows what a server applied before the wrong command.
func (x *explainer) order() {
	if len(x.b.Lanes) == 0 {
		return
	}
	const before, after = 5, 2
	lane, wrong := x.b.Lanes[0], -1
	var steps []Step
	for i, e := range x.run.Events {
		if e.Time > x.b.Time {
			break
		}
		if e.Lane != lane {
			continue
		}
		switch e.Kind {
		case Applied, Snapshot, Crashed, Restarted:
			if wrong < 0 && e.Kind == Applied && e.Index == x.b.Index && e.Time == x.b.Time {
				wrong = len(steps) // virtual time stands still, so others follow at the same time
			}
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		}
	}
	if wrong < 0 {
		wrong = len(steps) - 1
	}
	x.f.Steps = append(x.f.Steps, steps[max(0, wrong+1-before):min(len(steps), wrong+1+after)]...)
}

// term shows the two terms of a server, and what is between.
func (x *explainer) term() {
	if len(x.b.Lanes) == 0 {
		return
	}
	lane, high, highAt := x.b.Lanes[0], -1, -1
	for i := range x.run.Events {
		e := &x.run.Events[i]
		if e.Lane != lane || e.Time > x.b.Time {
			continue
		}
		term, ok := e.field(FieldTerm)
		if e.Kind == Role {
			term, ok = e.Term, true
		} else if e.Kind != Sent {
			ok = false
		}
		if !ok {
			continue
		}
		if term >= high {
			high, highAt = term, i
		} else if term <= x.b.Term {
			x.step(highAt, "%s is in term %d.", x.name(lane), high)
			x.step(i, "%s is in term %d.", x.name(lane), term)
			x.crashes(lane, slices.Clone(x.f.Steps))
			return
		}
	}
}

// silence shows the first request that the blocked server did not answer. Without such a
// request, silence shows the last sign of life of each server. The server that fell silent
// first is then the likely place of the deadlock. A blocked server may still be called, so
// calls to the server are no signs.
func (x *explainer) silence() {
	if x.endless() {
		return
	}
	if len(x.b.Waits) > 0 {
		x.says("The holder of a lock is among the goroutines that wait for something else, or waits for a second lock, or has returned without Unlock")
	}
	if x.openRequests() {
		return
	}
	last := make(map[int]int)
	for i, e := range x.run.Events {
		if e.Lane == NoLane || x.run.Lanes[e.Lane].Kind != Server {
			continue
		}
		switch e.Kind {
		case Sent, Role, Proposed, Applied, Snapshot, Saved, Crashed, Restarted:
			last[e.Lane] = i
		}
	}
	first := NoLane
	for lane, i := range last {
		if x.run.Events[i].Kind != Crashed && (first == NoLane || i < last[first]) {
			first = lane
		}
	}
	for lane, i := range last {
		e := x.run.Events[i]
		switch {
		case e.Kind == Crashed:
			continue
		case lane == first:
			x.step(i, "The last sign of %s, at %v: %s. It is the first to fall silent.", x.name(lane), e.Time.Round(time.Millisecond), x.run.Words(i))
		default:
			x.step(i, "The last sign of %s, at %v: %s.", x.name(lane), e.Time.Round(time.Millisecond), x.run.Words(i))
		}
	}
}

// openRequests shows the first request without an answer of the server that the message names,
// and the last request of the server that was open then.
func (x *explainer) openRequests() bool {
	lane := NoLane
	if m := subject.FindStringSubmatch(x.b.Text); m != nil && strings.EqualFold(m[1], "server") {
		lane = x.run.numbered(m[2])
	}
	if lane == NoLane {
		return false
	}
	open, own := make(map[uint64]int), make(map[uint64]int) // calls without an answer yet
	for i, e := range x.run.Events[:x.end()] {
		switch {
		case e.Kind == Lost:
			delete(own, e.Call)
		case e.Lane != lane:
		case e.Kind == Crashed:
			clear(open)
			clear(own)
		case e.Kind == Delivered && !e.Reply:
			open[e.Call] = i
		case e.Kind == Sent && e.Reply:
			delete(open, e.Call)
		case e.Kind == Sent:
			own[e.Call] = i
		case e.Kind == Delivered:
			delete(own, e.Call)
		}
	}
	first, last := -1, -1
	for _, i := range open {
		if first < 0 || i < first {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	for _, i := range own {
		if i < first && i > last {
			last = i
		}
	}
	x.step(first, "The first request that %s never answers, at %v: %s.", x.name(lane), x.run.Events[first].Time.Round(time.Millisecond), x.run.Words(first))
	if last >= 0 {
		x.step(last, "%s sends this request before, and never gets an answer: %s.", x.name(lane), x.run.Words(last))
	}
	return true
}
