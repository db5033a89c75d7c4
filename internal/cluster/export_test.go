//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"time"

	"raftlab/internal/kvstore"
	"raftlab/kv"
	"raftlab/raft/boltstore"
	"raftlab/raft/node"
)

// WithStorage returns opts with a wrapper around each replica's storage.
func WithStorage(opts Options, wrap func(replica int, s node.Storage) node.Storage) Options {
	opts.storage = wrap
	return opts
}

// WithStep returns opts with a function that a conversion calls before each change of a
// name.
func WithStep(opts Options, step func()) Options {
	opts.step = step
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

// WriteFormer makes a data directory of the former format, and executes operations.
func WriteFormer(dir string, replicas int, ops ...kv.Op) error {
	if err := (manifest{Format: formerFormat, Cluster: "former", Replicas: replicas}).write(dir); err != nil {
		return err
	}
	s, m, err := prepareServers(dir, Options{})
	if err != nil {
		return err
	}
	if err := s.start(m, dir, func(string, int) launcher { return onLog(startFormer) }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := 0; i < len(ops) && ctx.Err() == nil; {
		err = kvstore.ErrNoLeader
		for _, r := range s.replicas {
			if service := r.current().server.(logService); err != nil && service.member().IsLeader() {
				_, err = service.rsmService.(formerService).Do(ctx, 1, uint64(i+1), ops[i])
			}
		}
		if err == nil {
			i++
		} else {
			pause(ctx)
		}
	}
	return errors.Join(ctx.Err(), s.Close())
}
