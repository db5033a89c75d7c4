package porcupine

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrMalformed is the error of a history that no run of any system can have produced. A
// [*HistoryError] wraps it.
var ErrMalformed = errors.New("malformed history")

// A HistoryError names the place and the fault of a malformed history.
type HistoryError struct {
	Partition int    // the index of the part that Partition returned, or -1 for the history as given
	Index     int    // the index of the faulty element
	Reason    string // the fault, with the values
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

// never is the rank of the return of a pending operation.
const never = math.MaxInt32

// part is one partition of a history. Linearizability depends only on the order of the calls and
// returns, which a part holds.
type part struct {
	ops []op
	// calls holds the operations in the order of their calls.
	calls []int32
	// returns holds the completed operations in the order of their returns.
	returns []int32
	// ofEvents marks a history of events. Times are then the indexes of events.
	ofEvents bool
	// answers, if not nil, replaces outputs as the source of guesses at pending operations.
	answers []any
}

// outputs returns the outputs of the completed operations in the order of their returns.
func (p *part) outputs(b *budget) []any {
	outputs := make([]any, len(p.returns))
	for i, id := range p.returns {
		b.poll(i)
		outputs[i] = p.ops[id].Output
	}
	return outputs
}

// op is an operation of a part. The ranks call and ret order all calls and returns of the part.
type op struct {
	Operation
	call, ret int32
}

func (o *op) pending() bool { return o.ret == never }

// precedes says whether a returned before b was called.
func (a *op) precedes(b *op) bool { return a.ret < b.call }

// fromOperations ranks calls and returns by their times. At equal times calls come first, because
// intervals are closed.
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

// returnIndex returns the index of a completed operation in the order of returns.
func (p *part) returnIndex(id int32) int {
	index, _ := slices.BinarySearchFunc(p.returns, p.ops[id].ret, func(other, ret int32) int { return cmp.Compare(p.ops[other].ret, ret) })
	return index
}

// place returns the index of an operation, or of its call event, in the given history.
func (p *part) place(id int32) int {
	if p.ofEvents {
		return int(p.ops[id].Call)
	}
	return int(id)
}

// moment is the time of a call (event 2i for operation i) or of a return (event 2i+1).
type moment struct {
	time  int64
	event int32
}

// rank derives the ranks from the sorted moments.
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

// fromEvents matches calls and returns by Id. The index of an event serves as its time.
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

// sequentialClients looks for two concurrent operations of one client.
func sequentialClients(b *budget, p *part) error {
	latest := make(map[int]int32) // client -> the latest operation so far
	for i, id := range p.calls {
		b.poll(i)
		o := &p.ops[id]
		before, ok := latest[o.ClientId]
		// Equal times do not overlap, because one clock reading may be the return of one operation
		// and the call of the next.
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
