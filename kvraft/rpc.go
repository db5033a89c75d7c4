package kvraft

import (
	"context"

	"raftlab/kv"
	"raftlab/rsm/clerk"
)

// Requests and replies between a [Clerk] and a [KVServer].
type (
	// ExecuteArgs is a request for one operation, or to end a session.
	ExecuteArgs = clerk.Args[kv.Op]
	// ExecuteReply is the answer.
	ExecuteReply = clerk.Reply[kv.Result]
)

// Execute is the RPC handler. Programs use a [Clerk] or [KVServer.Do].
func (s *KVServer) Execute(args *ExecuteArgs, reply *ExecuteReply) {
	clerk.Serve(submitter{s}, args, reply)
}

// submitter gives a KVServer the method names of clerk.Submitter.
type submitter struct{ *KVServer }

func (s submitter) Submit(ctx context.Context, client, seq uint64, op kv.Op) (kv.Result, error) {
	return s.Do(ctx, client, seq, op)
}
