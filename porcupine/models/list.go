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
	ListAdd                // appends an element
)

// ListInput is the input of an operation of [ListAppend].
type ListInput struct {
	Op      ListOp
	Key     string // the name of the list
	Element string // for an add
}

// ListOutput is the output of an operation of [ListAppend]. == cannot compare outputs, and the
// checker does not need to.
type ListOutput struct {
	Elements []string // for a read
}

// ListAppend is a set of lists with append and whole reads. Each list starts empty. A read shows
// the order of all earlier appends, so a violation soon becomes visible. With different elements,
// this is the strictest workload. Inputs are ListInput and outputs ListOutput.
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
