package etcdapi

import (
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Connections follows the connections of a host to the others. Observe is to be the host's
// [node.HostConfig.Observe]. The zero value is ready.
type Connections struct {
	mu    sync.Mutex
	since map[core.NodeID]time.Time
}

// Observe notes a connection that is established or lost.
func (c *Connections) Observe(e node.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case node.PeerUp:
		if c.since == nil {
			c.since = make(map[core.NodeID]time.Time)
		}
		c.since[e.Peer] = e.Time
	case node.PeerDown:
		delete(c.since, e.Peer)
	}
}

// lasting returns how long there has been a connection to a member, 0 for none.
func (c *Connections) lasting(id core.NodeID) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	begun, ok := c.since[id]
	if !ok {
		return 0
	}
	return max(time.Since(begun), 1)
}

// healthInterval is how long a voter has to be connected to count as healthy in a change
// of members. It is etcd's.
const healthInterval = 5 * time.Second

// electorate is what the checks of a change of members count.
type electorate struct {
	voters  int
	started int // voters that have published their names
	healthy int // voters that have been connected for healthInterval, and the leader
}

// electorate counts the voters but one, core.None for all.
func (s *Server) electorate(st *node.Status, without core.NodeID) (e electorate) {
	published := s.picture().members
	for _, m := range st.Members {
		if !m.Voter || m.ID == without {
			continue
		}
		e.voters++
		if published[m.ID].name != "" {
			e.started++
		}
		if m.ID == s.node.ID() || s.cfg.Connections.lasting(m.ID) >= healthInterval {
			e.healthy++
		}
	}
	return e
}

// strict reports whether changes of members are checked.
func (s *Server) strict() bool { return s.cfg.Connections != nil && !s.cfg.LooseReconfig }

// mayAdd refuses an addition that endangers the majority, by etcd's rules. A learner does
// not count as a voter, but takes part in the count of healthy members, because the
// learner is to vote later.
func (s *Server) mayAdd(st *node.Status, learner bool) error {
	if learner && s.learners(st) >= s.cfg.MaxLearners {
		return rpctypes.ErrGRPCTooManyLearners
	}
	if !s.strict() {
		return nil
	}
	e := s.electorate(st, core.None)
	switch {
	case e.voters == 1: // the addition to a restored cluster of one
		return nil
	case !learner && e.started < majority(e.voters+1):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	case e.healthy < majority(e.voters+1):
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}

// learners counts the learners that are to stay learners.
func (s *Server) learners(st *node.Status) (n int) {
	promotions := s.picture().promotions
	for _, m := range st.Members {
		if m.Learner && !slices.Contains(promotions, m.ID) {
			n++
		}
	}
	return n
}

// mayRemove refuses a removal that endangers the majority, by etcd's rules. Learners, and
// voters without a connection, may always go unless too few started voters are left.
func (s *Server) mayRemove(st *node.Status, id core.NodeID) error {
	voter := slices.ContainsFunc(st.Members, func(m node.MemberStatus) bool { return m.ID == id && m.Voter })
	if !s.strict() || !voter {
		return nil
	}
	rest := s.electorate(st, id)
	switch {
	case rest.started < majority(rest.voters):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	case id != s.node.ID() && s.cfg.Connections.lasting(id) == 0:
		return nil
	}
	if all := s.electorate(st, core.None); all.healthy-1 < 1+(all.voters-1)/2 {
		return rpctypes.ErrGRPCUnhealthy
	}
	return nil
}

// mayPromote refuses a promotion that leaves too few started voters, by etcd's rules.
func (s *Server) mayPromote(st *node.Status) error {
	if !s.strict() {
		return nil
	}
	if e := s.electorate(st, core.None); e.started+1 < majority(e.voters+1) {
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	}
	return nil
}

func majority(voters int) int { return voters/2 + 1 }
