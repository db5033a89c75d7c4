package kvraft

import (
	"context"
	"fmt"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// Clerk is a client of the service. Its methods may be called from any
// goroutine; it carries out one write at a time.
type Clerk struct {
	servers *clerk.Servers
	session *clerk.Session
}

// MakeClerk returns a clerk for the service at servers, in any order. It sends
// nothing before its first operation.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: clerk.NewServers(servers), session: clerk.NewSession()}
}

// Get returns a key's value, "" if it is not there. It tries for ever.
func (ck *Clerk) Get(key string) string { return ck.must(kv.Get(key)).Value }

// Put sets a key's value. It tries for ever.
func (ck *Clerk) Put(key string, value string) { ck.must(kv.Put(key, value)) }

// Append adds to the end of a key's value; a key that is not there counts as "".
// It tries for ever.
func (ck *Clerk) Append(key string, value string) { ck.must(kv.Append(key, value)) }

// must carries out an operation of the lab's, which cannot fail, only last.
func (ck *Clerk) must(op kv.Op) kv.Result {
	result, err := ck.Do(context.Background(), op)
	if err == nil && result.Code != kv.OK && result.Code != kv.NotFound {
		err = fmt.Errorf("%v", result.Code)
	}
	if err != nil {
		panic(fmt.Sprintf("kvraft: %v of %q: %v", op.Kind, op.Key, err))
	}
	return result
}

// Delete removes a key. The result's Code is kv.NotFound if it was not there.
func (ck *Clerk) Delete(ctx context.Context, key string) (kv.Result, error) {
	return ck.Do(ctx, kv.Delete(key))
}

// PutIf sets a key's value if its version is version, 0 standing for a key that
// is not there: compare-and-swap. If it is not, the result's Code is
// kv.VersionMismatch, and its Version the one that was found.
func (ck *Clerk) PutIf(ctx context.Context, key, value string, version uint64) (kv.Result, error) {
	return ck.Do(ctx, kv.Put(key, value).IfVersion(version))
}

// Scan reads the keys from start on that are below end ("": no end), in order
// and at most limit of them. See kv.Scan.
func (ck *Clerk) Scan(ctx context.Context, start, end string, limit int) (kv.Result, error) {
	return ck.Do(ctx, kv.Scan(start, end, limit))
}

// Do carries out an operation and returns its result. It tries until it has one
// or ctx ends; a write whose ctx ended may have taken effect or not. Other errors:
//
//   - rsm.ErrSessionExpired: so many other clients wrote while this write was
//     under way that it is not known any more whether it took effect;
//   - clerk.ErrClosed, of a write after Close.
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

// Close ends the clerk's session, so that the servers forget it at once, and
// waits until that is done or ctx ends; they forget it anyway in time. The clerk
// writes no more afterwards.
func (ck *Clerk) Close(ctx context.Context) error {
	return ck.session.Close(ctx, func(client uint64) error {
		_, _, err := ck.execute(ctx, &ExecuteArgs{Client: client, End: true})
		return err
	})
}

func (ck *Clerk) execute(ctx context.Context, args *ExecuteArgs) (result kv.Result, unsure bool, err error) {
	return clerk.Ask[ExecuteArgs, kv.Result](ctx, ck.servers, "KVServer.Execute", args)
}
