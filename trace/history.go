package trace

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// An answer is a server's reply to a client.
type answer struct {
	event int
	text  string
}

// answerTo returns the newest answer to a client in a span of events.
func (x *explainer) answerTo(client string, from, to int) (a answer, ok bool) {
	t := newTracker(x.run)
	requests := make(map[uint64]string)
	for i := range to {
		e := &x.run.Events[i]
		t.next(i)
		if e.Lane < 0 || x.run.Lanes[e.Lane].Name != client || x.run.Lanes[e.Peer].Kind != Server || e.Kind > Delivered {
			continue
		}
		if e.Kind == Sent {
			requests[e.Call] = e.Text
		} else if i >= from {
			text := fmt.Sprintf("%s answers %s", x.name(e.Peer), client)
			if asked := requests[e.Call]; asked != "" {
				text += fmt.Sprintf(" (%s {%s}) with {%s}", e.Name, asked, e.Text)
			}
			a, ok = answer{i, text + x.deposedNow(t, e.Peer)}, true
		}
	}
	if ok {
		if by := x.alone(a.event); by != "" {
			a.text += ". " + x.name(x.run.Events[a.event].Peer) + strings.TrimPrefix(by, ", which")
		}
		a.text += x.unlogged(a.event)
	}
	return a, ok
}

// unlogged says that a server has answered an operation whose entry no log shows, though
// logs show the entries of other operations. If the request of an entry is unknown, or a message
// is not understood, the entry may be the operation's.
func (x *explainer) unlogged(answer int) string {
	e, shown := &x.run.Events[answer], false
	if !x.run.understood() {
		return ""
	}
	for i := range x.run.Events {
		for _, entry := range x.run.Events[i].Entries {
			if entry.Call == e.Call || entry.Call == 0 {
				return ""
			}
			shown = shown || entry.Call != 0
		}
	}
	for _, next := range x.run.Events[answer+1:] {
		if next.Lane == e.Lane {
			if shown && next.Kind == Returned {
				return ". No log has an entry for this request"
			}
			break
		}
	}
	return ""
}

// deposedNow says that another server leads a newer term than a server that answers.
func (x *explainer) deposedNow(t *tracker, lane int) string {
	newest := lane
	for _, other := range x.run.group(lane) {
		if s := t.servers[other]; s.role == roleLeader && s.term > t.servers[newest].term {
			newest = other
		}
	}
	if newest == lane {
		return ""
	}
	return fmt.Sprintf(". It is in term %d, and %s leads term %d already", t.servers[lane].term, x.name(newest), t.servers[newest].term)
}

// at returns the number of events before a time.
func (x *explainer) at(when time.Duration) int {
	return sort.Search(len(x.run.Events), func(i int) bool { return x.run.Events[i].Time > when })
}

// earlierSteps bounds the earlier operations in a story.
const earlierSteps = 4

// operations shows the calls and returns of the operations that have no legal order.
func (x *explainer) operations() {
	if len(x.b.Operations) > 0 {
		latest := slices.MaxFunc(x.b.Operations, func(a, b Operation) int { return cmp.Compare(a.Return, b.Return) })
		if a, ok := x.answerTo(latest.Client, x.at(latest.Call-1), x.at(latest.Return)); ok {
			x.step(a.event, "%s.", a.text)
		}
	}
	earlier := x.b.Earlier[max(0, len(x.b.Earlier)-earlierSteps):]
	for _, o := range x.b.Operations {
		x.operation(o, len(x.b.Operations) == 1)
	}
	for _, o := range earlier {
		x.operation(o, false)
	}
	x.inLogs(slices.Concat(x.b.Operations, earlier))
	x.answeredAlone()
}

// reading is the name of an operation that changes nothing.
var reading = regexp.MustCompile(`(?i)^(get|read|scan|query)\b`)

// answeredAlone puts the cause into the heading if a server alone answered a command whose entry
// no message had carried, or the read with the impossible answer.
func (x *explainer) answeredAlone() {
	for _, o := range slices.Concat(x.b.Earlier, x.b.Operations) {
		from := x.at(o.Call - 1)
		a, ok := x.answerTo(o.Client, from, x.at(o.Return))
		read := reading.MatchString(o.Text)
		if !ok || x.alone(a.event) == "" || read && !strings.HasPrefix(x.b.Text, o.Text) || x.carried(from, a.event) {
			continue
		}
		what := "no message had carried the command to another server"
		x.f.Title = "A server answered before a majority had stored the command"
		if read {
			what = "no majority took part in the read"
			x.f.Title = "A server answered a read without a majority"
		}
		x.f.Words, x.f.Place = aloneWords, alonePlace
		x.says("%s answered %s of %s alone, and %s", x.name(x.run.Events[a.event].Peer), o.Text, o.Client, what)
		return
	}
}

// carried reports whether a message before an answer has the entry of a request that the client
// has sent since an event.
func (x *explainer) carried(from, answer int) bool {
	client, calls := x.run.Events[answer].Lane, make(map[uint64]bool)
	if !x.run.understood() {
		return true // perhaps
	}
	for i := from; i < answer; i++ {
		e := &x.run.Events[i]
		if e.Lane == client && e.Kind == Sent {
			calls[e.Call] = true
		}
		if slices.ContainsFunc(e.Entries, func(entry Entry) bool { return calls[entry.Call] }) {
			return true
		}
	}
	return false
}

// early shows that a server answered an operation before a majority stored its entry.
func (x *explainer) early(client string, returned int, call string, entry Place) {
	a, ok := x.answerTo(client, 0, returned)
	if !ok {
		return
	}
	message := x.run.Events[a.event].Message
	answered := slices.IndexFunc(x.run.Events, func(e Event) bool { return e.Kind == Sent && e.Message == message })
	if answered < 0 {
		return
	}
	t := newTracker(x.run)
	for i := range answered {
		t.next(i)
	}
	leader := x.run.Events[answered].Lane
	holders := map[int]int{leader: answered}
	for _, lane := range x.run.group(leader) {
		if have, ok := t.servers[lane].holds(entry.Index); ok && have.Term == entry.Term || t.servers[lane].snap >= entry.Index {
			holders[lane] = answered
		}
	}
	if needed := x.run.majority(leader); len(holders) < needed && x.run.understood() {
		x.step(answered, "%s answers %s, whose entry is at index %d of term %d. As far as messages show, this entry is in the logs of %s, and a majority is %d servers. An entry that is not committed can be lost.",
			x.name(leader), call, entry.Index, entry.Term, x.names(holders), needed)
	}
}

// refusing recognizes an answer that tells a client to try again.
var refusing = regexp.MustCompile(`(?i)wrong|not (the )?leader|notleader|maybe|timeout|arriving`)

// alone says that a server of Raft heard of no other server between a request and the answer
// that arrived at an event. Such an answer rests on no majority.
func (x *explainer) alone(answer int) string {
	e := &x.run.Events[answer]
	if refusing.MatchString(e.Text) {
		return "" // a refusal needs no majority
	}
	others, sent := x.run.group(e.Peer), false
	hears := func(at Event) bool {
		return at.Lane == e.Peer && at.Kind == Delivered && slices.Contains(others, at.Peer)
	}
	if !slices.ContainsFunc(x.run.Events, hears) {
		return "" // no server of Raft
	}
	for i := answer - 1; i >= 0; i-- {
		at := &x.run.Events[i]
		switch {
		case at.Lane != e.Peer:
		case at.Kind == Sent && at.Message == e.Message:
			sent = true
		case sent && hears(*at):
			return ""
		case sent && at.Kind == Delivered && at.Call == e.Call:
			return ", which heard of no other server between the request and this answer"
		}
	}
	return ""
}

// unanswered says that an operation returned without an answer of any server, though its client
// had sent requests.
func (x *explainer) unanswered(returned int) string {
	lane := x.run.Events[returned].Lane
	if x.run.Events[returned].Kind != Returned || !x.isClient(lane) {
		return ""
	}
	asked := 0
	for i := returned - 1; i >= 0; i-- {
		e := &x.run.Events[i]
		switch {
		case e.Lane != lane:
		case e.Kind == Delivered && e.Reply, e.Kind == Returned:
			return ""
		case e.Kind == Sent && !e.Reply:
			asked++
		case e.Kind == Called && asked > 0:
			return fmt.Sprintf(", though no server has answered since the call (requests: %d)", asked)
		case e.Kind == Called:
			return ""
		}
	}
	return ""
}

// inLogs shows the operations with more than one entry.
func (x *explainer) inLogs(operations []Operation) {
	for _, l := range Lives(x.run) {
		call := &x.run.Events[l.Steps[0].Event]
		if call.Kind != Called || !slices.ContainsFunc(operations, func(o Operation) bool { return o.Client == l.Client && o.Call == call.Time }) {
			continue
		}
		for _, s := range l.Steps {
			if x.run.Events[s.Event].Kind == Returned && len(l.Entries) > 0 {
				x.early(l.Client, s.Event, call.Text, l.Entries[0])
			}
		}
		if n := len(l.Entries); n > 1 {
			first, again := l.Entries[0], l.Entries[n-1] // perhaps of two groups
			where := make([]string, 0, n)
			for _, p := range l.Entries {
				where = append(where, fmt.Sprint(p.Index))
			}
			all := ""
			if n > 2 {
				all = fmt.Sprintf(" Its entries were put at the indexes %s.", strings.Join(where, ", "))
			}
			x.step(again.First, "%s has %s in its log again, at index %d of term %d. %s had the same operation at index %d of term %d, and it may take effect once.%s%s",
				x.name(x.run.Events[again.First].Lane), call.Text, again.Index, again.Term, x.name(x.run.Events[first.First].Lane), first.Index, first.Term, all, x.run.asLogged(first, again))
		}
	}
}

// asLogged quotes the entries of a command. A server recognizes a repetition by what an entry says.
func (r *Recording) asLogged(first, again Place) string {
	one, other := r.logged(first), r.logged(again)
	switch {
	case other == "":
		return ""
	case one == "" || one == other:
		return fmt.Sprintf(" The entry is {%s}. A server must recognize the repetition from that.", other)
	}
	return fmt.Sprintf(" The entries differ: {%s} and {%s}. If each try has another number, no server can recognize the repetition: a clerk numbers an operation once.", one, other)
}

// logged returns the command of an entry, or "" if no AppendEntries shows the entry first.
func (r *Recording) logged(p Place) string {
	e := &r.Events[p.First]
	k := p.Index - 1 - e.Fields[FieldPrevLogIndex]
	if _, appends := e.field(FieldPrevLogIndex); !appends || k < 0 || k >= len(e.Entries) {
		return ""
	}
	return e.Entries[k].Command
}

// operation shows the return of an operation, and also the call if wanted.
func (x *explainer) operation(o Operation, call bool) {
	for i := x.at(o.Call - 1); i < len(x.run.Events); i++ {
		e := &x.run.Events[i]
		if e.Lane < 0 || x.run.Lanes[e.Lane].Name != o.Client {
			continue
		}
		if e.Kind == Called && e.Time == o.Call && (call || o.Return < 0) {
			x.step(i, "%s calls %s.", o.Client, x.run.Events[i].Text)
		}
		if e.Kind == Returned && e.Time == o.Return {
			by := ""
			if a, ok := x.answerTo(o.Client, x.at(o.Call-1), x.at(o.Return)); ok {
				by = " from " + x.name(x.run.Events[a.event].Peer) + x.alone(a.event)
			}
			x.step(i, "%s gets the result of %s%s%s.", o.Client, o.Text, by, x.unanswered(i))
			return
		}
	}
}
