package clerk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftlab/rsm"
)

// handlerTimeout bounds how long a handler waits for a command: a clerk that
// has given up tells nobody, and a Raft that does not notice that it reaches no
// majority would keep the handler for ever. The clerk asks again.
const handlerTimeout = 10 * time.Second

// Args is a request for one command of type C.
type Args[C any] struct {
	Client  uint64 // 0: no session
	Seq     uint64
	Command C
	// End is to end the client's session, in place of a command.
	End bool
}

// Reply answers it.
type Reply[R any] struct {
	Code   Code
	Result R // if Code is Done
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
	// Stale: the client has gone on to a later command.
	Stale
	// Expired: the client's session has ended; nothing was done.
	Expired
	// Refused: the request is not one that a clerk sends; nothing was done.
	Refused
	// Busy: too many requests are under way at this server; nothing was done.
	Busy
)

// Submitter executes commands; an rsm.Replica is one.
type Submitter[C, R any] interface {
	Submit(ctx context.Context, client, seq uint64, command C) (R, error)
	EndSession(ctx context.Context, client uint64) error
}

// Serve has a request executed and answers it: what an RPC handler does.
func Serve[C, R any](s Submitter[C, R], args *Args[C], reply *Reply[R]) {
	ctx, cancel := context.WithTimeout(context.Background(), handlerTimeout)
	defer cancel()
	var err error
	if args.End {
		err = s.EndSession(ctx, args.Client)
	} else {
		reply.Result, err = s.Submit(ctx, args.Client, args.Seq, args.Command)
	}
	reply.Code = CodeOf(err)
}

// CodeOf is how an error of Submit is told over the network.
func CodeOf(err error) Code {
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
	case errors.Is(err, rsm.ErrBusy):
		return Busy
	}
	return Lost
}

// Err is the error that a final code stands for; nil for Done.
func (c Code) Err() error {
	switch c {
	case Done:
		return nil
	case Stale:
		return rsm.ErrStale
	case Expired:
		return rsm.ErrSessionExpired
	case Refused:
		return rsm.ErrInvalid
	}
	return fmt.Errorf("clerk: a server answered with the unknown code %d", c)
}
