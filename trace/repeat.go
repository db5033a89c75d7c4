package trace

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of repeated requests in an explanation. A request is repeated if it is sent so many
// times with the same answer.
const (
	repeatedOften   = 20
	repeatedSome    = 3
	repeatedSteps   = 4
	repeatedLately  = 2 * time.Second
	longPoll        = 100 * time.Millisecond // an answer after more time is no refusal
	consultedSteps  = 4
	configuredSteps = 6
)

// A question is a request of a client or of a group's servers, with its answer.
type question struct{ from, name, text, answer string }

// A repetition is a question that was asked again and again.
type repetition struct {
	question
	to          string
	count, last int // last is the event of the newest answer
	first       time.Duration
	waited      time.Duration // for all answers together
	client      bool
}

// asks counts the questions of clients and servers from an event on, without the messages of Raft.
func (x *explainer) asks(from int) map[question]*repetition {
	all, requests := make(map[question]*repetition), make(map[uint64]*Event)
	for i := from; i < x.end(); i++ {
		e := &x.run.Events[i]
		if e.Kind > Delivered || x.run.RPC(e.Name) != "" || e.Lane < 0 {
			continue
		}
		if !e.Reply {
			requests[e.Call] = e
			continue
		}
		asked := requests[e.Call]
		if e.Kind != Delivered || asked == nil {
			continue
		}
		client := x.isClient(e.Lane)
		q := question{x.groupName(e.Lane), e.Name, asked.Text, e.Text}
		r := all[q]
		if r == nil {
			r = &repetition{question: q, first: e.Time, client: client}
			all[q] = r
		}
		r.count, r.last, r.to = r.count+1, i, x.name(e.Peer)
		r.waited += e.Time - asked.Time
	}
	return all
}

// groupName names the group of a server, or a client or a lone server.
func (x *explainer) groupName(lane int) string {
	if name := x.name(lane); !x.isClient(lane) && len(x.run.group(lane)) > 1 {
		return "the group of " + name[:len(strings.TrimRight(name, "0123456789"))] + "0"
	}
	return x.name(lane)
}

// repeats adds the questions that were asked at least so many times from an event on, those of
// clients first. repeats returns their number.
func (x *explainer) repeats(from, least int) int {
	var often []*repetition
	for _, r := range x.asks(from) {
		if r.count >= least && r.waited < time.Duration(r.count)*longPoll {
			often = append(often, r)
		}
	}
	slices.SortFunc(often, func(a, b *repetition) int {
		switch {
		case a.client && !b.client:
			return -1
		case b.client && !a.client:
			return 1
		}
		return cmp.Or(b.count-a.count, a.last-b.last)
	})
	for _, r := range often[:min(len(often), repeatedSteps)] {
		span := (x.run.Events[r.last].Time - r.first).Round(time.Millisecond)
		x.step(r.last, "%s has asked this %d times in the last %v: %s {%s}. The answer is always: %s. Here %s answers.", r.from, r.count, span, r.name, r.text, r.answer, r.to)
	}
	return len(often)
}

// endless explains a test without an end, if no server is silent and requests are repeated and
// refused. endless reports false for a deadlock.
func (x *explainer) endless() bool {
	const recent = 4
	from := x.end() - x.end()/recent
	heard, sent := make(map[int]bool), make(map[int]bool)
	down := make(map[int]bool)
	for i, e := range x.run.Events[:x.end()] {
		switch {
		case e.Kind == Crashed:
			down[e.Lane] = true
		case e.Kind == Restarted:
			delete(down, e.Lane)
		case i < from || e.Lane < 0 || x.isClient(e.Lane):
		case e.Kind == Delivered:
			heard[e.Lane] = true
		case e.Kind == Sent:
			sent[e.Lane] = true
		}
	}
	for lane := range heard {
		if !sent[lane] && !down[lane] {
			return false
		}
	}
	if !strings.Contains(x.b.Text, "did not end within") || x.repeats(from, repeatedOften) == 0 {
		return false
	}
	x.f.Title, x.f.Words, x.f.Place = "A request is refused without end", AnswerInTime.Words(), AnswerInTime.Place()
	x.f.Waits = nil
	x.says("All servers still answer, so no server is blocked. The steps are requests that were repeated until the end, and never got another answer")
	return true
}

var (
	dead        = regexp.MustCompile(`(?i)\bdead\b|\bdown\b|\bkilled\b`)
	waiting     = regexp.MustCompile(`(?i)holds? up|not done within|in vain`)
	configuring = regexp.MustCompile(`(?i)\bconfigurations?\b`)
	configured  = regexp.MustCompile(`^configuration (\d+) `)
)

// surroundings adds the servers without a process, the refusals of repeated requests and the
// configuration of each group, if the message is about them. surroundings returns the number of
// repeated requests.
func (x *explainer) surroundings(message string) (refused int) {
	if dead.MatchString(message) {
		x.downNow()
	}
	if waiting.MatchString(message) {
		now := x.run.Events[x.end()-1].Time
		refused = x.repeats(x.at(now-repeatedLately), repeatedSome)
	}
	if configuring.MatchString(message) {
		x.configurations()
	}
	return refused
}

// downNow shows the crashes of the servers that are down.
func (x *explainer) downNow() {
	crashed := make(map[int]int)
	for i, e := range x.run.Events[:x.end()] {
		switch e.Kind {
		case Crashed:
			crashed[e.Lane] = i
		case Restarted:
			delete(crashed, e.Lane)
		}
	}
	for _, lane := range sortedLanes(crashed) {
		x.step(crashed[lane], "%s crashes, and is down from here on.", x.name(lane))
	}
}

// configurations shows the newest configuration in the log of each group.
func (x *explainer) configurations() {
	newest := make(map[string]Step)
	var groups []string
	for i, e := range x.run.Events[:x.end()] {
		for _, entry := range e.Entries {
			if e.Kind != Sent || !configured.MatchString(entry.Command) {
				continue
			}
			group := x.groupName(e.Lane)
			text := fmt.Sprintf("The newest in the log of %s is %s.", group, entry.Command)
			if newest[group].Text == text {
				continue
			}
			if _, known := newest[group]; !known {
				groups = append(groups, group)
			}
			newest[group] = Step{i, text}
		}
	}
	for _, group := range groups[:min(len(groups), configuredSteps)] {
		x.f.Steps = append(x.f.Steps, newest[group])
	}
}

// numbered recognizes a configuration with all its shards, in an answer or in the message of a test.
var numbered = regexp.MustCompile(`Num:(\d+) Shards:\[([\d ]+)\]`)

// A placed is the groups of a configuration's shards, as an event shows them first.
type placed struct {
	event  int
	groups []string
}

// ofConfiguration recognizes the number of a configuration in the message of a test.
var ofConfiguration = regexp.MustCompile(`(?i)\bconfiguration (\d+)\b`)

// reconfigured shows how the configuration that the message names, or else the newest one, differs
// from the one before, if the message is about configurations and servers have told both.
func (x *explainer) reconfigured(message string) (shown bool) {
	if !configuring.MatchString(message) && !numbered.MatchString(message) {
		return false
	}
	told, newest := make(map[int]placed), 0
	for i, e := range x.run.Events[:x.end()] {
		if e.Kind != Sent || !e.Reply || x.run.RPC(e.Name) != "" {
			continue
		}
		for _, m := range numbered.FindAllStringSubmatch(e.Text, -1) {
			n, err := strconv.Atoi(m[1])
			if _, known := told[n]; err != nil || known {
				continue
			}
			told[n], newest = placed{i, strings.Fields(m[2])}, max(newest, n)
		}
	}
	if m := ofConfiguration.FindStringSubmatch(message); m != nil {
		newest, _ = strconv.Atoi(m[1])
	}
	before, now := told[newest-1], told[newest]
	if len(now.groups) == 0 || len(before.groups) != len(now.groups) {
		return false
	}
	var moved []string
	for shard, group := range now.groups {
		if old := before.groups[shard]; old != group {
			moved = append(moved, fmt.Sprintf("shard %d from group %s to %s", shard, old, group))
		}
	}
	what := "no shard"
	if len(moved) > 0 {
		what = strings.Join(moved, ", ")
	}
	x.step(max(before.event, now.event), "From configuration %d to %d moves: %s. All shards before: %v. All shards after: %v.", newest-1, newest, what, before.groups, now.groups)
	return true
}

// consulted shows the questions of a server to others between a request and the answer at an event,
// such as the votes in a transaction.
func (x *explainer) consulted(answer int) {
	e := &x.run.Events[answer]
	var steps []Step
	requests := make(map[uint64]string)
	arrived := -1
	for i := range answer {
		at := &x.run.Events[i]
		switch {
		case at.Lane != e.Peer || at.Kind > Delivered || x.run.RPC(at.Name) != "":
		case at.Kind == Delivered && at.Call == e.Call:
			arrived = i
		case at.Kind == Sent && !at.Reply && arrived >= 0:
			requests[at.Call] = at.Text
		case at.Kind == Delivered && at.Reply && requests[at.Call] != "":
			steps = append(steps, Step{i, fmt.Sprintf("Before its answer, %s asks %s: %s {%s}, and gets: %s.", x.name(e.Peer), x.name(at.Peer), at.Name, requests[at.Call], at.Text)})
		}
	}
	x.f.Steps = append(x.f.Steps, steps[max(0, len(steps)-consultedSteps):]...)
}
