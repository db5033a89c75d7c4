package rsm

import (
	"fmt"

	"github.com/tidwall/btree"
)

// Sessions remembers each client's last command and its result, so that a
// command that is submitted again takes effect once (thesis 6.3). It is part of
// the replicated state: the same requests in the same order make it the same on
// every replica.
//
// # When a session ends
//
// At most max clients are remembered. When one more comes, the session that has
// been unused the longest, in the order of the log, ends; so does one that its
// client ends. A client whose session has ended and that submits a command other
// than its first gets ErrSessionExpired: nobody knows whether it took effect.
// A first command (number 1) always begins a session, so a client that submits
// only one command, and again after max other clients came, has it executed
// again.
//
// Sessions are not safe for concurrent use; a Copy may be used beside the
// original.
type Sessions[R any] struct {
	max    int
	used   uint64                     // counts the commands
	client btree.Map[uint64, last[R]] // by client
	oldest btree.Map[uint64, uint64]  // client by when it was last used
}

// last is what is remembered of a client.
type last[R any] struct {
	Client uint64
	Seq    uint64
	Used   uint64
	Result R
}

// Verdict says what a command is to its client's session.
type Verdict int

const (
	// Fresh: to be executed.
	Fresh Verdict = iota
	// Duplicate: it took effect, and the result is known.
	Duplicate
	// Stale: the client has gone on to a later one.
	Stale
	// Expired: the client's session has ended.
	Expired
)

// NewSessions returns an empty table for at most max clients.
func NewSessions[R any](max int) *Sessions[R] { return &Sessions[R]{max: max} }

// Len returns the number of clients that are remembered.
func (s *Sessions[R]) Len() int { return s.client.Len() }

// Lookup returns what the command seq of client is, and its result if it is a
// Duplicate.
func (s *Sessions[R]) Lookup(client, seq uint64) (result R, verdict Verdict) {
	known, ok := s.client.Get(client)
	switch {
	case !ok && seq == 1:
		verdict = Fresh
	case !ok:
		verdict = Expired
	case seq == known.Seq:
		return known.Result, Duplicate
	case seq < known.Seq:
		verdict = Stale
	}
	return result, verdict
}

// Record remembers that client's command seq took effect with result.
func (s *Sessions[R]) Record(client, seq uint64, result R) {
	s.End(client)
	s.used++
	s.client.Set(client, last[R]{Client: client, Seq: seq, Used: s.used, Result: result})
	s.oldest.Set(s.used, client)
	if s.client.Len() > s.max {
		_, unused, _ := s.oldest.Min()
		s.End(unused)
	}
}

// End forgets a client.
func (s *Sessions[R]) End(client uint64) {
	if known, ok := s.client.Delete(client); ok {
		s.oldest.Delete(known.Used)
	}
}

// Copy returns a table that stays as this one is now. It takes constant time.
func (s *Sessions[R]) Copy() *Sessions[R] {
	return &Sessions[R]{max: s.max, used: s.used, client: *s.client.Copy(), oldest: *s.oldest.Copy()}
}

// records returns what is remembered, by client.
func (s *Sessions[R]) records() []last[R] { return s.client.Values() }

// load puts records in the place of what is remembered.
func (s *Sessions[R]) load(used uint64, records []last[R]) error {
	fresh := Sessions[R]{max: s.max, used: used}
	for _, rec := range records {
		if rec.Used > used {
			return fmt.Errorf("rsm: session of client %d was used at %d, after %d", rec.Client, rec.Used, used)
		}
		fresh.client.Set(rec.Client, rec)
		fresh.oldest.Set(rec.Used, rec.Client)
	}
	*s = fresh
	return nil
}
