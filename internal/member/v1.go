//go:build !wasip1

package member

import (
	"context"
	"fmt"
	"net/http"

	"raftlab/internal/clientport"
	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/httpkv/handler"
	"raftlab/raft/core"
)

// newPage returns the page for people, and the interface /v1 of the member.
func (s *etcdStore) newPage() http.Handler {
	m := s.member
	store := v1{fixed{}, cluster.KeysOf(s.server), s}
	return console.New(console.Options{
		Title:  fmt.Sprintf("cluster %s, as member %s sees it", m.opts.ClusterName, m.opts.Name),
		Status: store.Status, Serving: m.Server, Sources: []clientport.Source{s},
		Hosts: m.opts.Hosts, Next: handler.New(store, handler.Options{Hosts: m.opts.Hosts, Logger: m.log}), Logger: m.log,
	})
}

// v1 is a member of a cluster for the interface /v1. Members are numbered from 1 in the
// order of their ids.
type v1 struct {
	fixed
	*cluster.Keys
	store *etcdStore
}

// Status returns a picture of each member. A member knows the sizes of its own store and
// log alone.
func (v v1) Status() []cluster.Status {
	members, err := v.store.server.Survey(context.Background())
	if err != nil {
		return []cluster.Status{{Number: 1, Name: v.store.member.opts.Name, State: "failed", Error: err.Error()}}
	}
	numbers := make(map[core.NodeID]int)
	for i, one := range members {
		numbers[one.ID] = i + 1
	}
	all := make([]cluster.Status, len(members))
	for i, one := range members {
		s := &all[i]
		*s = cluster.Status{Number: i + 1, Name: one.Name, State: "unreachable", Leader: numbers[one.Leader]}
		if one.Err != nil {
			s.Error = one.Err.Error()
			continue
		}
		s.State, s.Role = "running", "follower"
		switch {
		case one.Leader == one.ID:
			s.Role = "leader"
		case one.Learner:
			s.Role = "learner"
		}
		s.Term, s.CommitIndex, s.AppliedIndex, s.LastIndex = one.Term, one.CommitIndex, one.AppliedIndex, one.CommitIndex
		if one.Self {
			stats := v.store.server.Stats()
			s.Keys, s.Sessions = stats.Keys, stats.Sessions
			s.LogBytes = int(v.store.member.host.Stats().Storage.Log)
		}
	}
	return all
}

// fixed refuses the changes of replicas in one process.
type fixed struct{}

// Start implements handler.Cluster.
func (fixed) Start(int) error { return cluster.ErrProcess }

// Stop implements handler.Cluster.
func (fixed) Stop(int) error { return cluster.ErrProcess }

// Repair implements handler.Cluster.
func (fixed) Repair(int) error { return cluster.ErrProcess }

// Compact implements handler.Cluster.
func (fixed) Compact(int) error { return cluster.ErrProcess }
