package rsm

import "raftlab/internal/admission"

// submissions are the requests in progress on this server. The Replica's lock
// guards them.
type submissions[R any] struct {
	byID      map[uint64]*submission[R]    // all, by request id
	byIndex   map[uint64]*submission[R]    // those with a place in the log
	byCommand map[commandID]*submission[R] // those with a session, so that a repeated command joins the first
	gate      *admission.Gate
}

// submission is one request in progress. A submission stays in the tables until an
// answer settles it, even if the first Submit gives up. Another Submit may have
// joined.
type submission[R any] struct {
	done    chan struct{} // closed when answer is set
	answer  answer[R]
	id      uint64
	command commandID
	place   Place
	cost    int // bytes admitted by the gate; 0 before admission
}

// answer is the return value of Submit.
type answer[R any] struct {
	result R
	err    error
}

// commandID identifies a command of a session. The zero value stands for a command
// without a session.
type commandID struct{ client, seq uint64 }

func newSubmissions[R any](gate *admission.Gate) submissions[R] {
	return submissions[R]{
		gate:      gate,
		byID:      make(map[uint64]*submission[R]),
		byIndex:   make(map[uint64]*submission[R]),
		byCommand: make(map[commandID]*submission[R]),
	}
}

// settled returns a submission with an answer, in no table.
func settled[R any](a answer[R]) *submission[R] {
	s := &submission[R]{done: make(chan struct{}), answer: a}
	close(s.done)
	return s
}

func (t *submissions[R]) add(id uint64, command commandID) *submission[R] {
	s := &submission[R]{done: make(chan struct{}), id: id, command: command}
	t.byID[id] = s
	if command != (commandID{}) {
		t.byCommand[command] = s
	}
	return s
}

// admit notes the bytes that the gate admitted for a submission. If the submission
// is settled already, admit releases the bytes and returns false.
func (t *submissions[R]) admit(s *submission[R], cost int) bool {
	if t.byID[s.id] != s {
		t.gate.Release(cost)
		return false
	}
	s.cost = cost
	return true
}

// setPlace notes the place of a submission in the log, unless the submission is
// settled already. An older submission at the same index was overwritten.
func (t *submissions[R]) setPlace(s *submission[R], place Place) {
	if t.byID[s.id] != s {
		return
	}
	t.overwritten(place.Index)
	s.place = place
	t.byIndex[place.Index] = s
}

// overwritten settles the submission whose place went to another entry.
func (t *submissions[R]) overwritten(index uint64) {
	if s := t.byIndex[index]; s != nil {
		t.settle(s, answer[R]{err: ErrLost})
	}
}

// settle answers a submission and removes it. Later answers are ignored.
func (t *submissions[R]) settle(s *submission[R], a answer[R]) {
	if t.byID[s.id] != s {
		return
	}
	delete(t.byID, s.id)
	delete(t.byIndex, s.place.Index)
	delete(t.byCommand, s.command)
	if s.cost > 0 {
		t.gate.Release(s.cost)
	}
	s.answer = a
	close(s.done)
}

// settleAll answers all submissions at matching places with err.
func (t *submissions[R]) settleAll(err error, matches func(Place) bool) {
	for _, s := range t.byID {
		if matches(s.place) {
			t.settle(s, answer[R]{err: err})
		}
	}
}
