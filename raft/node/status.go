package node

import (
	"context"

	"raftlab/raft/core"
)

// Status is a picture of a member at one moment, as plain data. LastApplied is the
// index of the last entry that the state machine includes, as [Node.Applied] returns
// it.
type Status struct {
	core.Status
	Group GroupID
	// LeaderAddress is where the leader is reached, "" if unknown.
	LeaderAddress string
	// ApplyQueue is the number of entries in the state machine's queue, which
	// [Config.MaxApplyBytes] bounds.
	ApplyQueue uint64
	// Stalled is the result of [Node.Stalled].
	Stalled bool
	// NoRoom is the result of [Node.NoRoom].
	NoRoom bool
	// Members has the id, role, address and priority of each member. The progress
	// of the other members is set on the leader only.
	Members []MemberStatus
}

// MemberStatus is a [core.MemberStatus] with the member's address and priority.
type MemberStatus struct {
	core.MemberStatus
	Address  string
	Priority uint8
}

// Status returns a picture of the member. Its error is ctx's cause, or matches
// [ErrStopped].
func (n *Node) Status(ctx context.Context) (Status, error) {
	var st Status
	err := n.await(ctx, func(c *core.Core) (bool, error) {
		cfg, _ := c.Configuration()
		st = Status{Status: c.Status(), Group: n.cfg.Group, Stalled: n.Stalled(), NoRoom: n.NoRoom()}
		handedOut := st.LastApplied
		st.LastApplied = n.applied.index.Load()
		st.ApplyQueue = handedOut - min(handedOut, st.LastApplied)
		st.LeaderAddress = cfg.Member(st.Leader).Address
		for _, m := range c.Members() {
			attributes := cfg.Member(m.ID)
			st.Members = append(st.Members, MemberStatus{m, attributes.Address, attributes.Priority})
		}
		return true, nil
	})
	if err != nil {
		return Status{}, err // the core may be about to write st
	}
	return st, nil
}

// Leader returns the leader of the group and the leader's address, as far as this
// member knows. core.None means that no leader is known.
func (n *Node) Leader() (core.NodeID, string) {
	s := n.standing.Load()
	return s.leader, s.address
}

// IsLeader reports whether this member leads, as far as it knows. Another member
// may lead a newer term already.
func (n *Node) IsLeader() bool { return n.standing.Load().leads(n.id) }

// Changed returns a channel that is closed when the member's role, term, leader or
// membership next changes, and when the member stops. A caller that must not miss
// a change calls Changed before IsLeader, Leader, Term and Members. Nothing changes any
// more after [Node.Done], and nobody closes a channel that is asked for later.
func (n *Node) Changed() <-chan struct{} { return n.standing.Load().changed }

// Leadership returns the member's current term, and whether this member leads that
// term, as of one moment.
func (n *Node) Leadership() (term uint64, leads bool) {
	s := n.standing.Load()
	return s.term, s.leads(n.id)
}

// Stalled reports whether the storage has not answered for longer than
// [HostConfig.StorageTimeout]. The events StorageStalled and StorageRecovered tell the
// same, but an event may be dropped.
func (n *Node) Stalled() bool { return n.stalled.Load() }

// Term returns the member's current term.
func (n *Node) Term() uint64 { return n.standing.Load().term }

// Applied returns the index of the last entry that the state machine includes.
func (n *Node) Applied() uint64 { return n.applied.index.Load() }

// Committed returns the index up to which the member knows the log to be committed.
func (n *Node) Committed() uint64 { return n.commit.Load() }
