package models

import (
	"fmt"
	"slices"

	"raftlab/porcupine"
)

// A ListOp is an operation of [ListAppend].
type ListOp uint8

// The operations of ListAppend.
const (
	ListRead ListOp = iota // answers the whole list
	ListAdd                // adds an element at the end
)

// ListInput is the input of an operation of [ListAppend].
type ListInput struct {
	Op      ListOp
	Key     string // which list; each begins empty
	Element string // of an add
}

// ListOutput is the output of an operation of [ListAppend]. It is not
// comparable; the checker does not need it to be.
type ListOutput struct {
	Elements []string // of a read
}

// ListAppend is a set of lists that are appended to and read whole. As a read tells the order
// of all appends before it, a violation cannot hide long: with
// elements that differ, it is the strictest of workloads. Inputs are ListInput, outputs ListOutput.
var ListAppend = newListAppend()

func newListAppend() porcupine.Model {
	m := listModel()
	m.Step = func(state, input, output any) (bool, any) {
		list, in := state.([]string), input.(ListInput)
		if in.Op == ListAdd {
			return true, appended(list, in.Element)
		}
		return in.Op == ListRead && slices.Equal(output.(ListOutput).Elements, list), list
	}
	m.StepPending = func(state, input any) []any {
		if in := input.(ListInput); in.Op == ListAdd {
			return []any{appended(state.([]string), in.Element)}
		}
		return nil
	}
	m.DescribeOperation = func(input, output any) string {
		in := input.(ListInput)
		switch in.Op {
		case ListAdd:
			return fmt.Sprintf("append(%q, %q)%s", in.Key, in.Element, answer[ListOutput](output, nil))
		case ListRead:
			return fmt.Sprintf("read(%q)%s", in.Key, answer(output, func(o ListOutput) string { return fmt.Sprintf("%q", o.Elements) }))
		}
		return unknownOp(uint8(in.Op))
	}
	m.Partition, m.PartitionEvent = byKey(func(input any) string { return input.(ListInput).Key })
	return m
}
