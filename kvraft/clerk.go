package kvraft

import (
	"context"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// Clerk is a client of the service. Any goroutine may call the methods. A clerk makes
// one write at a time.
type Clerk struct {
	servers *clerk.Servers
	session *clerk.Session
}

// MakeClerk returns a clerk of the service at servers, in any order. A clerk sends
// nothing before the first operation.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: clerk.NewServers(servers), session: clerk.NewSession()}
}

// Get returns a key's value, or "" for a missing key. Get retries for ever.
func (ck *Clerk) Get(key string) string { return ck.must(kv.Get(key)).Value }

// Put sets a key's value. Put retries for ever.
func (ck *Clerk) Put(key string, value string) { ck.must(kv.Put(key, value)) }

// Append adds to the end of a key's value. A missing key has the value "". Append
// retries for ever.
func (ck *Clerk) Append(key string, value string) { ck.must(kv.Append(key, value)) }

// must executes an operation of the lab's interface.
func (ck *Clerk) must(op kv.Op) kv.Result { return kv.Must("kvraft", ck.Do, op) }

// Delete removes a key. The Code for a missing key is kv.NotFound.
func (ck *Clerk) Delete(ctx context.Context, key string) (kv.Result, error) {
	return ck.Do(ctx, kv.Delete(key))
}

// PutIf sets a key's value if the key has this version (compare-and-swap). Version 0
// stands for a missing key. If the key has another version, the Code is
// kv.VersionMismatch, and the result has the version.
func (ck *Clerk) PutIf(ctx context.Context, key, value string, version uint64) (kv.Result, error) {
	return ck.Do(ctx, kv.Put(key, value).IfVersion(version))
}

// Scan reads at most limit keys from start on and below end, in order. See kv.Scan.
func (ck *Clerk) Scan(ctx context.Context, start, end string, limit int) (kv.Result, error) {
	return ck.Do(ctx, kv.Scan(start, end, limit))
}

// Do executes an operation and returns the result. Do retries until ctx ends. After
// an error of ctx a write may or may not take effect. After rsm.ErrSessionExpired,
// too: so many other clients wrote meanwhile that the servers have forgotten this
// client. A write after Close has the error clerk.ErrClosed.
func (ck *Clerk) Do(ctx context.Context, op kv.Op) (result kv.Result, err error) {
	if op.ReadOnly() {
		result, _, err = ck.execute(ctx, &ExecuteArgs{Command: op})
		return result, err
	}
	err = ck.session.Do(ctx, func(client, seq uint64) (unsure bool, err error) {
		result, unsure, err = ck.execute(ctx, &ExecuteArgs{Client: client, Seq: seq, Command: op})
		return unsure, err
	})
	return result, err
}

// Close ends the clerk's session on the servers, and returns when the session has
// ended or ctx ends. Without Close the servers forget the session in time. A closed
// clerk writes no more.
func (ck *Clerk) Close(ctx context.Context) error {
	return ck.session.Close(ctx, func(client uint64) error {
		_, _, err := ck.execute(ctx, &ExecuteArgs{Client: client, End: true})
		return err
	})
}

func (ck *Clerk) execute(ctx context.Context, args *ExecuteArgs) (result kv.Result, unsure bool, err error) {
	return clerk.Ask[ExecuteArgs, kv.Result](ctx, ck.servers, "KVServer.Execute", args)
}
