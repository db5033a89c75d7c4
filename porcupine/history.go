package porcupine

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrMalformed is the error of a history that no run of any system can have
// produced. The error that wraps it is a [*HistoryError].
var ErrMalformed = errors.New("malformed history")

// A HistoryError says what is wrong with a history, and where.
type HistoryError struct {
	Partition int    // which part of the history, as the model's Partition numbers them; -1 for the history as given
	Index     int    // the offending element's place in it
	Reason    string // what is wrong with it, with the values
}

// Error returns the place and the reason.
func (e *HistoryError) Error() string {
	where := fmt.Sprintf("element %d", e.Index)
	if e.Partition >= 0 {
		where = fmt.Sprintf("partition %d, element %d", e.Partition, e.Index)
	}
	return fmt.Sprintf("%v: %s: %s", ErrMalformed, where, e.Reason)
}

// Unwrap returns ErrMalformed.
func (e *HistoryError) Unwrap() error { return ErrMalformed }

// never is the rank of a return that does not happen.
const never = math.MaxInt32

// part is one partition of a history, made ready for a check: the order of its
// calls and returns, which is all that linearizability asks of time.
type part struct {
	ops []op
	// calls holds the operations in the order of their calls.
	calls []int32
	// returns holds the completed operations in the order of their returns.
	returns []int32
	// ofEvents says that the history was one of events, and times are their places in it.
	ofEvents bool
	// answers, if not nil, replaces outputs as the guesses at pending operations.
	answers []any
}

// outputs returns what the completed operations answered, in the order of their returns.
func (p *part) outputs(b *budget) []any {
	outputs := make([]any, len(p.returns))
	for i, id := range p.returns {
		b.poll(i)
		outputs[i] = p.ops[id].Output
	}
	return outputs
}

// op is an operation of a part. call and ret are its ranks in the order of all
// calls and returns of the part: a.ret < b.call means that a came before b.
type op struct {
	Operation
	call, ret int32
}

func (o *op) pending() bool { return o.ret == never }

// precedes says whether a returned before b was called.
func (a *op) precedes(b *op) bool { return a.ret < b.call }

// fromOperations ranks calls and returns by their times, calls first where
// times are equal, since intervals are closed.
func fromOperations(b *budget, history []Operation) (*part, error) {
	p := &part{ops: make([]op, len(history))}
	moments := make([]moment, 0, 2*len(history))
	for i := range history {
		b.poll(i)
		h := &history[i]
		if h.Return < h.Call {
			return nil, &HistoryError{-1, i, fmt.Sprintf("operation of client %d returns at %d, before its call at %d",
				h.ClientId, h.Return, h.Call)}
		}
		p.ops[i] = op{Operation: *h, ret: never}
		moments = append(moments, moment{h.Call, int32(2 * i)})
		if h.Return != Pending {
			moments = append(moments, moment{h.Return, int32(2*i + 1)})
		}
	}
	slices.SortFunc(moments, polled(b, func(x, y moment) int {
		if x.time != y.time {
			return cmp.Compare(x.time, y.time)
		}
		return cmp.Or(cmp.Compare(x.event%2, y.event%2), cmp.Compare(x.event, y.event))
	}))
	p.rank(b, moments)
	return p, nil
}

// returnIndex returns the place of a completed operation in the order of returns.
func (p *part) returnIndex(id int32) int {
	index, _ := slices.BinarySearchFunc(p.returns, p.ops[id].ret, func(other, ret int32) int { return cmp.Compare(p.ops[other].ret, ret) })
	return index
}

// place is that of an operation, or of its call, in the history as given.
func (p *part) place(id int32) int {
	if p.ofEvents {
		return int(p.ops[id].Call)
	}
	return int(id)
}

// moment is the time of an event: of the call of operation i (event 2i), or of
// its return (event 2i+1).
type moment struct {
	time  int64
	event int32
}

// rank fills in the ranks from the sorted moments.
func (p *part) rank(b *budget, moments []moment) {
	p.calls = make([]int32, 0, len(p.ops))
	p.returns = make([]int32, 0, len(moments)-len(p.ops))
	for rank, m := range moments {
		b.poll(rank)
		if id := m.event / 2; m.event%2 == 0 {
			p.ops[id].call = int32(rank)
			p.calls = append(p.calls, id)
		} else {
			p.ops[id].ret = int32(rank)
			p.returns = append(p.returns, id)
		}
	}
}

// fromEvents matches calls and returns by Id. An event's place in the history
// serves as its time.
func fromEvents(b *budget, history []Event) (*part, error) {
	p := &part{ofEvents: true}
	moments := make([]moment, 0, len(history))
	byID := make(map[int]int32, len(history)/2)
	for i := range history {
		b.poll(i)
		e := &history[i]
		id, called := byID[e.Id]
		if e.Kind == CallEvent {
			if called {
				return nil, &HistoryError{-1, i, fmt.Sprintf("a second call with id %d", e.Id)}
			}
			id = int32(len(p.ops))
			byID[e.Id] = id
			p.ops = append(p.ops, op{Operation: Operation{ClientId: e.ClientId, Input: e.Value, Call: int64(i),
				Return: Pending, Metadata: e.Metadata}, ret: never})
			moments = append(moments, moment{int64(i), 2 * id})
			continue
		}
		if !called {
			return nil, &HistoryError{-1, i, fmt.Sprintf("a return with id %d, which no call before it has", e.Id)}
		}
		o := &p.ops[id]
		if o.Return != Pending {
			return nil, &HistoryError{-1, i, fmt.Sprintf("a second return with id %d", e.Id)}
		}
		o.Output, o.Return = e.Value, int64(i)
		if e.Metadata != nil {
			o.Metadata = e.Metadata
		}
		moments = append(moments, moment{int64(i), 2*id + 1})
	}
	p.rank(b, moments)
	return p, nil
}

// sequentialClients finds two operations that a client had open at once.
func sequentialClients(b *budget, p *part) error {
	latest := make(map[int]int32) // client -> its latest operation so far
	for i, id := range p.calls {
		b.poll(i)
		o := &p.ops[id]
		before, ok := latest[o.ClientId]
		// Equal times are no overlap: one clock reading may serve as the
		// return of one operation and the call of the next.
		switch k := &p.ops[before]; {
		case !ok || k.Return <= o.Call:
			latest[o.ClientId] = id
		case o.Return > k.Call:
			return &HistoryError{-1, p.place(id), fmt.Sprintf(
				"client %d calls at %d while its operation at element %d, called at %d, is still open",
				o.ClientId, o.Call, p.place(before), k.Call)}
		}
	}
	return nil
}
