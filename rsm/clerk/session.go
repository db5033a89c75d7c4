package clerk

import (
	"context"
	"errors"
	"math/rand/v2"

	"raftlab/rsm"
)

// Session is a client's session with a service: who it is, and how many
// commands it has had executed. It carries out one command at a time; its
// methods may be called from any goroutine.
type Session struct {
	turn chan struct{} // capacity 1: holds a token while a command is under way

	// For whoever has the turn.
	client uint64
	seq    uint64 // of the last command
	known  bool   // the servers know the session: a command of it was done
	closed bool
}

// ErrClosed is returned by the operations of a session that was closed.
var ErrClosed = errors.New("clerk: session is closed")

// NewSession returns a session that no server knows yet.
func NewSession() *Session {
	s := &Session{turn: make(chan struct{}, 1)}
	s.renew()
	return s
}

// renew makes it another client's.
func (s *Session) renew() {
	s.client, s.seq, s.known = max(rand.Uint64(), 1), 0, false
}

// Do has ask send one command, as the command seq of client, until it has an
// answer; ask returns what [Ask] does. If the session has ended before the
// command was sent, ask is called again in another. A command whose ctx ended
// may have taken effect or not. Other errors are those of ask, and ErrClosed:
//
//   - rsm.ErrSessionExpired: so many other clients came while this command was
//     under way that it is not known any more whether it took effect.
func (s *Session) Do(ctx context.Context, ask func(client, seq uint64) (unsure bool, err error)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	for {
		s.seq++
		unsure, err := ask(s.client, s.seq)
		if err == nil {
			s.known = true
			return nil
		}
		// A session ends when it was not used for long. If this command was never
		// sent before, then it is not done, and a new session can do it.
		expired := errors.Is(err, rsm.ErrSessionExpired)
		if expired || !s.known {
			s.renew()
		}
		if !expired || unsure {
			return err
		}
	}
}

// Close ends the use of the session. If the servers know it, end is called to
// have them forget client.
func (s *Session) Close(ctx context.Context, end func(client uint64) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	s.closed = true
	if !s.known {
		return nil
	}
	return end(s.client)
}

// begin waits for the turn; end gives it on.
func (s *Session) begin(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.closed {
		s.end()
		return ErrClosed
	}
	return nil
}

func (s *Session) end() { <-s.turn }
