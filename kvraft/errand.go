package kvraft

import (
	"context"
	"fmt"
	"time"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
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

// errand is the search for a server that executes one request.
type errand struct {
	servers []*labrpc.ClientEnd
	args    *ExecuteArgs
	answers chan answer
	done    chan struct{} // closed when nobody reads answers any more
	asked   []time.Time   // when a server was asked that has not answered; zero: none such
	unsure  bool          // some server may have executed the request, or may yet
}

// answer is what came of one call.
type answer struct {
	server int
	asked  time.Time
	reply  ExecuteReply
}

// execute asks the servers, beginning with the one that answered last, until one
// of them has a final answer. unsure says that a call before that one may have
// executed the request. The caller has the turn.
func (ck *Clerk) execute(ctx context.Context, args *ExecuteArgs) (result kv.Result, unsure bool, err error) {
	if len(ck.servers) == 0 {
		return result, false, fmt.Errorf("kvraft: the clerk has no servers")
	}
	e := &errand{
		servers: ck.servers,
		args:    args,
		answers: make(chan answer),
		done:    make(chan struct{}),
		asked:   make([]time.Time, len(ck.servers)),
	}
	defer close(e.done)
	for tried := 1; ; tried++ {
		final, err := e.try(ctx, ck.leader)
		if final == nil && err == nil && tried%len(ck.servers) == 0 {
			final, err = e.await(ctx, nobody, roundPause)
		}
		if err != nil {
			return result, true, err
		}
		if final != nil {
			ck.leader = final.server
			return final.reply.Result, e.unsure, errorOf(final.reply.Code)
		}
		ck.leader = (ck.leader + 1) % len(ck.servers)
	}
}

// errorOf is the error that a final answer stands for.
func errorOf(code Code) error {
	switch code {
	case Done:
		return nil
	case Stale:
		return rsm.ErrStale
	case Expired:
		return rsm.ErrSessionExpired
	case Refused:
		return rsm.ErrInvalid
	}
	return fmt.Errorf("kvraft: a server answered with the unknown code %d", code)
}

// nobody is a server that never answers.
const nobody = -1

// try asks a server, unless it was just asked, and waits for it for a while.
func (e *errand) try(ctx context.Context, server int) (*answer, error) {
	now := time.Now()
	if underWay := !e.asked[server].IsZero(); underWay {
		if now.Sub(e.asked[server]) < askAgain {
			return nil, nil
		}
		e.unsure = true
	}
	e.asked[server] = now
	go e.call(server, now)
	return e.await(ctx, server, patience)
}

// call makes one call; it ends when the network says so.
func (e *errand) call(server int, now time.Time) {
	a := answer{server: server, asked: now}
	if !e.servers[server].Call("KVServer.Execute", e.args, &a.reply) {
		a.reply = ExecuteReply{}
	}
	select {
	case e.answers <- a:
	case <-e.done:
	}
}

// await returns a final answer if one comes, from whatever server was asked. It
// returns nil when server gives another, or after limit.
func (e *errand) await(ctx context.Context, server int, limit time.Duration) (*answer, error) {
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
func (e *errand) take(a answer) bool {
	if e.asked[a.server].Equal(a.asked) {
		e.asked[a.server] = time.Time{}
	}
	switch a.reply.Code {
	case NotLeader:
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
