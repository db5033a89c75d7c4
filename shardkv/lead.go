package shardkv

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/rsm"
	"raftlab/rsm/clerk"
)

const (
	// pollInterval is the least time between two polls of the configuration
	// service.
	pollInterval = 100 * time.Millisecond
	// attemptTimeout bounds the first attempt to reach another group. The bound
	// doubles with each attempt, up to maxAttemptTimeout.
	attemptTimeout    = 2 * time.Second
	maxAttemptTimeout = time.Minute
)

// lead is the goroutine that performs the tasks of the group's leader while this
// server leads.
func (s *ShardKV) lead(ctx context.Context) {
	for {
		led, err := rsm.AwaitLeadership(ctx, s.raftLog, func(now rsm.Leadership) bool { return now.Leads })
		if err != nil {
			return
		}
		inTerm, over := context.WithCancel(ctx)
		var working sync.WaitGroup
		working.Go(func() { s.followConfigs(inTerm) })
		working.Go(func() { s.runTasks(inTerm) })
		_, _ = rsm.AwaitLeadership(ctx, s.raftLog, func(now rsm.Leadership) bool { return now != led })
		over()
		working.Wait()
	}
}

// followConfigs advances the group through the configurations, one after the
// other, as the configuration service publishes them.
func (s *ShardKV) followConfigs(ctx context.Context) {
	for ctx.Err() == nil {
		next := time.Now().Add(pollInterval)
		configs, err := s.ctrl.Await(ctx, s.gid, s.state.current().Num)
		for i := 0; i < len(configs) && err == nil; i++ {
			after := s.state.current().Num
			if configs[i].Num <= after {
				continue
			}
			_, err = s.replica.Submit(ctx, 0, 0, Command{Kind: kindConfig, Num: after, Config: &configs[i]})
			s.log.Debug("configuration", "num", configs[i].Num, "error", err)
		}
		pause(ctx, time.Until(next))
	}
}

// pause sleeps, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// runTasks runs every task in a goroutine of its own, so a dead group delays no
// task except those that need the group.
func (s *ShardKV) runTasks(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	done := make(chan task)
	active := make(map[task]bool)
	for {
		changed := s.state.watch()
		for _, t := range s.state.tasks() {
			if active[t] {
				continue
			}
			active[t] = true
			working.Go(func() {
				if t.txn != 0 {
					s.coordinate(ctx, TxnID{Shard: t.shard, Number: t.txn})
				} else {
					s.move(ctx, t)
				}
				select {
				case done <- t:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-changed:
		case t := <-done:
			delete(active, t)
		case <-ctx.Done():
			return
		}
	}
}

// move hands a shard over to its next owner, piece by piece. After the new owner
// has committed the last piece, move deletes the shard here. A new leader may
// repeat any part of a move.
func (s *ShardKV) move(ctx context.Context, m task) {
	encode, _, _, ok := s.state.outgoing(m)
	if !ok {
		return
	}
	encoded, err := encode()
	if err != nil {
		s.log.Error("a shard cannot be encoded", "shard", m.shard, "error", err)
		return
	}
	sum, offset, timeout := checksum(encoded), 0, attemptTimeout
	for wait := newBackoff(groupPause); ctx.Err() == nil; {
		_, gid, servers, ok := s.state.outgoing(m)
		if !ok {
			return
		}
		p := piece(encoded, sum, offset)
		result, err := s.askGroup(ctx, timeout, gid, servers, &Command{Kind: KindInstall, Shard: m.shard, Num: m.num, Piece: p})
		s.log.Debug("move", "shard", m.shard, "num", m.num, "to", gid, "from", offset, "of", len(encoded), "code", result.Code, "error", err)
		switch {
		case err != nil:
			timeout = min(2*timeout, maxAttemptTimeout)
		case result.Code == Partial:
			offset, timeout, wait = offset+len(p.Data), attemptTimeout, newBackoff(groupPause)
			continue
		case result.Code == Served:
			_, err = s.replica.Submit(ctx, 0, 0, Command{Kind: kindRemove, Shard: m.shard, Num: m.num})
			s.log.Debug("moved", "shard", m.shard, "num", m.num, "error", err)
		case result.Code == Malformed:
			offset = 0 // the receiver has pieces of another encoding
		}
		wait.pause(ctx)
	}
}

// askGroup sends a command to a group and returns the answer of its leader. The
// group may have another configuration than this one and answers accordingly.
func (s *ShardKV) askGroup(ctx context.Context, timeout time.Duration, gid int, servers []string, c *Command) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args := &clerk.Args[Command]{Command: *c}
	result, _, err := clerk.Ask[clerk.Args[Command], Result](ctx, s.groups.group(gid, servers, c.large()), "ShardKV.Execute", args)
	return result, err
}

// backoff paces retries. Each pause is up to twice as long as the one before.
type backoff struct{ next, most time.Duration }

const (
	firstPause = 5 * time.Millisecond
	// groupPause is the longest pause between two attempts of a group, and
	// clerkPause of a clerk. Both are short, since shards move in less than a second.
	groupPause = 200 * time.Millisecond
	clerkPause = 50 * time.Millisecond
)

func newBackoff(most time.Duration) *backoff { return &backoff{next: firstPause, most: most} }

// pause waits for the next pause or until ctx ends. Half of the pause is random, so
// that competitors do not retry in step.
func (b *backoff) pause(ctx context.Context) {
	pause(ctx, b.next/2+rand.N(b.next/2))
	b.next = min(2*b.next, b.most)
}
