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

	"raftlab/internal/etcdapi"
	"raftlab/kv"
	"raftlab/rsm"
)

// Errors of Do.
var (
	// ErrNoLeader reports that no leader was found in time. The operation has no
	// effect.
	ErrNoLeader = errors.New("there is no leader")
	// ErrUnknown reports a write with an open outcome. The write may have taken
	// effect, or may yet.
	ErrUnknown = errors.New("the outcome is not known")
	// ErrBusy reports too many requests under way. The operation has no effect.
	ErrBusy = errors.New("the store is busy")
	// ErrKeyReused reports an idempotency key of an earlier, different write of the
	// same key.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
)

// session is a client session (see package rsm).
type session struct {
	client uint64
	seq    uint64 // of the last write
}

// sessions are the cluster's own sessions.
type sessions struct{ freeList[session] }

// freeList is a free list. Each element serves one request at a time. The list grows
// to the largest number of simultaneous requests.
type freeList[T any] struct {
	mu  sync.Mutex
	all []T
}

// get removes an element from the list, or makes one.
func (l *freeList[T]) get(make func() T) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.all)
	if n == 0 {
		return make()
	}
	one := l.all[n-1]
	l.all = l.all[:n-1]
	return one
}

func (l *freeList[T]) put(one T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, one)
}

// executor executes an operation as command s.seq of client s.client.
type executor func(ctx context.Context, s session, op kv.Op) (kv.Result, error)

// leaderPoll is the interval of a request's looks for a leader.
const leaderPoll = 5 * time.Millisecond

// Keys executes operations of package kv on members with etcd's API, for the interface
// /v1. Any goroutine may call the methods.
type Keys struct {
	// pick waits for a member that takes operations, preferably the leader, and returns
	// nil if ctx ends first.
	pick     func(ctx context.Context) *etcdapi.Server
	noLeader func() error
	sessions sessions
}

// KeysOf returns the Keys of one member of a cluster.
func KeysOf(member *etcdapi.Server) *Keys {
	return &Keys{
		pick: func(ctx context.Context) *etcdapi.Server {
			if ctx.Err() != nil {
				return nil
			}
			return member
		},
		noLeader: func() error { return ErrNoLeader },
	}
}

// Do executes an operation on the leader, and waits for a leader until ctx ends. A
// write takes effect once, however often Do tries. All writes of op.Key under one
// idempotency key, if not empty, are one write. The first takes effect, and the
// others return the first one's result. A different write of op.Key under the key is
// refused with ErrKeyReused. The store remembers an idempotency key until
// rsm.DefaultMaxSessions later ones.
func (k *Keys) Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error) {
	return do(ctx, idempotencyKey, op, &k.sessions, k.execute)
}

func do(ctx context.Context, idempotencyKey string, op kv.Op, own *sessions, execute executor) (kv.Result, error) {
	switch {
	case op.ReadOnly():
		return execute(ctx, session{}, op)
	case idempotencyKey == "":
		return own.once(ctx, op, execute)
	}
	op.Tag = hash(fmt.Sprint(op.Kind, op.Conditional, op.Version), op.Value)
	// The session belongs to op.Key, because a shard cannot know the writes of other
	// shards under the same idempotency key. Stores without groups have the same rule.
	result, err := execute(ctx, session{client: hash(idempotencyKey, op.Key), seq: 1}, op)
	if err == nil && result.Tag != op.Tag {
		return kv.Result{}, ErrKeyReused
	}
	return result, err
}

// hash returns 64 bits of SHA-256, and never 0.
func hash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// once executes a write in one of the cluster's own sessions.
func (own *sessions) once(ctx context.Context, op kv.Op, execute executor) (kv.Result, error) {
	s := own.get(newSession)
	s.seq++
	result, err := execute(ctx, s, op)
	switch {
	case err == nil:
		own.put(s)
	case errors.Is(err, rsm.ErrSessionExpired) && !errors.Is(err, ErrUnknown):
		// The session was idle for too long. The write has had no effect.
		s = newSession()
		s.seq++
		return execute(ctx, s, op)
	}
	// After another error the write may still be in the log. So nobody uses the
	// session again.
	return result, err
}

func newSession() session { return session{client: max(rand.Uint64(), 1)} }

// execute tries leader after leader until one returns a result.
func (k *Keys) execute(ctx context.Context, s session, op kv.Op) (kv.Result, error) {
	unsure := false // an earlier try may still take effect
	for {
		member := k.pick(ctx)
		if member == nil && !unsure {
			return kv.Result{}, k.noLeader()
		} else if member == nil {
			return kv.Result{}, ErrUnknown
		}
		result, err := member.Execute(ctx, etcdapi.Write{Client: s.client, Seq: s.seq, Op: op, Limits: Limits})
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, etcdapi.ErrNotAccepted):
		case errors.Is(err, etcdapi.ErrTooMany) && !unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", ErrBusy, err)
		case errors.Is(err, etcdapi.ErrOutcome):
			unsure = true
		case unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", ErrUnknown, err)
		default:
			return kv.Result{}, err
		}
		pause(ctx)
	}
}

// pause waits for leaderPoll, or until ctx ends.
func pause(ctx context.Context) {
	select {
	case <-time.After(leaderPoll):
	case <-ctx.Done():
	}
}
