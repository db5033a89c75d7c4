package trace

import (
	"fmt"
	"slices"
	"strings"
)

// asksForVote reports whether an event is a request for a vote in a term, and no pre-vote.
func asksForVote(e *Event, term int) bool {
	t, ok := e.field(FieldTerm)
	_, asks := e.field(FieldLastLogIndex)
	return ok && asks && !e.Reply && t == term && !e.is(FieldPreVote)
}

// leadsBy reports whether an event is a sent message that only a leader sends in a term.
func leadsBy(e *Event, term int) bool {
	t, ok := e.field(FieldTerm)
	_, entries := e.field(FieldPrevLogIndex)
	_, snapshot := e.field(FieldLastIndex)
	return e.Kind == Sent && !e.Reply && ok && t == term && (entries || snapshot)
}

// A campaign is the election of a candidate in a term, or the round of pre-votes before.
type campaign struct {
	term, candidate int
	pre             bool
	asked           int            // the first request
	leads           int            // the first sign of leadership, or -1
	sent            map[int]int    // the voters that granted a vote, and the event
	got             map[int]int    // the votes that arrived, and the event
	refused         map[int]int    // the refusals that arrived
	why             map[int]string // the reason of each refusal, as far as the messages show
	fate            map[int]string // the newest news of the request to a voter, or of the answer
	reached         bool           // a request arrived
}

// campaigns returns the elections of a run by the time of the first request.
func campaigns(run *Recording) []*campaign { return elections(run, false) }

// elections returns the elections, or the rounds of pre-votes.
func elections(run *Recording, pre bool) []*campaign {
	type key struct{ term, lane int }
	found := make(map[key]*campaign)
	byCall := make(map[uint64]*campaign)
	t := newTracker(run)
	var all []*campaign
	for i := range run.Events {
		e := &run.Events[i]
		term, ok := e.field(FieldTerm)
		if _, asks := e.field(FieldLastLogIndex); ok && asks && !e.Reply && e.Kind == Sent && e.is(FieldPreVote) == pre {
			c := found[key{term, e.Lane}]
			if c == nil {
				c = &campaign{term: term, candidate: e.Lane, pre: pre, asked: i, leads: -1, sent: map[int]int{}, got: map[int]int{}, refused: map[int]int{}, why: map[int]string{}, fate: map[int]string{}}
				found[key{term, e.Lane}] = c
				all = append(all, c)
			}
			byCall[e.Call] = c
		}
		if c := byCall[e.Call]; c != nil && e.Call != 0 {
			c.note(i, e, t)
		} else if term, leads := leadership(e); leads {
			if c := found[key{term, e.Lane}]; c != nil && c.leads < 0 {
				c.leads = i
			}
		}
		t.next(i)
	}
	return all
}

// leadership returns the term of an event that only a leader causes.
func leadership(e *Event) (term int, leads bool) {
	if t, ok := e.field(FieldTerm); ok && leadsBy(e, t) {
		return t, true
	}
	return e.Term, e.Kind == Role && e.Leads
}

// note records an event of a request for a vote or of the reply. The tracker t has not
// seen the event yet.
func (c *campaign) note(i int, e *Event, t *tracker) {
	switch granted := e.is(FieldVoteGranted); {
	case !e.Reply && e.Kind == Sent:
		c.fate[e.Peer] = "the request is on its way"
	case !e.Reply && e.Kind == Lost:
		c.fate[e.Lane] = "the request does not arrive: " + cause(e)
	case !e.Reply:
		c.reached = true
		c.fate[e.Lane] = "the request arrives, and no answer is sent"
	case e.Kind == Lost:
		c.fate[e.Peer] = "the answer does not arrive: " + cause(e)
	case e.Kind == Sent:
		c.fate[e.Lane] = "the answer is on its way"
		if granted {
			keepFirst(c.sent, e.Lane, i)
		} else if at, ok := t.request[e.Call]; ok && c.why[e.Lane] == "" {
			c.why[e.Lane] = t.refusal(&t.run.Events[at], e)
		}
	case granted:
		keepFirst(c.got, e.Peer, i)
	default:
		keepFirst(c.refused, e.Peer, i)
	}
}

// unexplained reports whether a refusal has no reason in the messages.
func (c *campaign) unexplained() bool {
	for _, why := range c.why {
		if strings.HasPrefix(why, noReason) {
			return true
		}
	}
	return false
}

// cause returns the cause of a loss, without the content of the message.
func cause(e *Event) string {
	reason, _, _ := strings.Cut(e.Text, ";")
	return reason
}

func keepFirst(m map[int]int, lane, event int) {
	if _, known := m[lane]; !known {
		m[lane] = event
	}
}

// noReason begins the text of a refusal without a reason.
const noReason = "no reason shows"

// refusal returns the reason of a refused vote, as far as the messages before the reply show.
func (t *tracker) refusal(request, reply *Event) string {
	voter, name := t.servers[reply.Lane], t.run.lane(reply.Lane)
	asked, last, lastTerm := request.Fields[FieldTerm], request.Fields[FieldLastLogIndex], request.Fields[FieldLastLogTerm]
	now := max(voter.term, reply.Fields[FieldTerm])
	end, endTerm, kept := voter.last, voter.lastTrm, ""
	if voter.doubt {
		end, endTerm, kept = voter.most, voter.log[voter.most].Term, ", if it has kept its log over the crash"
	}
	switch pre := request.is(FieldPreVote); {
	case now > asked:
		return fmt.Sprintf("%s is in term %d already", name, now)
	case endTerm > lastTerm || endTerm == lastTerm && end > last:
		return fmt.Sprintf("the log of %s ends at index %d of term %d%s, and the candidate's at index %d of term %d", name, end, endTerm, kept, last, lastTerm)
	case pre && voter.role == roleLeader:
		return fmt.Sprintf("%s leads term %d", name, voter.term)
	case pre:
		return fmt.Sprintf("%s may still hear from a leader", name)
	case voter.term == asked && voter.vote == reply.Lane:
		return fmt.Sprintf("%s has voted for itself", name)
	case voter.term == asked && voter.vote != unknown && voter.vote != request.Lane:
		return fmt.Sprintf("%s has voted for %s", name, t.run.lane(voter.vote))
	}
	text := fmt.Sprintf("%s: neither a newer term, nor a newer log, nor a vote in term %d", noReason, asked)
	if v := voter.voted; v.term > 0 {
		text += fmt.Sprintf("; the last vote of %s was for %s in term %d", name, t.run.lane(v.candidate), v.term)
	}
	return text
}

// majority returns the number of servers in a majority of a server's group.
func (r *Recording) majority(lane int) int { return len(r.group(lane))/2 + 1 }

// group returns the lanes of a server's group. The names of a group's servers differ in the
// number at the end alone. A client that speaks as a server is a group of its own.
func (r *Recording) group(lane int) []int {
	prefix := func(i int) string { return strings.TrimRight(r.lane(i), "0123456789") }
	var all []int
	for i, l := range r.Lanes {
		if l.Kind == Server && prefix(i) == prefix(lane) {
			all = append(all, i)
		}
	}
	if !slices.Contains(all, lane) {
		return []int{lane}
	}
	return all
}
