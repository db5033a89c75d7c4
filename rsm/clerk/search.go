package clerk

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"raftlab/labrpc"
)

const (
	// patience is how long a clerk waits for one server before it asks another
	// too: a call to a dead server may take seconds.
	patience = 100 * time.Millisecond
	// askAgain is how long a call may be under way before the same server is
	// asked again: the call may have gone to one that died and is back.
	askAgain = 300 * time.Millisecond
	// roundPause is how long a clerk waits when it has asked every server in
	// vain: an election takes longer.
	roundPause = 25 * time.Millisecond
)

// ErrNoServers: there is nobody to ask.
var ErrNoServers = errors.New("clerk: there are no servers to ask")

// Servers are the servers of one replicated service, in any order. It remembers
// which one leads. It may be used from any goroutine.
type Servers struct {
	ends   []*labrpc.ClientEnd
	leader atomic.Int64 // the server that answered last, or the one to ask next
	// The rest is set, if at all, before the first use.

	// Patience is how long one server is waited for before the next one is asked
	// as well; default 100 ms.
	Patience time.Duration
	// Pause is how long to wait at most, and half of that at least, when every
	// server was asked in vain. It doubles with each round, up to MaxPause. Both
	// are 25 ms by default.
	Pause, MaxPause time.Duration
}

// NewServers returns the servers at ends.
func NewServers(ends []*labrpc.ClientEnd) *Servers {
	return &Servers{ends: ends, Patience: patience, Pause: roundPause, MaxPause: roundPause}
}

// errand is the search for a server that executes one request.
type errand[A, R any] struct {
	*Servers
	method  string
	args    *A
	answers chan answer[R]
	done    chan struct{} // closed when nobody reads answers any more
	asked   []time.Time   // when a server was asked that has not answered; zero: none such
	unsure  bool          // some server may have executed the request, or may yet
}

// answer is what came of one call.
type answer[R any] struct {
	server int
	asked  time.Time
	reply  Reply[R]
}

// Ask asks the servers, beginning with the one that answered last, until one of
// them has a final answer or ctx ends. unsure says that a call before that one
// may have executed the request, or may yet. method takes a *A and a *Reply[R].
// The error is that of the reply's code, ctx's, or ErrNoServers.
func Ask[A, R any](ctx context.Context, s *Servers, method string, args *A) (result R, unsure bool, err error) {
	if len(s.ends) == 0 {
		return result, false, ErrNoServers
	}
	e := &errand[A, R]{
		Servers: s,
		method:  method,
		args:    args,
		answers: make(chan answer[R]),
		done:    make(chan struct{}),
		asked:   make([]time.Time, len(s.ends)),
	}
	defer close(e.done)
	server, pause := int(s.leader.Load()), s.Pause
	for tried := 1; ; tried++ {
		final, err := e.try(ctx, server)
		if final == nil && err == nil && tried%len(s.ends) == 0 {
			final, err = e.await(ctx, nobody, pause/2+rand.N(pause/2+1))
			pause = min(2*pause, s.MaxPause)
		}
		if err != nil {
			return result, true, err
		}
		if final != nil {
			s.leader.Store(int64(final.server))
			return final.reply.Result, e.unsure, final.reply.Code.Err()
		}
		server = (server + 1) % len(s.ends)
		s.leader.Store(int64(server))
	}
}

// nobody is a server that never answers.
const nobody = -1

// try asks a server, unless it was just asked, and waits for it for a while.
func (e *errand[A, R]) try(ctx context.Context, server int) (*answer[R], error) {
	now := time.Now()
	if underWay := !e.asked[server].IsZero(); underWay {
		if now.Sub(e.asked[server]) < max(askAgain, e.Patience) {
			return nil, nil
		}
		e.unsure = true
	}
	e.asked[server] = now
	go e.call(server, now)
	return e.await(ctx, server, e.Patience)
}

// call makes one call; it ends when the network says so.
func (e *errand[A, R]) call(server int, now time.Time) {
	a := answer[R]{server: server, asked: now}
	if !e.ends[server].Call(e.method, e.args, &a.reply) {
		a.reply = Reply[R]{}
	}
	select {
	case e.answers <- a:
	case <-e.done:
	}
}

// await returns a final answer if one comes, from whatever server was asked. It
// returns nil when server gives another, or after limit.
func (e *errand[A, R]) await(ctx context.Context, server int, limit time.Duration) (*answer[R], error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case a := <-e.answers:
			if e.take(a) {
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

// take notes an answer and says whether it is final.
func (e *errand[A, R]) take(a answer[R]) bool {
	if e.asked[a.server].Equal(a.asked) {
		e.asked[a.server] = time.Time{}
	}
	switch a.reply.Code {
	case NotLeader, Busy:
		return false
	case 0, Lost:
		e.unsure = true
		return false
	}
	for _, asked := range e.asked {
		e.unsure = e.unsure || !asked.IsZero()
	}
	return true
}
