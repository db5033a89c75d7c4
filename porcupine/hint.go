package porcupine

// A Hint says what a model's author knows of it and Step does not tell. It must be true, and then
// changes no answer. Access is for models whose state is one value, Order for
// those whose answers number the operations; either can be left out.
//
// With Access, a history in which a read's value tells which write it saw is checked in
// near-linear time. An order found with its help is
// stepped through with Step, and before a history is called illegal by it,
// every operation is stepped once and compared with what Access says of it. One
// that is found to be wrong is not used.
type Hint struct {
	// Initial is the value of the initial state. Values are compared by ==,
	// so they must be of types that allow it; appends need strings.
	Initial any
	// Access says how an operation reads or writes the value. Of a pending operation,
	// the output is what its history has (nil for an event without a return)
	// and tells nothing.
	Access func(input, output any) Access
	// Order says where a completed operation stands among others, if its input and output
	// tell: by a version, a revision or an index in a log. Step must refuse every order in
	// which an operation takes effect after one that has a later place, whatever takes effect
	// between. The search then leaves such orders out, and a history that allows no other is
	// illegal at once.
	Order func(input, output any) (place Place, known bool)
	// Expires says at which place of Order a pending operation can take effect last, if its
	// input tells. StepPending must return no state, or the same state, where an operation of
	// a later place has taken effect. Expires is not asked unless Order is there.
	Expires func(input any) (place Place, known bool)
	// Resolve uses the answers of completed operations to settle pending ones. Resolve returns
	// a history of the same operations, in the same places, that has the same linearizations.
	// A pending operation that has certainly taken effect by some time, with a certain answer,
	// may get that time as its return, and the answer. A pending operation may get another
	// input, if no completed operation can tell the difference. Pending operations that
	// end up with equal inputs stand for each other, so the search tries one of
	// them at a time. Resolve must not change the history that is given.
	Resolve func(history []Operation) []Operation
}

// A Place is where an operation stands in a sequence. Operations of one place may take
// effect in any order.
type Place struct {
	Sequence any // which sequence; comparable by ==, nil will do if there is but one
	Number   uint64
}

// An AccessKind is a way to read or write a value.
type AccessKind uint8

// The ways to read or write a value. An operation of kind AccessOther, which may
// be anything, makes the hint useless for the part of the history that it is in.
const (
	AccessOther  AccessKind = iota
	AccessRead              // the value is Value, and stays
	AccessWrite             // the value becomes Value, whatever it was
	AccessAppend            // Value is added to the end of the value; both are strings
	AccessSwap              // the value is Expect, and becomes Value
	AccessDiffer            // the value is not Expect, and stays: a swap that failed
)

// An Access is what one operation does to the value.
type Access struct {
	Kind   AccessKind
	Value  any // what is read, written or appended
	Expect any // what a swap found, or a failed one did not find
}

// accesses returns what the hint says of each operation of a part. It reports false if
// it says nothing of one of them, or speaks of values that cannot be compared.
func (h *Hint) accesses(p *part, b *budget) ([]Access, bool) {
	all := make([]Access, len(p.ops))
	if h.Access == nil || !hashable(h.Initial) {
		return nil, false
	}
	for i := range p.ops {
		b.poll(i)
		a := h.Access(p.ops[i].Input, p.ops[i].Output)
		if a.Kind == AccessOther || !hashable(a.Value) || !hashable(a.Expect) {
			return nil, false
		}
		all[i] = a
	}
	return all, true
}

// applies returns whether the access is possible at a value, and the value that follows.
func (a *Access) applies(value any) (bool, any) {
	switch a.Kind {
	case AccessRead:
		return value == a.Value, value
	case AccessWrite:
		return true, a.Value
	case AccessAppend:
		s, ok := value.(string)
		if !ok {
			return false, nil
		}
		return true, s + a.Value.(string)
	case AccessSwap:
		return value == a.Expect, a.Value
	case AccessDiffer:
		return value != a.Expect, value
	}
	return false, nil
}

// contradicted says whether Step does other than the accesses say, in a walk
// through the operations in the order of their calls. It costs one step an operation.
func (s *stateTable) contradicted(p *part, initial any, accesses []Access) bool {
	state, value := s.model.Init(), initial
	for i, id := range p.calls {
		s.budget.poll(i)
		o, a := &p.ops[id], &accesses[id]
		if o.pending() {
			continue // what Step makes of an output that is not known says nothing
		}
		ok, next := s.model.tryStep(s.budget.ctx, state, o.Input, o.Output)
		possible, after := a.applies(value)
		if ok != possible {
			return true
		}
		if ok {
			if (value == after) != s.model.equalStates(state, next) {
				return true
			}
			state, value = next, after
		}
	}
	return false
}
