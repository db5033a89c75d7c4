//go:build !wasip1

package cluster

import (
	"context"

	"raftlab/kv"
	"raftlab/raft/boltstore"
	"raftlab/raft/node"
)

// Once carries out a write in a session of the cluster's own, which execute is
// to execute.
func Once(op kv.Op, execute func(client, seq uint64) (kv.Result, error)) (kv.Result, error) {
	return new(sessions).once(context.Background(), op, func(_ context.Context, s session, _ kv.Op) (kv.Result, error) {
		return execute(s.client, s.seq)
	})
}

// WithStorage returns opts with a wrapper around each replica's storage.
func WithStorage(opts Options, wrap func(replica int, s node.Storage) node.Storage) Options {
	opts.storage = wrap
	return opts
}

// FileOptions names the data file of a replica, from 1, of a group.
func FileOptions(store, group string, replica, replicas int) boltstore.Options {
	format := storeFormat
	if group != "" {
		format = groupsFormat
	}
	return manifest{Format: format, Cluster: store, Replicas: replicas}.fileOptions(group, replica-1)
}

// Ends returns the number of ends on a store's network.
func Ends(c *Sharded) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.linked)
}
