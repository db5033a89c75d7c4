package kvraft

import (
	"context"
	"errors"
	"time"

	"raftlab/kv"
	"raftlab/rsm"
)

// handlerTimeout bounds how long a handler waits for a command: a clerk that
// has given up tells nobody, and a Raft that does not notice that it reaches no
// majority would keep the handler for ever. The clerk asks again.
const handlerTimeout = 10 * time.Second

// ExecuteArgs is a request for one operation.
type ExecuteArgs struct {
	Client uint64
	Seq    uint64
	Op     kv.Op
	// End is to end the client's session, in place of an operation.
	End bool
}

// ExecuteReply answers it.
type ExecuteReply struct {
	Code   Code
	Result kv.Result // if Code is Done
}

// Code says what became of a request.
type Code uint8

const (
	_ Code = iota // no answer came
	// Done: it was executed, and Result is the result.
	Done
	// NotLeader: this server does not lead; nothing was done.
	NotLeader
	// Lost: it may or may not take effect.
	Lost
	// Stale: the client has gone on to a later write.
	Stale
	// Expired: the client's session has ended; nothing was done.
	Expired
	// Refused: the request is not one that a clerk sends; nothing was done.
	Refused
)

// Execute is the RPC handler; for the network, not for programs.
func (s *KVServer) Execute(args *ExecuteArgs, reply *ExecuteReply) {
	ctx, cancel := context.WithTimeout(context.Background(), handlerTimeout)
	defer cancel()
	var err error
	if args.End {
		err = s.EndSession(ctx, args.Client)
	} else {
		reply.Result, err = s.Do(ctx, args.Client, args.Seq, args.Op)
	}
	reply.Code = codeOf(err)
}

func codeOf(err error) Code {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, rsm.ErrNotLeader):
		return NotLeader
	case errors.Is(err, rsm.ErrStale):
		return Stale
	case errors.Is(err, rsm.ErrSessionExpired):
		return Expired
	case errors.Is(err, rsm.ErrInvalid):
		return Refused
	}
	return Lost
}
