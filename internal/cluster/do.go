//go:build !wasip1

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/kv"
	"raftlab/kvraft"
	"raftlab/rsm"
)

// Errors of Do.
var (
	// ErrNoLeader: no leader was found in time. Nothing was done.
	ErrNoLeader = errors.New("there is no leader")
	// ErrUnknown: it is not known whether the write took effect, or will.
	ErrUnknown = errors.New("the outcome is not known")
	// ErrBusy: more requests are under way than the store takes. Nothing was done.
	ErrBusy = errors.New("the store is busy")
	// ErrKeyReused: the idempotency key was given with another write of the same
	// key before.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
)

// session is a client session (see package rsm).
type session struct {
	client uint64
	seq    uint64 // of the last write
}

// sessions are sessions of the cluster's own.
type sessions struct{ idle[session] }

// idle are things that one request at a time uses, and none uses now. There are as
// many as there were requests at the same time.
type idle[T any] struct {
	mu  sync.Mutex
	all []T
}

// take takes one away, or makes one.
func (i *idle[T]) take(make func() T) T {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.all)
	if n == 0 {
		return make()
	}
	one := i.all[n-1]
	i.all = i.all[:n-1]
	return one
}

func (i *idle[T]) giveBack(one T) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = append(i.all, one)
}

// executor executes an operation, the command seq of a session's client.
type executor func(ctx context.Context, s session, op kv.Op) (kv.Result, error)

// leaderPoll is how often a request that finds no leader looks again.
const leaderPoll = 5 * time.Millisecond

// Do executes an operation on whichever replica leads, and waits for one until
// ctx ends. A write takes effect once, however often it has to be tried. With an
// idempotency key that is not empty that goes for all writes of op.Key under it:
// the first of them takes effect, and the others return its result; a different
// write of op.Key is refused with ErrKeyReused. It is remembered until
// rsm.DefaultMaxSessions others were used after it.
func (c *Cluster) Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error) {
	return do(ctx, idempotencyKey, op, &c.sessions, c.execute)
}

func do(ctx context.Context, idempotencyKey string, op kv.Op, own *sessions, execute executor) (kv.Result, error) {
	switch {
	case op.ReadOnly():
		return execute(ctx, session{}, op)
	case idempotencyKey == "":
		return own.once(ctx, op, execute)
	}
	op.Tag = hash(fmt.Sprint(op.Kind, op.Conditional, op.Version), op.Value)
	// The session is op.Key's too: a shard cannot tell what was written to others
	// under the same idempotency key, and with groups and without it should be one rule.
	result, err := execute(ctx, session{client: hash(idempotencyKey, op.Key), seq: 1}, op)
	if err == nil && result.Tag != op.Tag {
		return kv.Result{}, ErrKeyReused
	}
	return result, err
}

// hash returns 64 bits of SHA-256, and not 0.
func hash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// once carries out a write in a session of the cluster's own.
func (own *sessions) once(ctx context.Context, op kv.Op, execute executor) (kv.Result, error) {
	s := own.take(newSession)
	s.seq++
	result, err := execute(ctx, s, op)
	switch {
	case err == nil:
		own.giveBack(s)
	case errors.Is(err, rsm.ErrSessionExpired) && !errors.Is(err, ErrUnknown):
		// It had gone unused for long. Nothing was done in it.
		s = newSession()
		s.seq++
		return execute(ctx, s, op)
	}
	// After another error the write may be in the log still: its session is
	// not used again.
	return result, err
}

func newSession() session { return session{client: max(rand.Uint64(), 1)} }

// execute tries leader after leader until one gives a result.
func (c *Cluster) execute(ctx context.Context, s session, op kv.Op) (kv.Result, error) {
	unsure := false // an earlier try may still take effect
	for {
		leader := c.leader(ctx)
		if leader == nil && !unsure {
			return kv.Result{}, c.noLeader()
		} else if leader == nil {
			return kv.Result{}, ErrUnknown
		}
		result, err := leader.Do(ctx, s.client, s.seq, op)
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, rsm.ErrNotLeader):
		case errors.Is(err, rsm.ErrBusy) && !unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", ErrBusy, err)
		case errors.Is(err, rsm.ErrBusy):
			return kv.Result{}, ErrUnknown
		case errors.Is(err, rsm.ErrLost), errors.Is(err, rsm.ErrStopped), ctx.Err() != nil:
			unsure = unsure || !op.ReadOnly()
		case unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", ErrUnknown, err)
		default:
			return kv.Result{}, err
		}
		pause(ctx)
	}
}

// noLeader is ErrNoLeader with what there is.
func (c *Cluster) noLeader() error {
	run := 0
	for _, r := range c.replicas {
		if now := r.current(); now != nil && now.failure() == nil {
			run++
		}
	}
	return fmt.Errorf("%w: %d of %d replicas run", ErrNoLeader, run, len(c.replicas))
}

// leader waits for a replica that believes it leads; nil: ctx ended first.
func (c *Cluster) leader(ctx context.Context) *kvraft.KVServer {
	for ctx.Err() == nil {
		var newest *kvraft.KVServer
		term := -1
		for _, r := range c.replicas {
			run := r.current()
			if run == nil {
				continue
			}
			// One that was deposed and does not know it yet has an older term.
			if in, leads := run.raft.GetState(); leads && in > term {
				newest, term = run.server.(kvService).KVServer, in
			}
		}
		if newest != nil {
			return newest
		}
		pause(ctx)
	}
	return nil
}

// pause waits a moment, or until ctx ends.
func pause(ctx context.Context) {
	select {
	case <-time.After(leaderPoll):
	case <-ctx.Done():
	}
}
