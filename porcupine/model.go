package porcupine

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
)

// An Operation is one call by a client together with its answer.
//
// A history is a sequence of Operation or of [Event]. An Operation carries the
// times of its call and of its return; the two may come from any clock that
// never runs backwards, in any unit.
//
// The interval [Call, Return] is closed: an operation [10, 20] is concurrent
// with an operation [20, 30]. A clock that is read twice in the same instant
// gives two equal times, and the only safe reading of equal times is that the
// two moments may have come in either order.
//
// An operation that never returned has Return set to [Pending]. It may take
// effect at any time after its call, or never.
type Operation struct {
	ClientId int   // which client made the call; used for pictures, and by Options.SequentialClients
	Input    any   // what was asked
	Call     int64 // when the call was made
	Output   any   // what was answered
	Return   int64 // when the answer came; Pending if it never did
	// Metadata is shown in pictures and plays no part in checking.
	Metadata any
	_        struct{} // no positional literals, so that fields can be added
}

// Pending is the Return time of an [Operation] that never returned.
const Pending int64 = math.MaxInt64

// An EventKind says whether an [Event] is a call or a return.
type EventKind bool

// The two kinds of event.
const (
	CallEvent   EventKind = false
	ReturnEvent EventKind = true
)

// An Event is a call or a return. A history of events is in the order in which
// they happened; there are no times.
//
// A call and its return have the same Id, which no other operation of the
// history has. A call without a return is pending: it may take effect at any
// later time, or never.
type Event struct {
	ClientId int       // which client; used for pictures, and by Options.SequentialClients
	Kind     EventKind // CallEvent or ReturnEvent
	Value    any       // the input of a call, the output of a return
	Id       int       // joins a call to its return
	// Metadata is shown in pictures and plays no part in checking. It may stand
	// on the call or on the return; where both have one, the return's counts.
	Metadata any
	_        struct{} // no positional literals, so that fields can be added
}

// A Model is a sequential specification: what a single copy of the system,
// used by one client at a time, may answer.
//
// Init and one of Step and StepContext are required. All functions must be
// pure: Step must not change the state it is given (nor input or output) but
// return a new one. They may be called from several goroutines at once.
type Model struct {
	// Partition splits a history into parts that can be checked on their own:
	// the history is linearizable if and only if each part is (by key, for a
	// key/value store). With nil the history is one part. Splitting is the
	// cheapest way to a fast check, and Init and Step can then speak of one
	// part (one key's value instead of a map).
	Partition func(history []Operation) [][]Operation
	// PartitionEvent is Partition for a history of events.
	PartitionEvent func(history []Event) [][]Event
	// Init returns the initial state.
	Init func() any
	// Step says whether the system, being in the given state, may answer the
	// input by the output, and returns the state that follows. The check also tries it out
	// in states in which the operation cannot take effect by its times; a panic there is
	// taken for a refusal.
	Step func(state, input, output any) (bool, any)
	// StepContext, if set, is used in place of Step. Its context ends when the
	// answer is no longer of interest (a timeout, or another part found
	// illegal), so that a slow step can stop early.
	StepContext func(ctx context.Context, state, input, output any) (bool, any)
	// Equal says whether two states are the same. With nil, states are compared
	// by ==, and those that == cannot compare by [reflect.DeepEqual].
	Equal func(state1, state2 any) bool
	// Hash returns a hash of a state; equal states must have equal hashes. It
	// saves calls of Equal and can be left out.
	Hash func(state any) uint64
	// DescribeOperation returns an operation as text, for pictures and
	// explanations, for example "get('x') -> 'y'".
	DescribeOperation func(input, output any) string
	// DescribeState returns a state as text.
	DescribeState func(state any) string
	// DescribeOperationMetadata returns an operation's metadata as text.
	DescribeOperationMetadata func(info any) string

	// StepPending returns every state that may follow when input takes effect
	// in the given state and its output is not known, because the operation is
	// pending. It can be left out: then Step is tried with the output that the
	// pending operation has (nil for an event without a return) and, where Step
	// refuses that, with the outputs that the other operations of the part
	// returned. That is exact for a model whose next state depends on state and
	// input alone, and otherwise misses only effects that no recorded output
	// can show.
	StepPending func(state, input any) []any
	// Hint, if set, says how the model's operations read and write a value, which allows a
	// check in near-linear time, or in which order they take effect. It changes no answer.
	// See [Hint].
	Hint *Hint
	_    struct{} // no positional literals, so that fields can be added
}

// withDefaults fills in what a user may leave out. It panics if the model
// lacks Init or both Step and StepContext: a mistake in the program that no
// answer could stand for.
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

// describe returns an operation as text. A model need not know how to describe one that is pending.
func (m *Model) describe(o *op) (text string) {
	defer func() {
		if !o.pending() {
			return // a panic is the model's own
		}
		if e := recover(); e != nil {
			text = fmt.Sprintf("%v pending", o.Input)
		}
	}()
	return m.DescribeOperation(o.Input, o.Output)
}

// tryStep steps an operation in a state in which it may never come to take effect, where
// the model need not be defined: a panic is taken for a refusal.
func (m *Model) tryStep(ctx context.Context, state, input, output any) (ok bool, next any) {
	defer func() {
		if recover() != nil {
			ok, next = false, nil
		}
	}()
	return m.StepContext(ctx, state, input, output)
}

// equalStates is the model's equality, with the default for a nil Equal.
func (m *Model) equalStates(a, b any) bool {
	if m.Equal != nil {
		return m.Equal(a, b)
	}
	if hashable(a) && hashable(b) {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// hashable says whether == can compare v without a panic, so that v can be a map key.
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

// alwaysHashable tells of a type whether all its values are hashable.
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
// Checking for linearizability is NP-hard, so a check may take long. Without a
// timeout the answer is Ok or Illegal unless the memory limit is met (see
// [SetMemoryLimit]); with one it may also be Unknown, which says only that no
// violation was found in the time given.
type CheckResult string

// The three answers.
const (
	Unknown CheckResult = "Unknown" // stopped by the timeout or by the memory limit
	Ok      CheckResult = "Ok"      // the history is linearizable
	Illegal CheckResult = "Illegal" // it is not
)
