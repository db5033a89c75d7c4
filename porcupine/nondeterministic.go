package porcupine

import (
	"context"
	"fmt"
	"strings"
)

// A NondeterministicModel is a sequential specification in which one input and output may lead to
// several states. [NondeterministicModel.ToModel] turns it into a [Model]. Fields with equal names
// have equal meanings.
type NondeterministicModel struct {
	// Partition splits a history of operations (see [Model]).
	Partition func(history []Operation) [][]Operation
	// PartitionEvent splits a history of events.
	PartitionEvent func(history []Event) [][]Event
	// Init returns the possible initial states.
	Init func() []any
	// Step returns every state that may follow when the system answers input by output in the given
	// state, and none if the answer is not allowed.
	Step func(state, input, output any) []any
	// StepContext, if set, replaces Step. The context ends when the answer is no longer needed.
	StepContext func(ctx context.Context, state, input, output any) []any
	// Equal says whether two states are equal (see [Model]).
	Equal func(state1, state2 any) bool
	// Hash returns a hash of a state. Equal states must have equal hashes.
	Hash func(state any) uint64
	// DescribeOperation returns an operation as text.
	DescribeOperation func(input, output any) string
	// DescribeState returns a state as text.
	DescribeState func(state any) string
	// DescribeOperationMetadata returns an operation's metadata as text.
	DescribeOperationMetadata func(info any) string
	// StepPending returns every state that may follow when a pending input takes effect in the
	// given state. StepPending is optional (see [Model]).
	StepPending func(state, input any) []any
	_           struct{} // forbids positional literals, so that fields can be added
}

// ToModel returns the power set construction of the model. A state of the result is the set of
// possible states, as a []any without two equal elements. ToModel panics without Init, or without
// both Step and StepContext.
func (nm *NondeterministicModel) ToModel() Model {
	if nm.Init == nil {
		panic("porcupine: a NondeterministicModel must define Init")
	}
	if nm.Step == nil && nm.StepContext == nil {
		panic("porcupine: a NondeterministicModel must define Step or StepContext")
	}
	set := powerSet{one: Model{Equal: nm.Equal}, model: *nm}
	m := Model{
		Partition:      nm.Partition,
		PartitionEvent: nm.PartitionEvent,
		Init:           func() any { return set.unique(nm.Init()) },
		Step: func(state, input, output any) (bool, any) {
			return set.step(context.Background(), state, input, output)
		},
		StepContext:               set.step,
		Equal:                     set.equal,
		DescribeOperation:         nm.DescribeOperation,
		DescribeState:             set.describe,
		DescribeOperationMetadata: nm.DescribeOperationMetadata,
	}
	if nm.Hash != nil {
		m.Hash = set.hash
	}
	if nm.StepPending != nil {
		m.StepPending = set.stepPending
	}
	m.describeDefaults()
	return m
}

// powerSet steps sets of states of a nondeterministic model.
type powerSet struct {
	one   Model // compares single states
	model NondeterministicModel
}

func (p *powerSet) contains(set []any, state any) bool {
	for _, s := range set {
		if p.one.equalStates(s, state) {
			return true
		}
	}
	return false
}

func (p *powerSet) unique(states []any) []any {
	var set []any
	for _, s := range states {
		if !p.contains(set, s) {
			set = append(set, s)
		}
	}
	return set
}

func (p *powerSet) step(ctx context.Context, state, input, output any) (bool, any) {
	var next []any
	for _, s := range state.([]any) {
		if ctx.Err() != nil {
			return false, nil
		}
		if p.model.StepContext != nil {
			next = append(next, p.model.StepContext(ctx, s, input, output)...)
		} else {
			next = append(next, p.model.Step(s, input, output)...)
		}
	}
	if ctx.Err() != nil {
		return false, nil
	}
	next = p.unique(next)
	return len(next) > 0, next
}

// stepPending returns one set, which is the union of the states after any output, because the
// output is unknown.
func (p *powerSet) stepPending(state, input any) []any {
	var next []any
	for _, s := range state.([]any) {
		next = append(next, p.model.StepPending(s, input)...)
	}
	if len(next) == 0 {
		return nil
	}
	return []any{p.unique(next)}
}

// equal compares two sets without repeated elements. Equal sizes and inclusion in one direction are
// enough.
func (p *powerSet) equal(state1, state2 any) bool {
	set1, set2 := state1.([]any), state2.([]any)
	if len(set1) != len(set2) {
		return false
	}
	for _, s := range set1 {
		if !p.contains(set2, s) {
			return false
		}
	}
	return true
}

// hash adds the hashes, because a set has no order.
func (p *powerSet) hash(state any) uint64 {
	var sum uint64
	for _, s := range state.([]any) {
		sum += p.model.Hash(s) * 0x9e3779b97f4a7c15
	}
	return sum
}

func (p *powerSet) describe(state any) string {
	var texts []string
	for _, s := range state.([]any) {
		if p.model.DescribeState != nil {
			texts = append(texts, p.model.DescribeState(s))
		} else {
			texts = append(texts, fmt.Sprintf("%v", s))
		}
	}
	return "{" + strings.Join(texts, ", ") + "}"
}
