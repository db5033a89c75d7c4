//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftlab/internal/etcdapi"
	"raftlab/internal/kvstore"
	"raftlab/kv"
)

// leaderPoll is the interval of a request's looks for a leader.
const leaderPoll = 5 * time.Millisecond

// Keys executes operations of package kv on members with etcd's API, for the interface
// /v1. Any goroutine may call the methods.
type Keys struct {
	// pick waits for a member that takes operations, preferably the leader, and returns
	// nil if ctx ends first.
	pick     func(ctx context.Context) *etcdapi.Server
	noLeader func() error
	sessions kvstore.Sessions
}

// KeysOf returns the Keys of one member of a cluster.
func KeysOf(member func() *etcdapi.Server) *Keys {
	return &Keys{
		pick: func(ctx context.Context) *etcdapi.Server {
			if ctx.Err() != nil {
				return nil
			}
			return member()
		},
		noLeader: func() error { return kvstore.ErrNoLeader },
	}
}

// Do executes an operation on the leader as [kvstore.Do] does, and waits for a leader
// until ctx ends.
func (k *Keys) Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error) {
	return kvstore.Do(ctx, idempotencyKey, op, &k.sessions, k.execute)
}

// execute tries leader after leader until one returns a result.
func (k *Keys) execute(ctx context.Context, s kvstore.Session, op kv.Op) (kv.Result, error) {
	unsure := false // an earlier try may still take effect
	for {
		member := k.pick(ctx)
		if member == nil && !unsure {
			return kv.Result{}, k.noLeader()
		} else if member == nil {
			return kv.Result{}, kvstore.ErrUnknown
		}
		result, err := member.Execute(ctx, etcdapi.Write{Client: s.Client, Seq: s.Seq, Op: op, Limits: kvstore.Limits})
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, etcdapi.ErrNotAccepted):
		case errors.Is(err, etcdapi.ErrTooMany) && !unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", kvstore.ErrBusy, err)
		case errors.Is(err, etcdapi.ErrOutcome):
			unsure = true
		case unsure:
			return kv.Result{}, fmt.Errorf("%w: %w", kvstore.ErrUnknown, err)
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
