package kvraft

import (
	"context"

	"raftlab/kv"
	"raftlab/rsm/clerk"
)

// What goes over the network between a [Clerk] and a [KVServer].
type (
	// ExecuteArgs is a request for one operation, or to end a session.
	ExecuteArgs = clerk.Args[kv.Op]
	// ExecuteReply answers it.
	ExecuteReply = clerk.Reply[kv.Result]
)

// Execute is the RPC handler; for the network, not for programs.
func (s *KVServer) Execute(args *ExecuteArgs, reply *ExecuteReply) {
	clerk.Serve(submitter{s}, args, reply)
}

// submitter is a KVServer as package clerk calls it.
type submitter struct{ *KVServer }

func (s submitter) Submit(ctx context.Context, client, seq uint64, op kv.Op) (kv.Result, error) {
	return s.Do(ctx, client, seq, op)
}
