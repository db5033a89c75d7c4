package rsm

import "raftlab/internal/admission"

// waiters are the requests whose outcome somebody waits for. The Replica's lock
// guards them.
type waiters[R any] struct {
	byID map[uint64]*waiter[R]   // all of them, by request id
	at   map[int]*waiter[R]      // those that have a place in the log, by index
	same map[identity]*waiter[R] // those of a session, to join a command that is submitted again
	gate *admission.Gate
}

// waiter is one request that is under way. It leaves the waiters when it is
// settled, and not when its Submit gives up: another may have joined it.
type waiter[R any] struct {
	done chan struct{} // closed when out is set
	out  outcome[R]
	id   uint64
	of   identity
	at   place
	cost int // bytes that the gate admitted; 0: none yet
}

// outcome is what Submit returns.
type outcome[R any] struct {
	result R
	err    error
}

// identity names a command of a session; the zero value: of none.
type identity struct{ client, seq uint64 }

// place is where a command stands in the log, and the term of the leader that
// put it there; the zero value: not known yet.
type place struct{ index, term int }

// lost says whether the leadership in which the place was given is over, when
// Raft is in the term now, as its leader or not. A place that is not known yet is
// looked at when it is.
func (p place) lost(now int, leads bool) bool {
	return p.term != 0 && (p.term < now || p.term == now && !leads)
}

func newWaiters[R any](gate *admission.Gate) waiters[R] {
	return waiters[R]{
		gate: gate,
		byID: make(map[uint64]*waiter[R]),
		at:   make(map[int]*waiter[R]),
		same: make(map[identity]*waiter[R]),
	}
}

// settled returns a waiter that has its outcome and is in no table.
func settled[R any](out outcome[R]) *waiter[R] {
	w := &waiter[R]{done: make(chan struct{}), out: out}
	close(w.done)
	return w
}

// add enters a new waiter.
func (ws *waiters[R]) add(id uint64, of identity) *waiter[R] {
	w := &waiter[R]{done: make(chan struct{}), id: id, of: of}
	ws.byID[id] = w
	if of != (identity{}) {
		ws.same[of] = w
	}
	return w
}

// place notes where a waiter's request stands, unless it is settled already.
// Whoever had that index before has lost it.
func (ws *waiters[R]) place(w *waiter[R], at place) {
	if ws.byID[w.id] != w {
		return
	}
	ws.lose(at.index)
	w.at = at
	ws.at[at.index] = w
}

// lose settles the waiter that has a place which went to another command.
func (ws *waiters[R]) lose(index int) {
	if w := ws.at[index]; w != nil {
		ws.settle(w, outcome[R]{err: ErrLost})
	}
}

// settle gives a waiter its outcome and removes it. Only the first outcome
// counts.
func (ws *waiters[R]) settle(w *waiter[R], out outcome[R]) {
	if ws.byID[w.id] != w {
		return
	}
	delete(ws.byID, w.id)
	delete(ws.at, w.at.index)
	delete(ws.same, w.of)
	if w.cost > 0 {
		ws.gate.Release(w.cost)
	}
	w.out = out
	close(w.done)
}

// admit notes that the gate has let a waiter's request in, unless the waiter is
// settled already: it says false then, and gives the room back.
func (ws *waiters[R]) admit(w *waiter[R], cost int) bool {
	if ws.byID[w.id] != w {
		ws.gate.Release(cost)
		return false
	}
	w.cost = cost
	return true
}

// release settles the waiters whose place is lost, as err.
func (ws *waiters[R]) release(err error, lost func(place) bool) {
	for _, w := range ws.byID {
		if lost(w.at) {
			ws.settle(w, outcome[R]{err: err})
		}
	}
}
