package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"raftlab/raft/core"
)

// Change is one change of a group's membership. [Node.ChangeMembers] carries out
// any number of them as one.
type Change struct {
	kind   changeKind
	member Member
}

type changeKind uint8

const (
	addVoter changeKind = iota + 1
	addLearner
	remove
	setAddress
	setPriority
)

// AddVoter adds a host as a voter, or makes a learner a voter. The host receives
// the log as a learner until it has caught up, and votes from then on.
func AddVoter(id core.NodeID, address string) Change {
	return Change{addVoter, Member{ID: id, Address: address}}
}

// AddLearner adds a host as a learner, or makes a voter a learner.
func AddLearner(id core.NodeID, address string) Change {
	return Change{addLearner, Member{ID: id, Address: address, Learner: true}}
}

// Promote makes a learner a voter, once it has caught up. The address stays.
func Promote(id core.NodeID) Change { return Change{addVoter, Member{ID: id}} }

// Demote makes a voter a learner. The address stays.
func Demote(id core.NodeID) Change { return Change{addLearner, Member{ID: id, Learner: true}} }

// Remove takes a host out of the group. The host may be down. A leader that is
// removed hands the leadership over. The id is not given to another host later.
func Remove(id core.NodeID) Change { return Change{remove, Member{ID: id}} }

// SetAddress changes where a member is reached. The address is not empty.
func SetAddress(id core.NodeID, address string) Change {
	return Change{setAddress, Member{ID: id, Address: address}}
}

// SetPriority changes a voter's priority for the leadership.
func SetPriority(id core.NodeID, priority uint8) Change {
	return Change{setPriority, Member{ID: id, Priority: priority}}
}

// Errors of changes of membership and of transfers. Those of package core, such as
// core.ErrChangePending, are matched as well.
var (
	// ErrNoMember is matched by the error of a change for a host that is no member.
	ErrNoMember = errors.New("the host is not a member of the group")
	// ErrRemoved is the reason for the stop of a member after its removal.
	ErrRemoved = errors.New("the member was removed from the group")
	// ErrNotTransferred is matched by the error of a transfer of leadership that
	// the leader has given up.
	ErrNotTransferred = errors.New("the leadership was not transferred")
)

// apply makes the change in a list of members.
func (c Change) apply(members []Member) ([]Member, error) {
	i := slices.IndexFunc(members, func(m Member) bool { return m.ID == c.member.ID })
	if c.kind == setAddress && c.member.Address == "" {
		return nil, fmt.Errorf("%w: the address of host %d is empty", ErrConfig, c.member.ID)
	}
	if i < 0 {
		if c.member.Address == "" || c.kind == setAddress {
			return nil, fmt.Errorf("%w: host %d", ErrNoMember, c.member.ID)
		}
		return append(members, c.member), nil
	}
	m := &members[i]
	switch c.kind {
	case remove:
		return slices.Delete(members, i, i+1), nil
	case addVoter, addLearner:
		m.Learner = c.member.Learner
		if c.member.Address != "" {
			m.Address = c.member.Address
		}
	case setAddress:
		m.Address = c.member.Address
	case setPriority:
		m.Priority = c.member.Priority
	}
	return members, nil
}

// ChangeMembers changes the membership of the group, by joint consensus if voters
// change (section 6), and returns when the new membership is committed. Only the
// leader changes the membership; other members return a [*NotLeaderError].
//
// Hosts that become voters are learners first. ChangeMembers waits until they
// have caught up, which takes as long as the transfer of the state. If ctx ends
// before, they stay learners and nobody was removed; the same call continues from
// there. If ctx or the leadership ends later, the error matches [ErrUnknown]: the
// change may still be completed.
//
// A change that leaves no voter is refused. A change needs a majority of the old
// voters and a majority of the new voters. While one of the majorities is down,
// neither the change nor any other command commits. The members of a group with
// [Config.CommandsOnly] never change.
func (n *Node) ChangeMembers(ctx context.Context, changes ...Change) error {
	if n.cfg.CommandsOnly {
		return while(fmt.Errorf("%w: Config.CommandsOnly is set", ErrConfig), "changing the membership")
	}
	for {
		learners, err := n.changeOnce(ctx, changes)
		if err != nil || len(learners) == 0 {
			return err
		}
		if err := n.awaitCaughtUp(ctx, learners); err != nil {
			return while(err, "waiting until hosts %v have caught up", learners)
		}
	}
}

// changeOnce proposes the changes, or those hosts as learners that have to catch
// up before the changes can be proposed, and returns these hosts.
func (n *Node) changeOnce(ctx context.Context, changes []Change) (learners []core.NodeID, err error) {
	var index, term uint64
	err = n.await(ctx, func(c *core.Core) (bool, error) {
		var next core.Configuration
		var proposeErr error
		next, learners, proposeErr = planChange(c, changes)
		if proposeErr != nil {
			return true, proposeErr
		}
		index, term, proposeErr = c.ProposeConfiguration(next)
		switch {
		case errors.Is(proposeErr, core.ErrTermNotCommitted):
			return false, nil // soon
		case errors.Is(proposeErr, core.ErrUnchanged):
			_, index = c.Configuration()
			return true, nil
		case errors.Is(proposeErr, core.ErrNotLeader):
			return true, n.refusal(proposeErr)
		}
		return true, proposeErr
	})
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			err = unknown(err) // the core may have proposed the change already
		}
		return nil, while(err, "changing the membership")
	}
	n.poke() // the entry has to leave
	if err := n.awaitConfiguration(ctx, index, term); err != nil {
		return nil, while(err, "changing the membership")
	}
	return learners, nil
}

// planChange returns the configuration to propose. If hosts have to catch up
// first, it is the present one with these hosts as learners.
func planChange(c *core.Core, changes []Change) (next core.Configuration, learners []core.NodeID, err error) {
	present, _ := c.Configuration()
	members := membersOf(present)
	for _, change := range changes {
		if members, err = change.apply(members); err != nil {
			return next, nil, err
		}
	}
	next = configuration(members)
	for _, m := range c.Members() {
		if !m.Voter && m.CaughtUp || m.Voter || m.Outgoing {
			continue
		}
		if slices.Contains(next.Voters, m.ID) {
			learners = append(learners, m.ID)
		}
	}
	step := membersOf(present)
	for _, m := range members {
		if !m.Learner && !present.Contains(m.ID) {
			learners = append(learners, m.ID)
			m.Learner = true
			step = append(step, m)
		}
	}
	if len(learners) > 0 {
		next = configuration(step)
	}
	return next, learners, nil
}

// awaitConfiguration waits until the configuration at index, or the one that a
// joint configuration there leads to, is committed.
func (n *Node) awaitConfiguration(ctx context.Context, index, term uint64) error {
	err := n.await(ctx, func(c *core.Core) (bool, error) {
		committed, at := c.CommittedConfiguration()
		switch {
		case at >= index && !committed.Joint():
			return true, nil
		case term != 0 && c.Status().CurrentTerm != term:
			return true, ErrLeadershipLost
		}
		return false, nil
	})
	if err != nil {
		return unknown(err)
	}
	return nil
}

// awaitCaughtUp waits until learners may become voters.
func (n *Node) awaitCaughtUp(ctx context.Context, learners []core.NodeID) error {
	return n.await(ctx, func(c *core.Core) (bool, error) {
		if c.Status().State != core.Leader {
			return true, n.refusal(core.ErrNotLeader)
		}
		for _, m := range c.Members() {
			if slices.Contains(learners, m.ID) && !m.CaughtUp {
				return false, nil
			}
		}
		return true, nil
	})
}

// TransferLeadership makes the leader hand its leadership to another voter, or
// with core.None to the best one (thesis 3.10), and returns when the member no
// longer leads. Meanwhile the member refuses commands. If the other voter does
// not take over within an election timeout, the error matches
// [ErrNotTransferred] and the member leads on.
//
// With [Config.CommandsOnly], commands wait for the end of the transfer instead,
// because their places may be handed out already. The places are kept if the member
// leads on. Otherwise the commands are refused with [ErrLeadershipLost], and those of
// [Node.Append] are lost.
func (n *Node) TransferLeadership(ctx context.Context, to core.NodeID) error {
	var term uint64
	begun := false
	err := n.await(ctx, func(c *core.Core) (bool, error) {
		st := c.Status()
		switch {
		case !begun:
			begun, term = true, st.CurrentTerm
			if err := c.TransferLeadership(to); err != nil {
				if errors.Is(err, core.ErrNotLeader) {
					err = n.refusal(err)
				}
				return true, err
			}
			n.poke()
			return to == n.id, nil
		case st.State != core.Leader || st.CurrentTerm != term:
			return true, nil
		case st.Transferee == core.None:
			return true, ErrNotTransferred
		}
		return false, nil
	})
	if err != nil {
		return while(err, "transferring the leadership")
	}
	return nil
}

// Shutdown closes the member. A leader first hands the leadership over, if another
// voter can take over before ctx ends.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.standing.Load().leads(n.id) {
		if err := n.TransferLeadership(ctx, core.None); err != nil {
			n.log.Info("closing without a transfer of leadership", "error", err)
		}
	}
	return n.Close()
}
