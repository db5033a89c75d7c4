package kvraft

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
)

// ErrClosed is returned by the operations of a clerk that was closed.
var ErrClosed = errors.New("kvraft: clerk is closed")

// Clerk is a client of the service. Its methods may be called from any
// goroutine; it carries out one operation at a time.
type Clerk struct {
	servers []*labrpc.ClientEnd
	turn    chan struct{} // capacity 1: holds a token while an operation is under way

	// For whoever has the turn.
	leader int    // the server that answered last, or the one to ask next
	client uint64 // names the session
	seq    uint64 // of the last write
	known  bool   // the servers know the session: a write of it was done
	closed bool
}

// MakeClerk returns a clerk for the service at servers, in any order. It sends
// nothing before its first operation.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	ck := &Clerk{servers: servers, turn: make(chan struct{}, 1)}
	ck.newSession()
	return ck
}

// newSession makes the clerk a new client.
func (ck *Clerk) newSession() {
	ck.client, ck.seq, ck.known = max(rand.Uint64(), 1), 0, false
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
	if err == nil && result.Status != kv.OK && result.Status != kv.NotFound {
		err = fmt.Errorf("%v", result.Status)
	}
	if err != nil {
		panic(fmt.Sprintf("kvraft: %v of %q: %v", op.Kind, op.Key, err))
	}
	return result
}

// Delete removes a key. The result's Status is kv.NotFound if it was not there.
func (ck *Clerk) Delete(ctx context.Context, key string) (kv.Result, error) {
	return ck.Do(ctx, kv.Delete(key))
}

// PutIf sets a key's value if its version is version, 0 standing for a key that
// is not there: compare-and-swap. If it is not, the result's Status is
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
//   - ErrClosed.
func (ck *Clerk) Do(ctx context.Context, op kv.Op) (kv.Result, error) {
	if err := ck.begin(ctx); err != nil {
		return kv.Result{}, err
	}
	defer ck.end()
	if op.ReadOnly() {
		result, _, err := ck.execute(ctx, &ExecuteArgs{Op: op})
		return result, err
	}
	for {
		ck.seq++
		result, unsure, err := ck.execute(ctx, &ExecuteArgs{Client: ck.client, Seq: ck.seq, Op: op})
		if err == nil {
			ck.known = true
			return result, nil
		}
		// A session ends when it was not used for long. If this write was never
		// sent before, then it is not done, and a new session can do it.
		expired := errors.Is(err, rsm.ErrSessionExpired)
		if expired || !ck.known {
			ck.newSession()
		}
		if !expired || unsure {
			return result, err
		}
	}
}

// Close ends the clerk's session, so that the servers forget it at once, and
// waits until that is done or ctx ends; they forget it anyway in time. The clerk
// cannot be used afterwards.
func (ck *Clerk) Close(ctx context.Context) error {
	if err := ck.begin(ctx); err != nil {
		return err
	}
	defer ck.end()
	ck.closed = true
	if !ck.known {
		return nil
	}
	_, _, err := ck.execute(ctx, &ExecuteArgs{Client: ck.client, End: true})
	return err
}

// begin waits for the clerk's turn; end gives it on.
func (ck *Clerk) begin(ctx context.Context) error {
	select {
	case ck.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if ck.closed {
		ck.end()
		return ErrClosed
	}
	return nil
}

func (ck *Clerk) end() { <-ck.turn }
