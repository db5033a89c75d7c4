package kvstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"raftlab/kv"
	"raftlab/rsm"
)

// Limits bound keys and values.
var Limits = kv.Limits{Key: 1 << 10, Value: 1 << 20}

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

// Session is a client session (see package rsm).
type Session struct {
	Client uint64
	Seq    uint64 // of the last write
}

// Sessions are a store's own sessions.
type Sessions struct{ FreeList[Session] }

// FreeList is a free list. Each element serves one request at a time. The list grows
// to the largest number of simultaneous requests.
type FreeList[T any] struct {
	mu  sync.Mutex
	all []T
}

// Get removes an element from the list, or makes one.
func (l *FreeList[T]) Get(make func() T) T {
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

// Put adds an element to the list.
func (l *FreeList[T]) Put(one T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, one)
}

// Executor executes an operation as command s.Seq of client s.Client.
type Executor func(ctx context.Context, s Session, op kv.Op) (kv.Result, error)

// Do executes an operation. A write takes effect once, however often execute tries. All
// writes of op.Key under one idempotency key, if not empty, are one write. The first
// takes effect, and the others return the first one's result. A different write of
// op.Key under the key is refused with ErrKeyReused. The store remembers an idempotency
// key until rsm.DefaultMaxSessions later ones.
func Do(ctx context.Context, idempotencyKey string, op kv.Op, own *Sessions, execute Executor) (kv.Result, error) {
	switch {
	case op.ReadOnly():
		return execute(ctx, Session{}, op)
	case idempotencyKey == "":
		return own.once(ctx, op, execute)
	}
	op.Tag = hash(fmt.Sprint(op.Kind, op.Conditional, op.Version), op.Value)
	// The session belongs to op.Key, because a shard cannot know the writes of other
	// shards under the same idempotency key. Stores without groups have the same rule.
	result, err := execute(ctx, Session{Client: hash(idempotencyKey, op.Key), Seq: 1}, op)
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

// once executes a write in one of the store's own sessions.
func (own *Sessions) once(ctx context.Context, op kv.Op, execute Executor) (kv.Result, error) {
	s := own.Get(newSession)
	s.Seq++
	result, err := execute(ctx, s, op)
	switch {
	case err == nil:
		own.Put(s)
	case errors.Is(err, rsm.ErrSessionExpired) && !errors.Is(err, ErrUnknown):
		// The session was idle for too long. The write has had no effect.
		s = newSession()
		s.Seq++
		return execute(ctx, s, op)
	}
	// After another error the write may still be in the log. So nobody uses the
	// session again.
	return result, err
}

func newSession() Session { return Session{Client: max(rand.Uint64(), 1)} }
