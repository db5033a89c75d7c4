package rsm

import (
	"fmt"
	"math"

	"github.com/tidwall/btree"
)

// Sessions holds the last command of each client with its result, so that a command
// that is submitted again takes effect once (thesis 6.3). Sessions are a part of
// the replicated state. The same calls in the same order have the same effect on
// every replica.
//
// # When a session ends
//
// A table holds at most max clients. When another client comes, the client whose
// last command is the oldest in the log is forgotten. If a forgotten client
// submits a command other than its first, the error is ErrSessionExpired, because
// the command may have taken effect before. A first command (number 1) always
// begins a session. So if a client submits only one command, and submits it again
// after max other clients, the command takes effect twice.
//
// A client may also end its session. The table then keeps the client without a
// result, and forgets the client like the others. Otherwise a late copy of the
// client's first command would begin a new session.
//
// Sessions are not safe for concurrent use. A Copy may be used beside the
// original.
type Sessions[R any] struct {
	max    int
	used   uint64                      // counts the commands
	client btree.Map[uint64, entry[R]] // by client
	oldest btree.Map[uint64, uint64]   // client by when it was last used
}

// entry is a session and the time of its last use.
type entry[R any] struct {
	Session[R]
	used uint64
}

// Session is the record of one client.
type Session[R any] struct {
	Client uint64
	Seq    uint64 // of the last command; the maximum if the session was ended
	Result R      // of the last command
}

// ended is the sequence number of a session that its client has ended. No command
// has a later number.
const ended = math.MaxUint64

// NewSessions returns an empty table for at most max clients; max is at least 1.
func NewSessions[R any](max int) *Sessions[R] {
	if max < 1 {
		panic(fmt.Sprintf("rsm: NewSessions(%d); want at least 1", max))
	}
	return &Sessions[R]{max: max}
}

// Len returns the number of clients in the table.
func (s *Sessions[R]) Len() int { return s.client.Len() }

// Do executes command number seq of client and returns the result. If the command
// has taken effect before, Do returns the first result and executes nothing. Client
// 0 has no session. The error is ErrSessionExpired if the session has ended, and
// ErrStale if the client has gone on to a later command. After an error nothing was
// executed.
func (s *Sessions[R]) Do(client, seq uint64, execute func() R) (R, error) {
	if client == 0 {
		return execute(), nil
	}
	result, done, err := s.Lookup(client, seq)
	if done || err != nil {
		return result, err
	}
	result = execute()
	s.Record(client, seq, result)
	return result, nil
}

// Lookup reports whether command number seq of client has taken effect, and with
// which result. The errors are those of Do.
func (s *Sessions[R]) Lookup(client, seq uint64) (result R, done bool, err error) {
	last, ok := s.client.Get(client)
	switch {
	case !ok && seq != 1, ok && last.Seq == ended:
		return result, false, ErrSessionExpired
	case seq == last.Seq:
		return last.Result, true, nil
	case seq < last.Seq:
		return result, false, ErrStale
	}
	return result, false, nil
}

// Record notes that command number seq of client took effect with result.
func (s *Sessions[R]) Record(client, seq uint64, result R) {
	s.forget(client)
	s.used++
	s.client.Set(client, entry[R]{Session[R]{client, seq, result}, s.used})
	s.oldest.Set(s.used, client)
	if s.client.Len() > s.max {
		_, unused, _ := s.oldest.Min()
		s.forget(unused)
	}
}

// End ends the session of a client, if the client has one.
func (s *Sessions[R]) End(client uint64) {
	if _, ok := s.client.Get(client); ok {
		var none R
		s.Record(client, ended, none)
	}
}

func (s *Sessions[R]) forget(client uint64) {
	if last, ok := s.client.Delete(client); ok {
		s.oldest.Delete(last.used)
	}
}

// Records returns the sessions in the order of their last use, the oldest first. The
// result can be encoded, and passed to Merge.
func (s *Sessions[R]) Records() []Session[R] {
	records := make([]Session[R], 0, s.Len())
	s.oldest.Scan(func(_, client uint64) bool {
		last, _ := s.client.Get(client)
		records = append(records, last.Session)
		return true
	})
	return records
}

// Merge adds records, in their order, as if their commands had just taken effect
// here. If the table has a client already, the later command counts.
func (s *Sessions[R]) Merge(records []Session[R]) {
	for _, rec := range records {
		if last, ok := s.client.Get(rec.Client); !ok || last.Seq < rec.Seq {
			s.Record(rec.Client, rec.Seq, rec.Result)
		}
	}
}

// Copy returns an independent copy of the table in constant time.
func (s *Sessions[R]) Copy() *Sessions[R] {
	return &Sessions[R]{max: s.max, used: s.used, client: *s.client.Copy(), oldest: *s.oldest.Copy()}
}
