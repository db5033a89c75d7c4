package rsm

import (
	"fmt"
	"math"

	"github.com/tidwall/btree"
)

// Sessions remembers each client's last command and its result, so that a
// command that is submitted again takes effect once (thesis 6.3). It is part of
// the replicated state: the same calls in the same order make it the same on
// every replica.
//
// # When a session ends
//
// At most max clients are remembered. When one more comes, the one that has been
// unused the longest, in the order of the log, is forgotten. A client that was
// forgotten and submits a command other than its first gets ErrSessionExpired:
// nobody knows whether it took effect. A first command (number 1) always begins
// a session, so a client that submits only one command, and again after max
// other clients came, has it executed again.
//
// A client may also end its session. It is then remembered without a result, and
// forgotten like the others: a late copy of its first command must not be taken
// for a new client's.
//
// Sessions are not safe for concurrent use; a Copy may be used beside the
// original.
type Sessions[R any] struct {
	max    int
	used   uint64                      // counts the commands
	client btree.Map[uint64, entry[R]] // by client
	oldest btree.Map[uint64, uint64]   // client by when it was last used
}

// entry is what is remembered of a client, and when it was last used.
type entry[R any] struct {
	Session[R]
	used uint64
}

// Session is what is remembered of a client.
type Session[R any] struct {
	Client uint64
	Seq    uint64 // of its last command; the highest number there is, once it has ended
	Result R      // of that
}

// ended is the sequence number of a session that its client has ended: no
// command comes after it.
const ended = math.MaxUint64

// NewSessions returns an empty table for at most max clients; max is at least 1.
func NewSessions[R any](max int) *Sessions[R] {
	if max < 1 {
		panic(fmt.Sprintf("rsm: NewSessions(%d); want at least 1", max))
	}
	return &Sessions[R]{max: max}
}

// Len returns the number of clients that are remembered.
func (s *Sessions[R]) Len() int { return s.client.Len() }

// Do executes the command seq of client, unless it has taken effect: then it
// returns the result of that time. client 0 has no session. If the session has
// ended, the error is ErrSessionExpired, and if the client has gone on to a
// later command ErrStale; nothing is executed then.
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

// Lookup returns whether the command seq of client has taken effect, and its
// result if so. The errors are those of Do.
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

// Record remembers that client's command seq took effect with result.
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

// End ends a client's session, if it has one.
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

// Records returns what is remembered, the session that was unused the longest
// first. It can be encoded, and given to Merge.
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
// here. Of a client that is known already the later command counts.
func (s *Sessions[R]) Merge(records []Session[R]) {
	for _, rec := range records {
		if last, ok := s.client.Get(rec.Client); !ok || last.Seq < rec.Seq {
			s.Record(rec.Client, rec.Seq, rec.Result)
		}
	}
}

// Copy returns a table that stays as this one is now. It takes constant time.
func (s *Sessions[R]) Copy() *Sessions[R] {
	return &Sessions[R]{max: s.max, used: s.used, client: *s.client.Copy(), oldest: *s.oldest.Copy()}
}
