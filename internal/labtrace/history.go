package labtrace

import (
	"cmp"
	"fmt"
	"slices"
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
	first := firstTime(run)
	var events []trace.Event
	for _, o := range history {
		text := describeOperation(model, o)
		at := offset + time.Duration(o.Call)
		if run.Omitted > 0 && at < first {
			continue
		}
		l := laneOf(run, lane(o.ClientId))
		call, _, _ := strings.Cut(text, " -> ")
		events = append(events, trace.Event{Time: at, Kind: trace.Called, Lane: l, Text: clip(call, maxText)})
		if o.Return != porcupine.Pending {
			events = append(events, trace.Event{Time: offset + time.Duration(o.Return), Kind: trace.Returned, Lane: l, Text: clip(text, maxText)})
		}
	}
	run.Events = append(run.Events, events...)
	slices.SortStableFunc(run.Events, func(a, b trace.Event) int { return cmp.Compare(a.Time, b.Time) })
	if b, broken := checkHistory(model, history, offset, lane); broken {
		b.Time = run.Events[len(run.Events)-1].Time
		run.Breaches = append([]trace.Breach{b}, run.Breaches...)
	}
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
