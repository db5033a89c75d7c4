package trace

import (
	"fmt"
	"strings"
)

// recentCampaigns bounds the elections in an explanation.
const recentCampaigns = 6

// elections shows the last elections and why nobody won them.
func (x *explainer) elections() {
	all := campaigns(x.run)
	needed := x.run.servers()/2 + 1
	if len(all) == 0 {
		x.f.Text += ". No server asked for votes during the recording"
		return
	}
	for _, c := range all[max(0, len(all)-recentCampaigns):] {
		var refused, silent []string
		for lane, l := range x.run.Lanes {
			_, yes := c.got[lane]
			_, no := c.refused[lane]
			switch {
			case l.Kind != Server || lane == c.candidate || yes:
			case no:
				refused = append(refused, l.Name)
			case c.reached[lane]:
				silent = append(silent, l.Name+" (its answer did not arrive)")
			default:
				silent = append(silent, l.Name+" (not reached)")
			}
		}
		text := fmt.Sprintf("%s asks for votes in term %d and gets %d of the %d needed, with its own", x.name(c.candidate), c.term, 1+len(c.got), needed)
		if len(refused) > 0 {
			text += "; refused by " + strings.Join(refused, ", ")
		}
		if len(silent) > 0 {
			text += "; no answer from " + strings.Join(silent, ", ")
		}
		if c.leads >= 0 {
			text += "; it leads"
		}
		x.step(c.asked, "%s.", text)
	}
	x.f.Text += x.strays(all)
}

// strays describes an election with enough votes whose candidate does not lead.
func (x *explainer) strays(all []*campaign) string {
	needed := x.run.servers()/2 + 1
	for k := len(all) - 1; k >= 0; k-- {
		if c := all[k]; 1+len(c.got) >= needed && c.leads < 0 {
			return fmt.Sprintf(". %s had enough votes in term %d and did not lead", x.name(c.candidate), c.term)
		}
	}
	return ""
}

// agreement shows how far a command got.
func (x *explainer) agreement() {
	var proposed []int
	for i, e := range x.run.Events {
		if e.Kind == Proposed && (x.b.Index == 0 && e.Text == x.b.After || x.b.Index > 0 && e.Index == x.b.Index) {
			proposed = append(proposed, i)
		}
	}
	if len(proposed) == 0 {
		x.f.Text += ". No server accepted the command as leader"
		x.elections()
		return
	}
	last := proposed[len(proposed)-1]
	p := x.run.Events[last]
	x.step(last, "%s accepts %s as leader of term %d, at index %d.", x.name(p.Lane), p.Text, p.Term, p.Index)
	t := newTracker(x.run)
	for i := range x.run.Events {
		t.next(i)
	}
	var holders, others []string
	for lane, s := range t.servers {
		if x.run.Lanes[lane].Kind != Server {
			continue
		}
		if have, ok := s.log[p.Index]; ok && have.Term == p.Term || s.snap >= p.Index {
			holders = append(holders, x.name(lane))
		} else {
			others = append(others, x.name(lane))
			x.lastExchange(last, p, lane)
		}
	}
	x.f.Text += fmt.Sprintf(". As far as messages show, index %d of term %d is in the logs of %s", p.Index, p.Term, orNobody(holders))
	if len(others) > 0 {
		x.f.Text += ", and not of " + strings.Join(others, ", ")
	}
	if commit := t.servers[p.Lane].commit; commit >= 0 {
		x.f.Text += fmt.Sprintf("; %s has told a commitIndex of %d", x.name(p.Lane), commit)
	}
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// lastExchange shows the last AppendEntries from the leader to a follower, and its answer.
func (x *explainer) lastExchange(from int, p Event, follower int) {
	request, fate := -1, -1
	for i := from; i < len(x.run.Events); i++ {
		e := &x.run.Events[i]
		_, entries := e.field(FieldPrevLogIndex)
		switch {
		case e.Kind == Sent && !e.Reply && entries && e.Lane == p.Lane && e.Peer == follower:
			if request >= 0 && fate >= 0 && i > from {
				continue // the first complete exchange tells enough
			}
			request, fate = i, -1
		case request >= 0 && fate < 0 && e.Call == x.run.Events[request].Call && (e.Kind == Lost || e.Kind == Delivered && e.Reply):
			fate = i
		}
	}
	if request < 0 {
		x.step(from, "After this, %s sends no AppendEntries to %s.", x.name(p.Lane), x.name(follower))
		return
	}
	x.step(request, "%s sends %s to %s: %s.", x.name(p.Lane), x.run.Events[request].Name, x.name(follower), x.run.Events[request].Text)
	if fate < 0 {
		x.step(request, "No answer of %s arrives.", x.name(follower))
		return
	}
	x.step(fate, "%s.", x.run.Words(fate))
}
