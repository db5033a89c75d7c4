package clerk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftlab/rsm"
)

// handlerTimeout bounds a handler's wait for a command. A clerk gives up without
// notice to the server, and a leader cut off from the majority may never commit the
// command, so the handler would otherwise wait for ever. The clerk sends the request
// again.
const handlerTimeout = 10 * time.Second

// Args is a request for one command of type C.
type Args[C any] struct {
	Client  uint64 // 0: no session
	Seq     uint64
	Command C
	// End requests the end of the client's session, in place of a command.
	End bool
}

// Reply is the answer to a request.
type Reply[R any] struct {
	Code   Code
	Result R // if Code is Done
}

// Code is the outcome of a request.
type Code uint8

const (
	_ Code = iota // no answer arrived
	// Done reports success. Result holds the command's result.
	Done
	// NotLeader means another server leads. The request had no effect.
	NotLeader
	// Lost means the outcome is unknown. The command may or may not take effect.
	Lost
	// Stale means the client has gone on to a later command.
	Stale
	// Expired means the client's session has ended. The request had no effect.
	Expired
	// Refused means the request is invalid, and no clerk would send such a request.
	// The request had no effect.
	Refused
	// Busy means too many requests are in flight at the server. The request had no
	// effect.
	Busy
)

// Submitter executes commands, as an rsm.Replica does.
type Submitter[C, R any] interface {
	Submit(ctx context.Context, client, seq uint64, command C) (R, error)
	EndSession(ctx context.Context, client uint64) error
}

// Serve executes a request and fills in the reply, for an RPC handler.
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

// CodeOf returns the code for an error of Submit.
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

// Err returns the error for a final code, and nil for Done.
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
