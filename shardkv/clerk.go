package shardkv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// Clerk is a client of the sharded store. Its methods may be called from any
// goroutine; on each shard it makes one write at a time.
type Clerk struct {
	ctrl     *shardctrler.Clerk
	groups   *directory
	sessions [shardctrler.NShards]*clerk.Session

	mu     sync.Mutex
	config shardctrler.Config // the newest it has heard of
}

// MakeClerk returns a clerk for the store whose configuration service is at
// ctrlers, in any order; make_end makes an end to a server that a configuration
// names. It sends nothing before its first operation.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	ck := &Clerk{ctrl: shardctrler.MakeClerk(ctrlers), groups: newDirectory(make_end)}
	for i := range ck.sessions {
		ck.sessions[i] = clerk.NewSession()
	}
	return ck
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
		panic(fmt.Sprintf("shardkv: %v of %q: %v", op.Kind, op.Key, err))
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

// Do carries out an operation on the shard of its key and returns its result; a
// scan reads that shard alone. It tries until it has a result or ctx ends; a
// write whose ctx ended may have taken effect or not. Other errors:
//
//   - rsm.ErrSessionExpired: so many other clients wrote to the shard while this
//     write was under way that it is not known any more whether it took effect;
//   - clerk.ErrClosed.
func (ck *Clerk) Do(ctx context.Context, op kv.Op) (kv.Result, error) {
	result, err := ck.execute(ctx, op.ReadOnly(), Command{Kind: KindOp, Shard: key2shard(op.Key), Op: op})
	return result.KV, err
}

// DoAs is Do in a session that the caller keeps: the write is the command seq of
// client, of which there may be one with each shard, and is not made again if it
// was made before (see rsm.Replica). Many such writes may be under way at a time.
// unsure: with an error, whatever it is, the write may have been made.
func (ck *Clerk) DoAs(ctx context.Context, client, seq uint64, op kv.Op) (result kv.Result, unsure bool, err error) {
	c := Command{Kind: KindOp, Shard: key2shard(op.Key), Op: op}
	answer, unsure, err := ck.route(ctx, c.Shard, &clerk.Args[Command]{Client: client, Seq: seq, Command: c})
	return answer.KV, unsure, err
}

// ScanShard reads a shard's keys from start on that are below end ("": no end), in
// order and at most limit of them, as they are at one moment. See kv.Scan.
func (ck *Clerk) ScanShard(ctx context.Context, shard int, start, end string, limit int) (kv.Result, error) {
	if shard < 0 || shard >= shardctrler.NShards {
		return kv.Result{}, fmt.Errorf("shardkv: scan of shard %d: shards are 0 to %d", shard, shardctrler.NShards-1)
	}
	result, err := ck.execute(ctx, true, Command{Kind: KindOp, Shard: shard, Op: kv.Scan(start, end, limit)})
	return result.KV, err
}

// Scan reads the keys of all shards from start on that are below end ("": no
// end), in order and at most limit of them (0: kv.MaxScan). Each shard is read
// at a moment of its own.
func (ck *Clerk) Scan(ctx context.Context, start, end string, limit int) (kv.Result, error) {
	if limit <= 0 || limit > kv.MaxScan {
		limit = kv.MaxScan
	}
	var parts [shardctrler.NShards]kv.Result
	var errs [shardctrler.NShards]error
	var reading sync.WaitGroup
	for i := range parts {
		reading.Go(func() { parts[i], errs[i] = ck.ScanShard(ctx, i, start, end, limit) })
	}
	reading.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return kv.Result{}, err
	}
	return merge(parts[:], limit), nil
}

// merge joins the scans of the shards. What lies beyond the end of a scan that
// stopped at a limit is not known.
func merge(parts []kv.Result, limit int) kv.Result {
	var all kv.Result
	bound, bounded := "", false
	for _, p := range parts {
		all.Pairs = append(all.Pairs, p.Pairs...)
		if p.More && len(p.Pairs) > 0 {
			if last := p.Pairs[len(p.Pairs)-1].Key; !bounded || last < bound {
				bound, bounded = last, true
			}
		}
	}
	slices.SortFunc(all.Pairs, func(a, b kv.Pair) int {
		switch {
		case a.Key < b.Key:
			return -1
		case a.Key > b.Key:
			return 1
		}
		return 0
	})
	n := len(all.Pairs)
	if bounded {
		all.Pairs = slices.DeleteFunc(all.Pairs, func(p kv.Pair) bool { return p.Key > bound })
	}
	all.Pairs = all.Pairs[:min(limit, len(all.Pairs))]
	all.More = bounded || len(all.Pairs) < n
	return all
}

// Close ends the clerk's sessions, so that the groups forget them at once, and
// waits until that is done or ctx ends; they forget them anyway in time. The
// clerk cannot be used for writing afterwards.
func (ck *Clerk) Close(ctx context.Context) error {
	var errs [shardctrler.NShards]error
	var closing sync.WaitGroup
	for shard, session := range ck.sessions {
		closing.Go(func() {
			errs[shard] = session.Close(ctx, func(client uint64) error {
				_, _, err := ck.route(ctx, shard, &clerk.Args[Command]{Client: client, End: true})
				return err
			})
		})
	}
	closing.Wait()
	return errors.Join(errs[:]...)
}

// execute has a command executed by the shard's owner, once if it is a write.
func (ck *Clerk) execute(ctx context.Context, readOnly bool, c Command) (result Result, err error) {
	if readOnly {
		result, _, err = ck.route(ctx, c.Shard, &clerk.Args[Command]{Command: c})
		return result, err
	}
	err = ck.sessions[c.Shard].Do(ctx, func(client, seq uint64) (unsure bool, err error) {
		result, unsure, err = ck.route(ctx, c.Shard, &clerk.Args[Command]{Client: client, Seq: seq, Command: c})
		return unsure, err
	})
	return result, err
}

// askLimit is how long one group is asked before the configuration is looked at
// again: the group may be dead and the shard elsewhere by now. If it is not, the
// group is asked for longer, up to askLimitMost: it may be just slow.
const (
	askLimit     = 500 * time.Millisecond
	askLimitMost = 10 * time.Second
)

// route asks the group that owns a shard, whichever that is by now, until it has
// an answer. unsure is as clerk.Ask's.
func (ck *Clerk) route(ctx context.Context, shard int, args *clerk.Args[Command]) (result Result, unsure bool, err error) {
	limit := askLimit
	for wait := newBackoff(clerkPause); ; wait.pause(ctx) {
		gid, servers := ck.owner(shard)
		if gid != 0 {
			var again bool
			result, again, err = ck.askGroup(ctx, limit, gid, servers, args)
			unsure, limit = unsure || again, min(2*limit, askLimitMost)
			if err == nil && (result.Status == Served || result.Status == Malformed) {
				return result, unsure, nil
			}
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return result, unsure, err
			}
		}
		if ctx.Err() != nil {
			return result, unsure, ctx.Err()
		}
		if err == nil {
			limit = askLimit
			if result.Status.soon() {
				continue // the group is the right one
			}
		}
		if err := ck.refresh(ctx); err != nil {
			return result, unsure, err
		}
	}
}

func (ck *Clerk) askGroup(ctx context.Context, limit time.Duration, gid int, servers []string, args *clerk.Args[Command]) (Result, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return clerk.Ask[clerk.Args[Command], Result](ctx, ck.groups.group(gid, servers), "ShardKV.Execute", args)
}

// owner returns the group that owns a shard, as far as the clerk knows; 0: none.
func (ck *Clerk) owner(shard int) (gid int, servers []string) {
	ck.mu.Lock()
	defer ck.mu.Unlock()
	gid = ck.config.Shards[shard]
	return gid, ck.config.Groups[gid]
}

// refresh looks for a newer configuration.
func (ck *Clerk) refresh(ctx context.Context) error {
	ck.mu.Lock()
	num := ck.config.Num
	ck.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	c, found, err := ck.ctrl.Newer(limited, num)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil // the old one may still do
	case err != nil:
		return err
	}
	if found {
		ck.mu.Lock()
		defer ck.mu.Unlock()
		if c.Num > ck.config.Num {
			ck.config = c
		}
	}
	return nil
}
