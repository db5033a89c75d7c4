package shardkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"raftlab/internal/admission"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// Clerk is a client of the sharded store. Any goroutine may call the methods. A
// clerk makes one write at a time to each shard.
type Clerk struct {
	shared   *shared
	sessions [shardctrler.NShards]*clerk.Session
}

// shared is the common part of a clerk and its forks.
type shared struct {
	ctrl     *shardctrler.Clerk
	groups   *directory
	sending  *admission.Gate // for large commands
	fetching *admission.Gate // for large values

	mu     sync.Mutex
	config shardctrler.Config // the newest known one
}

// MakeClerk returns a clerk of a store. ctrlers are ends to the configuration
// service, in any order. make_end makes an end to a server by its name in a
// configuration. A clerk sends nothing before its first operation.
func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return newClerk(&shared{
		ctrl:     shardctrler.MakeClerk(ctrlers),
		groups:   newDirectory(make_end),
		sending:  admission.NewGate(largeLimits),
		fetching: admission.NewGate(largeLimits),
	})
}

// Fork returns a clerk with sessions of its own. A clerk and its forks can write to a
// shard at the same time. They share their knowledge of the store and two bounds on
// memory. Together they send large commands up to a total of 8 MiB at a time, and
// fetch large values for transactions up to another 8 MiB. Large means more than
// 64 KiB. Up to 128 further commands wait. A command beyond these is not sent and fails
// with rsm.ErrBusy, and so does a command that has waited for half of the time until
// ctx's deadline.
func (ck *Clerk) Fork() *Clerk { return newClerk(ck.shared) }

func newClerk(s *shared) *Clerk {
	ck := &Clerk{shared: s}
	for i := range ck.sessions {
		ck.sessions[i] = clerk.NewSession()
	}
	return ck
}

// Get returns the value of a key, or "" for a missing key. Get retries for ever.
func (ck *Clerk) Get(key string) string { return ck.must(kv.Get(key)).Value }

// Put sets the value of a key. Put retries for ever.
func (ck *Clerk) Put(key string, value string) { ck.must(kv.Put(key, value)) }

// Append adds to the end of a key's value. A missing key counts as "". Append
// retries for ever.
func (ck *Clerk) Append(key string, value string) { ck.must(kv.Append(key, value)) }

// must executes an operation of the lab's interface.
func (ck *Clerk) must(op kv.Op) kv.Result { return kv.Must("shardkv", ck.Do, op) }

// Delete removes a key. If the key is missing, the result says kv.NotFound.
func (ck *Clerk) Delete(ctx context.Context, key string) (kv.Result, error) {
	return ck.Do(ctx, kv.Delete(key))
}

// PutIf sets the value of a key if the key has the given version (compare and swap).
// A missing key has version 0. If the key has another version, the result says
// kv.VersionMismatch and has the key's version.
func (ck *Clerk) PutIf(ctx context.Context, key, value string, version uint64) (kv.Result, error) {
	return ck.Do(ctx, kv.Put(key, value).IfVersion(version))
}

// Do executes an operation on the shard of its key and returns the result. A scan
// reads that shard alone. Do retries until the result is known or ctx ends. After
// the end of ctx a write may or may not take effect. Other errors are
//
//   - rsm.ErrSessionExpired: so many other clients wrote to the shard during this
//     write that the shard has forgotten whether the write took effect
//   - clerk.ErrClosed
func (ck *Clerk) Do(ctx context.Context, op kv.Op) (kv.Result, error) {
	result, err := ck.execute(ctx, op.ReadOnly(), Command{Kind: KindOp, Shard: key2shard(op.Key), Op: op})
	return result.KV, err
}

// DoAs is Do in a session of the caller's. The write is command seq of client and
// takes effect at most once (see rsm.Replica). A client has a separate session with
// each shard. Many such writes may be in progress at a time. If unsure is true and
// there is an error, the write may have taken effect.
func (ck *Clerk) DoAs(ctx context.Context, client, seq uint64, op kv.Op) (result kv.Result, unsure bool, err error) {
	c := Command{Kind: KindOp, Shard: key2shard(op.Key), Op: op}
	busy := admit(ctx, ck.shared.sending, c.size(), func() {
		var answer Result
		answer, unsure, err = ck.route(ctx, c.Shard, &clerk.Args[Command]{Client: client, Seq: seq, Command: c})
		result = answer.KV
	})
	return result, unsure, cmp.Or(busy, err)
}

// ScanShard reads the keys of a shard from start up to end, in order, at one moment.
// end is excluded, and "" stands for no end. A scan returns at most limit keys. See
// kv.Scan.
func (ck *Clerk) ScanShard(ctx context.Context, shard int, start, end string, limit int) (kv.Result, error) {
	if shard < 0 || shard >= shardctrler.NShards {
		return kv.Result{}, fmt.Errorf("shardkv: scan of shard %d: shards are 0 to %d", shard, shardctrler.NShards-1)
	}
	result, err := ck.execute(ctx, true, Command{Kind: KindOp, Shard: shard, Op: kv.Scan(start, end, limit)})
	return result.KV, err
}

// Scan reads the keys of all shards from start up to end, in order. end is
// excluded, and "" stands for no end. A scan returns at most limit keys, or
// kv.MaxScan if limit is 0. Scan reads each shard at another moment.
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

// merge joins the scans of all shards. If a scan stopped at a limit, its shard may have
// more keys after the last one returned, so merge drops all larger keys.
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

// Close ends the clerk's sessions, and waits until the groups have deleted them or
// ctx ends. Without Close the groups delete the sessions when others displace them.
// After Close the clerk can only read. Forks stay open.
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

// largeBytes is the size from which on commands and values count as large.
const largeBytes = 64 << 10

// largeLimits bound the large commands in progress, and separately the fetches of
// large values.
var largeLimits = admission.Limits{Bytes: 8 << 20, Requests: 8, Waiting: 128}

// admit calls do when a gate has room for bytes. Small sizes need no room. A large
// command spends at most half of its time in the queue. A command that is admitted
// too late would cost as much and end without an answer.
func admit(ctx context.Context, g *admission.Gate, bytes int, do func()) error {
	if bytes > largeBytes {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			waiting, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		}
		defer cancel()
		if err := g.Acquire(waiting, bytes); err != nil {
			return fmt.Errorf("%w: %w", rsm.ErrBusy, err)
		}
		defer g.Release(bytes)
	}
	do()
	return nil
}

// execute sends a command to the owner of its shard. A write takes effect at most once.
func (ck *Clerk) execute(ctx context.Context, readOnly bool, c Command) (result Result, err error) {
	if readOnly {
		result, _, err = ck.route(ctx, c.Shard, &clerk.Args[Command]{Command: c})
		return result, err
	}
	busy := admit(ctx, ck.shared.sending, c.size(), func() { result, err = ck.write(ctx, c) })
	return result, cmp.Or(busy, err)
}

// write sends a command that takes effect at most once.
func (ck *Clerk) write(ctx context.Context, c Command) (result Result, err error) {
	err = ck.sessions[c.Shard].Do(ctx, func(client, seq uint64) (unsure bool, err error) {
		result, unsure, err = ck.route(ctx, c.Shard, &clerk.Args[Command]{Client: client, Seq: seq, Command: c})
		return unsure, err
	})
	return result, err
}

// askTimeout bounds the first attempt to reach a group. After an attempt the clerk
// looks for a newer configuration, as the group may be dead and the shard elsewhere.
// The bound doubles with each attempt, up to maxAskTimeout, as the group may
// merely be slow.
const (
	askTimeout    = 500 * time.Millisecond
	maxAskTimeout = 10 * time.Second
)

// route sends a command to the owner of a shard until a group has answered. The
// shard may move meanwhile. unsure is that of clerk.Ask.
func (ck *Clerk) route(ctx context.Context, shard int, args *clerk.Args[Command]) (result Result, unsure bool, err error) {
	timeout := askTimeout
	for wait := newBackoff(clerkPause); ; wait.pause(ctx) {
		gid, servers := ck.owner(shard)
		if gid != 0 {
			var again bool
			result, again, err = ck.askGroup(ctx, timeout, gid, servers, args)
			unsure, timeout = unsure || again, min(2*timeout, maxAskTimeout)
			if err == nil && result.Code.final() {
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
			timeout = askTimeout
			if result.Code.soon() {
				continue // the group owns the shard
			}
		}
		if err := ck.refresh(ctx); err != nil {
			return result, unsure, err
		}
	}
}

func (ck *Clerk) askGroup(ctx context.Context, timeout time.Duration, gid int, servers []string, args *clerk.Args[Command]) (Result, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	group := ck.shared.groups.group(gid, servers, args.Command.large())
	return clerk.Ask[clerk.Args[Command], Result](ctx, group, "ShardKV.Execute", args)
}

// owner returns the owner of a shard in the newest known configuration, or gid 0.
func (ck *Clerk) owner(shard int) (gid int, servers []string) {
	ck.shared.mu.Lock()
	defer ck.shared.mu.Unlock()
	gid = ck.shared.config.Shards[shard]
	return gid, ck.shared.config.Groups[gid]
}

// refresh looks for a newer configuration.
func (ck *Clerk) refresh(ctx context.Context) error {
	s := ck.shared
	s.mu.Lock()
	num := s.config.Num
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, found, err := s.ctrl.Newer(limited, num)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil // the known one may still be right
	case err != nil:
		return err
	}
	if found {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.Num > s.config.Num {
			s.config = c
		}
	}
	return nil
}
