package porcupine

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
)

// An Operation is one call by a client together with the answer.
//
// A history is a sequence of Operation or of [Event]. An Operation carries the times of its call
// and of its return. Both times may come from any clock that never runs backwards, in any unit.
//
// The interval [Call, Return] is closed, so an operation [10, 20] is concurrent with an operation
// [20, 30]. A clock that is read twice in one instant gives two equal times, and the two moments
// may have come in either order.
//
// An operation that never returned has Return set to [Pending]. Such an operation may take effect
// at any time after its call, or never.
type Operation struct {
	ClientId int   // the caller, for pictures and for Options.SequentialClients
	Input    any   // the request
	Call     int64 // the time of the call
	Output   any   // the answer
	Return   int64 // the time of the answer, or Pending if there was none
	// Metadata is shown in pictures. The check ignores it.
	Metadata any
	_        struct{} // forbids positional literals, so that fields can be added
}

// Pending is the Return time of an [Operation] that never returned.
const Pending int64 = math.MaxInt64

// An EventKind distinguishes the calls among the events from the returns.
type EventKind bool

// The two kinds of event.
const (
	CallEvent   EventKind = false
	ReturnEvent EventKind = true
)

// An Event is a call or a return. A history of events is in the order in which the events happened.
// Events have no times.
//
// A call and its return have an Id in common, and no other operation of the history has this Id. A
// call without a return is pending. The operation may then take effect at any later time, or never.
type Event struct {
	ClientId int       // the caller, for pictures and for Options.SequentialClients
	Kind     EventKind // CallEvent or ReturnEvent
	Value    any       // the input of a call, the output of a return
	Id       int       // common to a call and its return
	// Metadata is shown in pictures. The check ignores it. If both the call and the return have
	// metadata, the return's is shown.
	Metadata any
	_        struct{} // forbids positional literals, so that fields can be added
}

// A Model is a sequential specification. It defines the answers of a single copy of the system,
// used by one client at a time.
//
// A model needs Init and one of Step and StepContext. All functions must be pure. Step must return
// a new state and must not change its arguments. The checker may call the functions from several
// goroutines at once.
type Model struct {
	// Partition splits a history into parts. The history must be linearizable if and only if each
	// part is, such as the operations of one key of a key/value store. With nil the history is one
	// part. Splitting is the cheapest way to a fast check, because Init and Step can then model one
	// part alone (one key's value instead of a map).
	Partition func(history []Operation) [][]Operation
	// PartitionEvent is Partition for a history of events.
	PartitionEvent func(history []Event) [][]Event
	// Init returns the initial state.
	Init func() any
	// Step says whether the system may answer the input by the output in the given state, and
	// returns the next state. The checker also tries Step in states in which the operation cannot
	// take effect. A panic there counts as a refusal.
	Step func(state, input, output any) (bool, any)
	// StepContext, if set, replaces Step. The context ends when the answer is no longer needed (a
	// timeout, or an illegal part), so that a slow step can stop early.
	StepContext func(ctx context.Context, state, input, output any) (bool, any)
	// Equal says whether two states are equal. With nil, states are compared by ==, or by
	// [reflect.DeepEqual] if == would panic.
	Equal func(state1, state2 any) bool
	// Hash returns a hash of a state. Equal states must have equal hashes. Hash is optional and
	// saves calls of Equal.
	Hash func(state any) uint64
	// DescribeOperation returns an operation as text for pictures and explanations, for example
	// "get('x') -> 'y'".
	DescribeOperation func(input, output any) string
	// DescribeState returns a state as text.
	DescribeState func(state any) string
	// DescribeOperationMetadata returns an operation's metadata as text.
	DescribeOperationMetadata func(info any) string

	// StepPending returns every state that may follow when a pending operation takes effect in the
	// given state. The output of a pending operation is unknown.
	//
	// StepPending is optional. Without it, the checker tries Step with the output of the pending
	// operation, and with nil for an event without a return. If Step refuses that output, the
	// checker tries the outputs of the other operations of the part. This is exact for a model
	// whose next state depends on state and input alone. For other models, the checker misses only
	// effects that no recorded output shows.
	StepPending func(state, input any) []any
	// Hint, if set, tells the checker how operations read and write, or in which order they take
	// effect. A true hint makes checks faster and changes no answer. See [Hint].
	Hint *Hint
	_    struct{} // forbids positional literals, so that fields can be added
}

// withDefaults fills in the optional functions. A model without Init, or without both Step and
// StepContext, is a mistake in the program, so withDefaults panics.
func (m Model) withDefaults() Model {
	if m.Init == nil {
		panic("porcupine: a Model must define Init")
	}
	if m.Partition == nil {
		m.Partition = func(history []Operation) [][]Operation { return [][]Operation{history} }
	}
	if m.PartitionEvent == nil {
		m.PartitionEvent = func(history []Event) [][]Event { return [][]Event{history} }
	}
	m.describeDefaults()
	m.stepDefaults()
	return m
}

func (m *Model) stepDefaults() {
	step, stepContext := m.Step, m.StepContext
	switch {
	case step == nil && stepContext == nil:
		panic("porcupine: a Model must define Step or StepContext")
	case stepContext == nil:
		m.StepContext = func(_ context.Context, state, input, output any) (bool, any) {
			return step(state, input, output)
		}
	case step == nil:
		m.Step = func(state, input, output any) (bool, any) {
			return stepContext(context.Background(), state, input, output)
		}
	}
}

func (m *Model) describeDefaults() {
	if m.DescribeOperation == nil {
		m.DescribeOperation = func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) }
	}
	if m.DescribeState == nil {
		m.DescribeState = func(state any) string { return fmt.Sprintf("%v", state) }
	}
	if m.DescribeOperationMetadata == nil {
		m.DescribeOperationMetadata = func(info any) string {
			if info == nil {
				return ""
			}
			return fmt.Sprintf("%v", info)
		}
	}
}

// describe returns an operation as text. The model may be unable to describe a pending operation.
func (m *Model) describe(o *op) (text string) {
	defer func() {
		if !o.pending() {
			return // the model's own panic continues
		}
		if e := recover(); e != nil {
			text = fmt.Sprintf("%v pending", o.Input)
		}
	}()
	return m.DescribeOperation(o.Input, o.Output)
}

// tryStep steps an operation in a state in which the operation may never take effect. The model
// need not be defined there, so a panic counts as a refusal.
func (m *Model) tryStep(ctx context.Context, state, input, output any) (ok bool, next any) {
	defer func() {
		if recover() != nil {
			ok, next = false, nil
		}
	}()
	return m.StepContext(ctx, state, input, output)
}

// equalStates compares two states by Equal, or by the default of a nil Equal.
func (m *Model) equalStates(a, b any) bool {
	if m.Equal != nil {
		return m.Equal(a, b)
	}
	if hashable(a) && hashable(b) {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// hashable says whether == can compare v without a panic. A map can then have v as a key.
func hashable(v any) bool {
	switch v.(type) {
	case nil, string, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return true
	}
	t := reflect.TypeOf(v)
	always, known := alwaysHashable.Load(t)
	if !known {
		always, _ = alwaysHashable.LoadOrStore(t, t.Comparable() && !holdsInterface(t))
	}
	return always.(bool) || reflect.ValueOf(v).Comparable()
}

// alwaysHashable remembers the types all of whose values are hashable.
var alwaysHashable sync.Map // reflect.Type -> bool

// holdsInterface says whether a comparable type has a part whose dynamic type varies.
func holdsInterface(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Array:
		return holdsInterface(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsInterface(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// A CheckResult is the answer of a check.
//
// Deciding linearizability is NP-hard, so a check may take long. Without a timeout, the answer is
// Ok or Illegal unless the check meets its memory limit (see [SetMemoryLimit]). Unknown means only
// that the check ended without a violation.
type CheckResult string

// The answers of a check.
const (
	Unknown CheckResult = "Unknown" // stopped by the timeout or by the memory limit
	Ok      CheckResult = "Ok"      // the history is linearizable
	Illegal CheckResult = "Illegal" // the history is not linearizable
)
