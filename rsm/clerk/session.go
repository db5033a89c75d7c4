package clerk

import (
	"context"
	"errors"
	"math/rand/v2"

	"raftlab/rsm"
)

// Session is a client's session with a service. A session executes one command at
// a time. Its methods may be called from any goroutine.
type Session struct {
	turn chan struct{} // capacity 1; holds a token while a command is in progress

	// The holder of the turn uses the rest.
	client uint64
	seq    uint64 // of the last command
	known  bool   // the servers know the session, because a command was executed
	closed bool
}

// ErrClosed is the error of a session that was closed.
var ErrClosed = errors.New("clerk: session is closed")

// NewSession returns a session of a new client.
func NewSession() *Session {
	s := &Session{turn: make(chan struct{}, 1)}
	s.renew()
	return s
}

// renew begins the session of another client.
func (s *Session) renew() {
	s.client, s.seq, s.known = max(rand.Uint64(), 1), 0, false
}

// Do executes one command through ask. The function ask sends command number seq of
// client and returns the results of [Ask]. If the session had ended before the
// command was sent, Do begins another session and calls ask again. After an error
// of ctx or rsm.ErrSessionExpired the command may or may not take effect. A session
// expires when so many other clients came meanwhile that the servers have forgotten
// this client. Do returns the errors of ask, and ErrClosed.
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
		// Servers forget a session after long disuse. If no server executed the
		// command, a new session can execute the command without a duplicate.
		expired := errors.Is(err, rsm.ErrSessionExpired)
		if expired || !s.known {
			s.renew()
		}
		if !expired || unsure {
			return err
		}
	}
}

// Close closes the session. If the servers know the session, Close calls end to end
// the client's session there.
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

// begin waits for the turn. end passes the turn on.
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
