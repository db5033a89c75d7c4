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
	// lookInterval is how often a Raft that is no rsm.Notifier is asked whether it
	// leads.
	lookInterval = 50 * time.Millisecond
	// pollInterval is the least time between two polls of the configuration
	// service.
	pollInterval = 100 * time.Millisecond
	// attemptLimit bounds the first attempt at what another group has a part in,
	// and attemptLimitMost each of them: they double.
	attemptLimit     = 2 * time.Second
	attemptLimitMost = time.Minute
)

// lead is the goroutine that does what a group's leader has to, while this
// server leads.
func (s *ShardKV) lead(ctx context.Context) {
	for ctx.Err() == nil {
		term, isLeader := s.raft.GetState()
		if !isLeader {
			s.awaitStanding(ctx, func(_ int, isLeader bool) bool { return isLeader })
			continue
		}
		inTerm, over := context.WithCancel(ctx)
		var duties sync.WaitGroup
		duties.Go(func() { s.follow(inTerm) })
		duties.Go(func() { s.seeTo(inTerm) })
		s.awaitStanding(ctx, func(now int, isLeader bool) bool { return !isLeader || now != term })
		over()
		duties.Wait()
	}
}

// awaitStanding waits until what Raft says of its term and leadership is as
// wanted, or ctx ends.
func (s *ShardKV) awaitStanding(ctx context.Context, wanted func(term int, isLeader bool) bool) {
	notifier, notifies := s.raft.(rsm.Notifier)
	var look <-chan time.Time
	if !notifies {
		ticker := time.NewTicker(lookInterval)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		var changed <-chan struct{}
		if notifies {
			changed = notifier.Changed()
		}
		if wanted(s.raft.GetState()) {
			return
		}
		select {
		case <-changed:
		case <-look:
		case <-ctx.Done():
			return
		}
	}
}

// follow takes the configurations, one after the other, as the configuration
// service tells of them.
func (s *ShardKV) follow(ctx context.Context) {
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

// seeTo sees to every duty there is, each in a goroutine of its own: a group that
// is dead holds up what it has a part in and nothing else.
func (s *ShardKV) seeTo(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	done := make(chan duty)
	active := make(map[duty]bool)
	for {
		changed := s.state.watch()
		for _, d := range s.state.duties() {
			if active[d] {
				continue
			}
			active[d] = true
			working.Go(func() {
				if d.txn != 0 {
					s.conclude(ctx, TxnID{Shard: d.shard, Number: d.txn})
				} else {
					s.carry(ctx, d)
				}
				select {
				case done <- d:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-changed:
		case d := <-done:
			delete(active, d)
		case <-ctx.Done():
			return
		}
	}
}

// carry makes one move: the new owner is told, piece by piece, until it has the
// shard durably, then the shard is deleted here. Each part may happen more than
// once.
func (s *ShardKV) carry(ctx context.Context, m duty) {
	encode, _, _, ok := s.state.load(m)
	if !ok {
		return
	}
	encoded, err := encode()
	if err != nil {
		s.log.Error("a shard cannot be encoded", "shard", m.shard, "error", err)
		return
	}
	sum, offset, limit := checksum(encoded), 0, attemptLimit
	for wait := newBackoff(groupPause); ctx.Err() == nil; {
		_, gid, servers, ok := s.state.load(m)
		if !ok {
			return
		}
		p := piece(encoded, sum, offset)
		result, err := s.hand(ctx, limit, gid, servers, &Command{Kind: KindInstall, Shard: m.shard, Num: m.num, Piece: p})
		s.log.Debug("move", "shard", m.shard, "num", m.num, "to", gid, "from", offset, "of", len(encoded), "status", result.Status, "error", err)
		switch {
		case err != nil:
			limit = min(2*limit, attemptLimitMost)
		case result.Status == Partial:
			offset, limit, wait = offset+len(p.Data), attemptLimit, newBackoff(groupPause)
			continue
		case result.Status == Served:
			_, err = s.replica.Submit(ctx, 0, 0, Command{Kind: kindRemove, Shard: m.shard, Num: m.num})
			s.log.Debug("moved", "shard", m.shard, "num", m.num, "error", err)
		case result.Status == Malformed:
			offset = 0 // it has had pieces of something else
		}
		wait.pause(ctx)
	}
}

// hand has a command executed by a group. What this group's own configuration
// says of servers is enough: a group that is behind or ahead says so.
func (s *ShardKV) hand(ctx context.Context, limit time.Duration, gid int, servers []string, c *Command) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args := &clerk.Args[Command]{Command: *c}
	result, _, err := clerk.Ask[clerk.Args[Command], Result](ctx, s.groups.group(gid, servers), "ShardKV.Execute", args)
	return result, err
}

// backoff paces what is tried again: at once more often than later.
type backoff struct{ next, most time.Duration }

const (
	firstPause = 5 * time.Millisecond
	// groupPause is the longest between a group's tries, clerkPause between a
	// clerk's: shards move in less than a second.
	groupPause = 200 * time.Millisecond
	clerkPause = 50 * time.Millisecond
)

func newBackoff(most time.Duration) *backoff { return &backoff{next: firstPause, most: most} }

// pause waits, longer each time, and not as long as others do.
func (b *backoff) pause(ctx context.Context) {
	pause(ctx, b.next/2+rand.N(b.next/2))
	b.next = min(2*b.next, b.most)
}
