package models

import (
	"fmt"
	"slices"

	"raftlab/porcupine"
)

// A SetOp is an operation of [Set].
type SetOp uint8

// The operations of Set.
const (
	SetAdd      SetOp = iota // adds an element, answers whether the set grew
	SetRemove                // removes an element, answers whether the set shrank
	SetContains              // answers whether the set has an element
	SetRead                  // answers all elements
)

// SetInput is the input of an operation of [Set].
type SetInput struct {
	Op      SetOp
	Name    string // the name of the set
	Element string // for all operations but a read
}

// SetOutput is the output of an operation of [Set].
type SetOutput struct {
	OK       bool     // for an add, remove or contains
	Elements []string // for a read, in any order without repetition
}

// Set is a collection of named sets. Each set starts empty. Inputs are SetInput and outputs
// SetOutput. If a history has no SetRead, elements are independent and each is checked separately.
var Set = newSet()

func newSet() porcupine.Model {
	m := listModel() // sorted elements
	m.Step = func(state, input, output any) (bool, any) {
		set, in, out := state.([]string), input.(SetInput), output.(SetOutput)
		if in.Op == SetRead {
			elements := slices.Sorted(slices.Values(out.Elements))
			return slices.Equal(elements, set), set
		}
		next, ok := setStep(set, in)
		return ok == out.OK && in.Op <= SetRead, next
	}
	m.StepPending = func(state, input any) []any {
		if in := input.(SetInput); in.Op == SetAdd || in.Op == SetRemove {
			next, _ := setStep(state.([]string), in)
			return []any{next}
		}
		return nil
	}
	m.DescribeOperation = describeSet
	wholes, wholeEvents := byKey(func(input any) SetInput { return SetInput{Name: input.(SetInput).Name} })
	elements, elementEvents := byKey(func(input any) SetInput {
		return SetInput{Name: input.(SetInput).Name, Element: input.(SetInput).Element}
	})
	m.Partition = func(history []porcupine.Operation) [][]porcupine.Operation {
		if slices.ContainsFunc(history, func(o porcupine.Operation) bool { return o.Input.(SetInput).Op == SetRead }) {
			return wholes(history)
		}
		return elements(history)
	}
	m.PartitionEvent = func(history []porcupine.Event) [][]porcupine.Event {
		if slices.ContainsFunc(history, func(e porcupine.Event) bool {
			return e.Kind == porcupine.CallEvent && e.Value.(SetInput).Op == SetRead
		}) {
			return wholeEvents(history)
		}
		return elementEvents(history)
	}
	return m
}

// setStep returns the next set and the answer.
func setStep(set []string, in SetInput) ([]string, bool) {
	index, there := slices.BinarySearch(set, in.Element)
	switch {
	case in.Op == SetAdd && !there:
		return slices.Insert(slices.Clone(set), index, in.Element), true
	case in.Op == SetRemove && there:
		return slices.Delete(slices.Clone(set), index, index+1), true
	}
	return set, in.Op != SetAdd && there
}

func describeSet(input, output any) string {
	in := input.(SetInput)
	if in.Op == SetRead {
		return fmt.Sprintf("read(%q)%s", in.Name, answer(output, func(o SetOutput) string { return fmt.Sprintf("%q", o.Elements) }))
	}
	name, known := map[SetOp]string{SetAdd: "add", SetRemove: "remove", SetContains: "contains"}[in.Op]
	if !known {
		return unknownOp(uint8(in.Op))
	}
	return fmt.Sprintf("%s(%q, %q)%s", name, in.Name, in.Element, answer(output, func(o SetOutput) string { return fmt.Sprint(o.OK) }))
}
