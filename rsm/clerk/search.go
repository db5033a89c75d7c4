package clerk

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// defaultPatience is short because a call to a dead server may take seconds.
	defaultPatience = 100 * time.Millisecond
	// retryAfter is the age of an open call after which Ask calls the same server
	// again. The server may have crashed and restarted during the first call.
	retryAfter = 300 * time.Millisecond
	// defaultPause is shorter than an election.
	defaultPause = 25 * time.Millisecond
)

// ErrNoServers means a service has no servers.
var ErrNoServers = errors.New("clerk: there are no servers to ask")

// Caller calls a method of one server, and returns false if no reply arrived. A
// *labrpc.ClientEnd is a Caller.
type Caller interface {
	Call(method string, args, reply any) bool
}

// Servers are the servers of one replicated service, in any order, with the last
// known leader. They may be used from any goroutine. The exported fields are set
// before the first use.
type Servers struct {
	ends   []Caller
	leader atomic.Int64 // the server of the last final answer, or the next candidate

	// Patience is the time a server has to answer before Ask calls the next server as
	// well. The default is 100 ms.
	Patience time.Duration
	// Pause bounds the pause after a round of calls without a final answer. A pause
	// takes between half of Pause and Pause. Pause doubles with each round, up to
	// MaxPause. The default of both is 25 ms.
	Pause, MaxPause time.Duration
}

// NewServers returns the servers at ends.
func NewServers[E Caller](ends []E) *Servers {
	callers := make([]Caller, len(ends))
	for i, end := range ends {
		callers[i] = end
	}
	return &Servers{ends: callers, Patience: defaultPatience, Pause: defaultPause, MaxPause: defaultPause}
}

// search is the search for a server that executes one request.
type search[A, R any] struct {
	*Servers
	method  string
	args    *A
	answers chan answer[R]
	done    chan struct{} // closed when answers are no longer read
	called  []time.Time   // start of the open call to each server; zero: no open call
	unsure  bool          // a server may have executed the request, or may yet
}

// answer is the result of one call.
type answer[R any] struct {
	server int
	start  time.Time
	reply  Reply[R]
}

// Ask calls the servers in turn, from the last known leader on, until a server
// returns a final answer or ctx ends. unsure reports whether an earlier call may
// have executed the request, or may yet. method takes a *A and a *Reply[R]. The
// error is the error of the reply's code, the error of ctx, or ErrNoServers.
func Ask[A, R any](ctx context.Context, s *Servers, method string, args *A) (result R, unsure bool, err error) {
	if len(s.ends) == 0 {
		return result, false, ErrNoServers
	}
	q := &search[A, R]{
		Servers: s,
		method:  method,
		args:    args,
		answers: make(chan answer[R]),
		done:    make(chan struct{}),
		called:  make([]time.Time, len(s.ends)),
	}
	defer close(q.done)
	server, pause := int(s.leader.Load()), s.Pause
	for tried := 1; ; tried++ {
		final, err := q.try(ctx, server)
		if final == nil && err == nil && tried%len(s.ends) == 0 {
			final, err = q.await(ctx, nobody, pause/2+rand.N(pause/2+1))
			pause = min(2*pause, s.MaxPause)
		}
		if err != nil {
			return result, true, err
		}
		if final != nil {
			s.leader.Store(int64(final.server))
			return final.reply.Result, q.unsure, final.reply.Code.Err()
		}
		server = (server + 1) % len(s.ends)
		s.leader.Store(int64(server))
	}
}

// nobody is a server that never answers.
const nobody = -1

// try calls a server, unless a recent call is open, and waits for the answer.
func (q *search[A, R]) try(ctx context.Context, server int) (*answer[R], error) {
	now := time.Now()
	if open := !q.called[server].IsZero(); open {
		if now.Sub(q.called[server]) < max(retryAfter, q.Patience) {
			return nil, nil
		}
		q.unsure = true
	}
	q.called[server] = now
	go q.call(server, now)
	return q.await(ctx, server, q.Patience)
}

// call makes one call. The network ends the call.
func (q *search[A, R]) call(server int, now time.Time) {
	a := answer[R]{server: server, start: now}
	if !q.ends[server].Call(q.method, q.args, &a.reply) {
		a.reply = Reply[R]{}
	}
	select {
	case q.answers <- a:
	case <-q.done:
	}
}

// await returns the first final answer of any server. It returns nil when server
// gives another answer, or after limit.
func (q *search[A, R]) await(ctx context.Context, server int, limit time.Duration) (*answer[R], error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case a := <-q.answers:
			if q.take(a) {
				return &a, nil
			}
			if a.server == server {
				return nil, nil
			}
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take notes an answer and reports whether the answer is final.
func (q *search[A, R]) take(a answer[R]) bool {
	if q.called[a.server].Equal(a.start) {
		q.called[a.server] = time.Time{}
	}
	switch a.reply.Code {
	case NotLeader, Busy:
		return false
	case 0, Lost:
		q.unsure = true
		return false
	}
	for _, start := range q.called {
		q.unsure = q.unsure || !start.IsZero()
	}
	return true
}
