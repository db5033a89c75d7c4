//go:build !wasip1

package cluster

import (
	"context"

	"raftlab/kv"
)

// Once carries out a write in a session of the cluster's own, which execute is
// to execute.
func Once(op kv.Op, execute func(client, seq uint64) (kv.Result, error)) (kv.Result, error) {
	return new(sessions).once(context.Background(), op, func(_ context.Context, s session, _ kv.Op) (kv.Result, error) {
		return execute(s.client, s.seq)
	})
}
