package porcupine

// A Hint is knowledge about a model that Step alone does not reveal. A true hint makes checks
// faster and changes no answer. Each function is optional. Access suits a model of one value. Order
// suits a model with numbered answers, such as versions.
//
// With Access, a history whose reads tell their writes is checked in near-linear time. The checker
// confirms an order found in this way by Step. Before the checker calls a history illegal, it steps
// every operation once and compares the result with Access. The checker ignores a hint that Step
// contradicts.
type Hint struct {
	// Initial is the value of the initial state. Values are compared by ==, so their types must
	// allow ==. Appends need strings.
	Initial any
	// Access tells how an operation reads or writes the value. A pending operation has the output
	// of the history, or nil for an event without a return. That output is not an answer.
	Access func(input, output any) Access
	// Order tells the place of a completed operation among others, such as a version, a revision or
	// a log index. Step must refuse every order in which an operation takes effect after one with a
	// later place, no matter what takes effect between. The search leaves out such orders. A
	// history that allows no other order is illegal at once.
	Order func(input, output any) (place Place, known bool)
	// Expires tells the last place of Order at which a pending operation can take effect. After an
	// operation of a later place, StepPending must return no state, or only the given one. Expires
	// needs Order.
	Expires func(input any) (place Place, known bool)
	// Resolve settles pending operations by the answers of completed ones. The result has the same
	// operations at the same indexes, and the same linearizations. If a pending operation certainly
	// took effect before some time with some answer, Resolve may set the return to this time and
	// the output to this answer. Resolve may also replace the input of a pending operation if no
	// completed operation can tell the difference. Of pending operations with equal inputs, the
	// search tries only one at a time. Resolve must not change its argument.
	Resolve func(history []Operation) []Operation
}

// A Place is the position of an operation in a sequence. Operations at one place may take effect in
// any order.
type Place struct {
	Sequence any // identifies the sequence, is compared by ==, and may be nil if there is only one
	Number   uint64
}

// An AccessKind is a way to read or write a value.
type AccessKind uint8

// The ways to read or write a value. AccessOther covers everything else, and makes the hint
// unusable for the part of the history.
const (
	AccessOther  AccessKind = iota
	AccessRead              // the value is Value and does not change
	AccessWrite             // the value becomes Value
	AccessAppend            // Value is appended to the value, and both are strings
	AccessSwap              // the value is Expect and becomes Value
	AccessDiffer            // the value is not Expect and does not change, as for a failed swap
)

// An Access is the effect of one operation on the value.
type Access struct {
	Kind   AccessKind
	Value  any // the value read, written or appended
	Expect any // the value that a swap found, or that a failed swap did not find
}

// accesses returns the access of each operation of a part. The result is false if the hint does not
// cover an operation, or if == cannot compare a value.
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

// applies says whether the access is possible at a value, and returns the next value.
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

// contradicted steps each operation once, in the order of calls, and says whether Step contradicts
// an access.
func (s *stateTable) contradicted(p *part, initial any, accesses []Access) bool {
	state, value := s.model.Init(), initial
	for i, id := range p.calls {
		s.budget.poll(i)
		o, a := &p.ops[id], &accesses[id]
		if o.pending() {
			continue // the output is unknown, so Step says nothing about the access
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
