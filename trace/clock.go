package trace

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Clocks returns the vector clock of each event, with an element for each lane. An event
// of the network counts on no lane, and its clock is nil.
//
// Events of a lane follow each other, and the delivery of a message follows its sending.
func (r *Recording) Clocks() [][]uint32 {
	now := make([][]uint32, len(r.Lanes))
	for i := range now {
		now[i] = make([]uint32, len(r.Lanes))
	}
	sent := make(map[uint64][]uint32)
	clocks := make([][]uint32, len(r.Events))
	for i, e := range r.Events {
		if e.Lane < 0 || e.Kind == Lost {
			continue
		}
		clock := now[e.Lane]
		if e.Kind == Delivered {
			for k, n := range sent[e.Message] {
				clock[k] = max(clock[k], n)
			}
		}
		clock[e.Lane]++
		clocks[i] = append([]uint32(nil), clock...)
		if e.Kind == Sent {
			sent[e.Message] = clocks[i]
		}
	}
	return clocks
}

// ShiVizPattern lets ShiViz read the output of [WriteShiViz].
const ShiVizPattern = `(?<host>\S*) (?<clock>{.*})\n(?<event>.*)`

// WriteShiViz writes the recording for ShiViz (bestchai.bitbucket.io/shiviz). Each event
// has a line with its lane and its vector clock, and a line of words. Events of the network
// and lost messages are left out, because they belong to no lane.
func WriteShiViz(w io.Writer, r *Recording) error {
	out := bufio.NewWriter(w)
	name := func(i int) string { return strings.ReplaceAll(r.lane(i), " ", "-") }
	for i, clock := range r.Clocks() {
		if clock == nil {
			continue
		}
		fmt.Fprintf(out, "%s {", name(r.Events[i].Lane))
		sep := ""
		for k, n := range clock {
			if n > 0 {
				fmt.Fprintf(out, "%s%q:%d", sep, name(k), n)
				sep = ", "
			}
		}
		fmt.Fprintf(out, "}\n%s\n", strings.ReplaceAll(r.Words(i), "\n", " "))
	}
	return out.Flush()
}

// Words describes event i.
func (r *Recording) Words(i int) string {
	e := &r.Events[i]
	what := e.Name
	if e.Reply {
		what += " reply"
	}
	switch e.Kind {
	case Sent:
		return fmt.Sprintf("%v sends %s to %s: %s", r.lane(e.Lane), what, r.lane(e.Peer), e.Text)
	case Delivered:
		return fmt.Sprintf("%v receives %s of %s: %s", r.lane(e.Lane), what, r.lane(e.Peer), e.Text)
	case Lost:
		return fmt.Sprintf("%s of %s does not arrive at %s: %s", what, r.lane(e.Peer), r.lane(e.Lane), e.Text)
	case Role:
		role := "does not lead"
		if e.Leads {
			role = "leads"
		}
		return fmt.Sprintf("%s says that it %s, in term %d", r.lane(e.Lane), role, e.Term)
	case Proposed:
		return fmt.Sprintf("%s accepts the command %s at index %d in term %d", r.lane(e.Lane), e.Text, e.Index, e.Term)
	case Applied:
		return fmt.Sprintf("%s applies index %d: %s", r.lane(e.Lane), e.Index, e.Text)
	case Snapshot:
		return fmt.Sprintf("%s %s up to index %d", r.lane(e.Lane), e.Text, e.Index)
	case Crashed, Restarted:
		return fmt.Sprintf("%s %s", r.lane(e.Lane), map[Kind]string{Crashed: "crashes", Restarted: "starts"}[e.Kind])
	case Called:
		return fmt.Sprintf("%s calls %s", r.lane(e.Lane), e.Text)
	case Returned:
		return fmt.Sprintf("%s gets the result of %s", r.lane(e.Lane), e.Text)
	}
	if e.Lane == NoLane {
		return e.Text
	}
	return fmt.Sprintf("%s: %s", r.lane(e.Lane), e.Text)
}
