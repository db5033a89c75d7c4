package trace

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// testMessages bounds the messages of a test in a finding.
const testMessages = 3

// checkFailed explains the messages of a failed test whose check was no breach: the last
// events that concern the things that the messages name.
func checkFailed(run *Recording) (Finding, bool) {
	f := newFinding(Other, "")
	var said []string
	for i, e := range run.Events {
		if e.Kind == Noted && e.Lane == NoLane && len(f.Steps) < testMessages {
			f.Text = cmp.Or(f.Text, e.Text)
			said = append(said, e.Text)
			f.Steps = append(f.Steps, Step{i, "The test says: " + e.Text})
		}
	}
	if f.Text == "" {
		return f, false
	}
	x := explainer{run: run, f: &f, limit: f.Steps[0].Event, b: Breach{Rule: Other}}
	message := said[0]
	f.Title = heading(message)
	switch {
	case electing.MatchString(message):
		f.Words, f.Place = LeaderInTime.Words(), LeaderInTime.Place()
		x.elections()
	case missingAgreement.MatchString(message):
		f.Words, f.Place = AgreementInTime.Words(), AgreementInTime.Place()
		x.concerning(message)
	case late.MatchString(message):
		if x.surroundings(strings.Join(said, ". ")) == 0 {
			x.slowest()
		}
	default:
		if alone.MatchString(message) {
			f.Words, f.Place = aloneWords, alonePlace
		}
		if all := strings.Join(said, ". "); !x.reconfigured(all) || !ofConfiguration.MatchString(all) {
			x.concerning(message) // the last events of a configuration say less than its shards
		}
		x.surroundings(strings.Join(said, ". "))
		if restarting.MatchString(message) {
			x.restarts()
		}
	}
	f.Steps = inOrder(f.Steps)
	return f, true
}

// heading makes a heading of a message in words. A message of figures or of a package for
// checks leaves the heading of the rule.
func heading(message string) string {
	const most = 120
	words := source.ReplaceAllString(message, "")
	first, size := utf8.DecodeRuneInString(words)
	if !unicode.IsLetter(first) || len(words) > most || strings.HasPrefix(words, "Not equal") || strings.Contains(words, "rror:") {
		return Other.Title()
	}
	if word, _, _ := strings.Cut(words, " "); strings.ContainsAny(word, `("`) {
		return words // an operation
	}
	return string(unicode.ToUpper(first)) + words[size:]
}

// The rule about an answer of a leader that has asked nobody.
const (
	aloneWords = "A leader answers a command after a majority has stored it. Before a leader answers a read, it exchanges messages with a majority, because another server may lead a newer term without its knowledge."
	alonePlace = "Section 8; for commands section 5.3"
)

var (
	source = regexp.MustCompile(`^\S+\.go:\d+: `)
	// alone is a message about an answer of a leader without a majority.
	alone            = regexp.MustCompile(`(?i)(deposed|without a majority|minority|cut off).* answer`)
	electing         = regexp.MustCompile(`(?i)in vain for a (new )?leader|\bno leader\b|\bone leader\b|\belect|\bcandidates?\b|did not become the leader`)
	missingAgreement = regexp.MustCompile(`(?i)no agreement|reach agreement`)
	restarting       = regexp.MustCompile(`(?i)\brestart|\bstarts? again|\bcrash`)
	// late is a message about time.
	late = regexp.MustCompile(`(?i)\btook [\d.]+(ns|µs|ms|s|m)|not done within|made no progress|not served`)
	// subject is a thing with a number or a name.
	subject = regexp.MustCompile(`(?i)\b(server|index|term|key|group|shard|configuration|command|value)s? (?:of )?(\d+|"(?:[^"\\]|\\.)*")`)
	quotes  = regexp.MustCompile(`"(?:[^"\\]|\\.)+"`)
)

// Bounds of the events for one subject, and for one story.
const (
	subjectSteps = 4
	maxSubjects  = 3
)

// concerning adds the last events of the things that a message names.
func (x *explainer) concerning(message string) {
	before := len(x.f.Steps)
	seen := make(map[string]bool)
	for _, m := range subject.FindAllStringSubmatch(message, -1) {
		kind, name := strings.ToLower(m[1]), m[2]
		if seen[kind+name] || len(seen) == maxSubjects {
			continue
		}
		seen[kind+name] = true
		number, err := strconv.Atoi(name)
		switch {
		case kind == "index" && err == nil:
			x.entry(number)
		case kind == "server" && err == nil:
			x.ofServer(x.run.numbered(name))
		case kind == "term" && err == nil:
			x.ofTerm(number)
		default:
			x.mentions(fieldOf(kind, name))
		}
	}
	if len(x.f.Steps) == before {
		for _, name := range quotes.FindAllString(message, maxSubjects) {
			x.mentions(regexp.QuoteMeta(name))
		}
	}
	if len(x.f.Steps) > before {
		x.requests()
	}
	if len(x.f.Steps) == before {
		x.answers()
	}
	if len(x.f.Steps) == before {
		x.changes()
	}
}

// keep adds the newest steps of a list.
func (x *explainer) keep(steps []Step) {
	x.f.Steps = append(x.f.Steps, steps[max(0, len(steps)-subjectSteps):]...)
}

// entry shows the commands at an index: who took them as leader, who was sent them, who
// applied them, and who removed them.
func (x *explainer) entry(index int) {
	var steps []Step
	t := newTracker(x.run)
	t.changed = func(lane, at int, before Entry) {
		if at == index {
			steps = append(steps, Step{t.event, fmt.Sprintf("%s removes %s (of term %d) from index %d of its log.", x.name(lane), before.Command, before.Term, index)})
		}
	}
	t.forgot = func(lane, at int, before Entry) {
		if at == index {
			steps = append(steps, x.run.loss(lane, at, before, t.event)...)
		}
	}
	sent := make(map[string]bool)
	for i := range x.end() {
		e := &x.run.Events[i]
		prev, entries := e.field(FieldPrevLogIndex)
		switch at := index - prev - 1; {
		case (e.Kind == Proposed || e.Kind == Applied || e.Kind == Snapshot) && e.Index == index:
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		case e.Kind == Sent && !e.Reply && entries && at >= 0 && at < len(e.Entries):
			entry := e.Entries[at]
			text := fmt.Sprintf("%s sends %s (term %d) for index %d to %s.", x.name(e.Lane), entry.Command, entry.Term, index, x.name(e.Peer))
			if !sent[text] {
				steps = append(steps, Step{i, text})
			}
			sent[text] = true
		}
		t.next(i)
	}
	x.f.Steps = append(x.f.Steps, steps[:min(subjectSteps, len(steps))]...)
	x.keep(steps[min(subjectSteps, len(steps)):])
}

// ofServer shows the last changes of a server.
func (x *explainer) ofServer(lane int) {
	var steps []Step
	for i, e := range x.run.Events[:x.end()] {
		if e.Lane == lane && lane >= 0 && e.Kind > Lost && e.Kind < Called && e.Kind != Saved {
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		}
	}
	x.keep(steps)
}

// restarts shows the last crashes, the starts after them, and what the servers then said of their term.
func (x *explainer) restarts() {
	var steps []Step
	down, asked := make(map[int]bool), make(map[int]bool)
	for i, e := range x.run.Events[:x.end()] {
		switch {
		case e.Kind == Crashed:
			down[e.Lane] = true
			steps = append(steps, Step{i, lossText(e.Kind, x.name(e.Lane))})
		case e.Kind == Restarted && down[e.Lane]:
			down[e.Lane], asked[e.Lane] = false, true
			steps = append(steps, Step{i, lossText(e.Kind, x.name(e.Lane))})
		case e.Kind == Role && asked[e.Lane]:
			asked[e.Lane] = false
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		}
	}
	x.keep(steps)
}

// ofTerm shows the elections of a term.
func (x *explainer) ofTerm(term int) {
	var steps []Step
	for _, c := range elections(x.run, false) {
		if c.term == term && c.asked < x.end() {
			steps = append(steps, Step{c.asked, x.outcome(c, x.run.majority(c.candidate)) + "."})
		}
	}
	x.keep(steps)
}

// fieldNames are patterns for the fields of messages that hold a numbered thing.
var fieldNames = map[string]string{"configuration": `(?i)(?:num|number|config|version)`, "shard": `(?i)shard`, "group": `(?i)(?:gid|group)`}

// fieldOf returns a pattern for a numbered thing in a message, or for a name.
func fieldOf(kind, name string) string {
	if field, known := fieldNames[kind]; known && name[0] != '"' {
		return field + `[: ]` + name
	}
	return regexp.QuoteMeta(name)
}

// mentions shows the last operations of clients that match a pattern, or else the last
// messages that do.
func (x *explainer) mentions(pattern string) {
	whole := regexp.MustCompile(`(^|[^\w"])` + pattern + `($|[^\w"])`)
	var operations, messages []Step
	for i, e := range x.run.Events[:x.end()] {
		if !whole.MatchString(e.Text) {
			continue
		}
		switch e.Kind {
		case Called, Returned, Proposed:
			operations = append(operations, Step{i, x.run.Words(i) + x.unanswered(i) + "."})
		case Applied, Delivered:
			messages = append(messages, Step{i, x.run.Words(i) + "."})
		}
	}
	if len(operations) == 0 {
		operations = messages
	}
	x.keep(operations)
}

// requests shows the last requests of the newest client without recorded operations: the test
// itself plays this client.
func (x *explainer) requests() {
	plays := make(map[int]bool)
	for _, e := range x.run.Events[:x.end()] {
		plays[e.Lane] = plays[e.Lane] || e.Kind == Called
	}
	var steps []Step
	client := NoLane
	for i := x.end() - 1; i >= 0 && len(steps) < subjectSteps; i-- {
		e := &x.run.Events[i]
		if e.Kind == Delivered && !e.Reply && x.isClient(e.Peer) && !plays[e.Peer] && (client == NoLane || e.Peer == client) {
			client = e.Peer
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		}
	}
	x.f.Steps = append(x.f.Steps, steps...)
}

// answers shows the last answer to each client, in the order of time.
func (x *explainer) answers() {
	var steps []Step
	for _, l := range x.run.Lanes {
		if l.Kind != Client {
			continue
		}
		if a, ok := x.answerTo(l.Name, 0, x.end()); ok {
			steps = append(steps, Step{a.event, a.text + "."})
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Event, b.Event) })
	x.keep(steps)
	if len(steps) > 0 {
		x.consulted(steps[len(steps)-1].Event)
		x.network()
	}
}

func (x *explainer) isClient(lane int) bool { return lane >= 0 && x.run.Lanes[lane].Kind == Client }

// changes shows the last changes of leaders, servers and the network.
func (x *explainer) changes() {
	var steps []Step
	leads, down := make(map[int]Event), make(map[int]bool)
	for i, e := range x.run.Events[:x.end()] {
		change := e.Kind == Crashed || e.Kind == Restarted && down[e.Lane] || e.Kind == Network
		down[e.Lane] = down[e.Lane] || e.Kind == Crashed
		if e.Kind == Role {
			change = e.Leads || leads[e.Lane].Leads
			leads[e.Lane] = e
		}
		if change {
			steps = append(steps, Step{i, x.run.Words(i) + "."})
		}
	}
	x.keep(steps)
}

// A wait is the time between two steps of one piece of work.
type wait struct {
	from, to int
	span     time.Duration
}

// slowest shows where the time of a typical piece of work goes: of a command from a call of
// Start to its application, or of a client's request to its answer.
func (x *explainer) slowest() {
	works := x.works()
	if len(works) == 0 {
		x.changes()
		return
	}
	slices.SortStableFunc(works, func(a, b wait) int { return cmp.Compare(a.span, b.span) })
	w := works[len(works)/2]
	first, last := x.run.Events[w.from], x.run.Events[w.to]
	lane := first.Lane
	x.step(w.from, "A piece of work of median length, %v, begins: %s.", w.span.Round(10*time.Microsecond), x.run.Words(w.from))
	x.step(w.to, "It ends: %s.", x.run.Words(w.to))
	longest, before := wait{}, w.from
	for i := w.from + 1; i <= w.to; i++ {
		e := &x.run.Events[i]
		if e.Kind == Logged || e.Kind == Noted || e.Lane != lane && i != w.to {
			continue
		}
		if _, beat := e.field(FieldPrevLogIndex); beat && e.Kind == Sent && !e.Reply && e.Fields[FieldEntries] == 0 {
			continue // a heartbeat is no progress
		}
		if span := e.Time - x.run.Events[before].Time; span > longest.span {
			longest = wait{before, i, span}
		}
		before = i
	}
	x.says("%d pieces of work took %v in the median and %v at most", len(works), w.span.Round(10*time.Microsecond), works[len(works)-1].span.Round(10*time.Microsecond))
	if longest.to > 0 && longest.span > (last.Time-first.Time)/3 {
		x.says("In the typical one, %s waits %v before this: %s", x.name(lane), longest.span.Round(10*time.Microsecond), x.run.Words(longest.to))
		x.step(longest.from, "For the next %v %s does nothing for this work.", longest.span.Round(10*time.Microsecond), x.name(lane))
		x.step(longest.to, "Then: %s.", x.run.Words(longest.to))
	}
}

// works returns the pieces of work that ended.
func (x *explainer) works() []wait {
	var works []wait
	start := make(map[[2]int]int)    // by server and index
	requests := make(map[uint64]int) // delivered requests of clients
	for i := range x.end() {
		e := &x.run.Events[i]
		key := [2]int{e.Lane, e.Index}
		switch {
		case e.Kind == Proposed:
			start[key] = i
		case e.Kind == Applied:
			if from, ok := start[key]; ok {
				works = append(works, wait{from, i, e.Time - x.run.Events[from].Time})
				delete(start, key)
			}
		case e.Kind == Delivered && !e.Reply && x.isClient(e.Peer):
			requests[e.Call] = i
		case e.Kind == Sent && e.Reply && x.isClient(e.Peer):
			if from, ok := requests[e.Call]; ok {
				works = append(works, wait{from, i, e.Time - x.run.Events[from].Time})
				delete(requests, e.Call)
			}
		}
	}
	return works
}
