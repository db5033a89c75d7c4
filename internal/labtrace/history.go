package labtrace

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"raftlab/porcupine"
	"raftlab/trace"
)

// checkTime bounds the check of a failed test's history.
const checkTime = 3 * time.Second

// AddHistory adds the operations of a history to a recording. If the history is not
// linearizable, AddHistory adds the breach. Times of the history count from offset.
func AddHistory(run *trace.Recording, model porcupine.Model, history []porcupine.Operation, offset time.Duration, lane func(client int) string) {
	slices.SortStableFunc(run.Events, func(a, b trace.Event) int { return cmp.Compare(a.Time, b.Time) })
	first := firstTime(run)
	var events []placed
	for _, o := range history {
		text := describeOperation(model, o)
		at := offset + time.Duration(o.Call)
		if run.Omitted > 0 && at < first {
			continue
		}
		l := laneOf(run, lane(o.ClientId))
		call, _, _ := strings.Cut(text, " -> ")
		events = append(events, place(run, trace.Event{Time: at, Kind: trace.Called, Lane: l, Text: clip(call, maxText)}))
		if o.Return != porcupine.Pending {
			events = append(events, place(run, trace.Event{Time: offset + time.Duration(o.Return), Kind: trace.Returned, Lane: l, Text: clip(text, maxText)}))
		}
	}
	slices.SortStableFunc(events, func(a, b placed) int { return cmp.Or(cmp.Compare(a.before, b.before), cmp.Compare(a.Time, b.Time)) })
	merged := make([]trace.Event, 0, len(run.Events)+len(events))
	for i := 0; i <= len(run.Events); i++ {
		for ; len(events) > 0 && events[0].before == i; events = events[1:] {
			merged = append(merged, events[0].Event)
		}
		if i < len(run.Events) {
			merged = append(merged, run.Events[i])
		}
	}
	run.Events = merged
	if b, broken := checkHistory(model, history, offset, lane); broken {
		b.Time = run.Events[len(run.Events)-1].Time
		run.Breaches = append([]trace.Breach{b}, run.Breaches...)
	}
}

// A placed event has its place among the events of a recording.
type placed struct {
	trace.Event
	before int // the next event of the recording
}

// place finds the place of the beginning or the end of an operation. Time alone does not
// tell, because time is virtual. A call is before the requests of the client's lane at the
// same time, and a return is after the messages that arrive at the lane.
func place(run *trace.Recording, e trace.Event) placed {
	from := sort.Search(len(run.Events), func(i int) bool { return run.Events[i].Time >= e.Time })
	to := from
	for ; to < len(run.Events) && run.Events[to].Time == e.Time; to++ {
		other := run.Events[to]
		if other.Lane != e.Lane {
			continue
		}
		if e.Kind == trace.Called && other.Kind == trace.Sent {
			break
		}
		if e.Kind == trace.Returned && other.Kind == trace.Delivered {
			from = to + 1
		}
	}
	if e.Kind == trace.Returned {
		return placed{e, from}
	}
	return placed{e, to}
}

func firstTime(run *trace.Recording) time.Duration {
	if len(run.Events) == 0 {
		return 0
	}
	return run.Events[0].Time
}

func describeOperation(model porcupine.Model, o porcupine.Operation) string {
	if model.DescribeOperation == nil {
		return words(o.Input)
	}
	return model.DescribeOperation(o.Input, o.Output)
}

// laneOf returns the lane of a client, and adds a new one at the end.
func laneOf(run *trace.Recording, name string) int {
	for i, l := range run.Lanes {
		if l.Name == name {
			return i
		}
	}
	run.Lanes = append(run.Lanes, trace.Lane{Name: name, Kind: trace.Client})
	return len(run.Lanes) - 1
}

// checkHistory looks for a small part of a history that is not linearizable.
func checkHistory(model porcupine.Model, history []porcupine.Operation, offset time.Duration, lane func(client int) string) (trace.Breach, bool) {
	result, info := porcupine.CheckOperationsVerbose(model, history, checkTime)
	if result != porcupine.Illegal {
		return trace.Breach{}, false
	}
	all := porcupine.Explain(model, info)
	if len(all) == 0 {
		return trace.Breach{}, false
	}
	x := all[0]
	describe := func(o porcupine.Operation) trace.Operation {
		op := trace.Operation{Client: lane(o.ClientId), Text: clip(describeOperation(model, o), maxText), Call: offset + time.Duration(o.Call), Return: -1}
		if o.Return != porcupine.Pending {
			op.Return = offset + time.Duration(o.Return)
		}
		return op
	}
	b := trace.Breach{Rule: trace.Linearizable, Text: x.Reason}
	for _, o := range x.Operations(info) {
		op := describe(o)
		// The page has the clients' lanes and its own clock.
		b.Text = strings.Replace(b.Text, fmt.Sprintf(" by client %d, from %d to %d,", o.ClientId, o.Call, o.Return),
			fmt.Sprintf(" by %s, from %v to %v,", op.Client, op.Call.Round(time.Microsecond), op.Return.Round(time.Microsecond)), 1)
		b.Operations = append(b.Operations, op)
	}
	for _, o := range x.Earlier(info) {
		b.Earlier = append(b.Earlier, describe(o))
	}
	return b, true
}
