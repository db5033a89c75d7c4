package node_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// join starts a host that waits to be added.
func (c *cluster) join(id core.NodeID) *node.Node {
	c.Helper()
	joining := *c
	joining.config.Join = true
	return joining.start(id)
}

func (c *cluster) change(changes ...node.Change) {
	c.Helper()
	short, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	require.NoError(c, c.leader().ChangeMembers(short, changes...))
}

func address(id core.NodeID) string { return fmt.Sprintf("memnet:%d", id) }

// voters waits until all running hosts have the same voters.
func (c *cluster) voters(want ...core.NodeID) {
	c.Helper()
	testkit.WaitFor(c, 10*time.Second, fmt.Sprintf("voters %v", want), func() bool {
		for _, n := range c.nodes {
			st, err := n.Status(ctx)
			if err != nil || st.Joint {
				return false
			}
			var have []core.NodeID
			for _, m := range st.Members {
				if m.Voter {
					have = append(have, m.ID)
				}
			}
			if fmt.Sprint(have) != fmt.Sprint(want) {
				return false
			}
		}
		return true
	})
}

func TestAddVoter(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.propose("before")
		c.join(4)
		c.change(node.AddVoter(4, address(4)))
		c.voters(1, 2, 3, 4)
		c.propose("after")
		require.Equal(c, []string{"before", "after"}, c.agree(2))
	})
}

func TestAddVoterByASnapshot(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: 5, SnapshotChunkBytes: 50}, func(c *cluster) {
		for i := range 100 {
			c.propose(fmt.Sprint(i))
		}
		c.join(4)
		c.change(node.AddVoter(4, address(4)))
		c.agree(100)
		require.Equal(c, 1, c.states[4].restores)
		c.stop(4)
		c.start(4) // from its own storage, where the membership came with the snapshot
		c.propose("again")
		c.agree(101)
		c.voters(1, 2, 3, 4)
	})
}

func TestLearnerIsPromotedAndDemoted(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.join(4)
		c.change(node.AddLearner(4, address(4)))
		c.propose("x")
		c.agree(1)
		c.voters(1, 2, 3)
		c.change(node.Promote(4))
		c.voters(1, 2, 3, 4)
		c.change(node.Demote(4))
		c.voters(1, 2, 3)
	})
}

func TestRemovedLeaderHandsOver(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		old := c.leader()
		c.change(node.Remove(old.ID()))
		<-old.Done()
		require.ErrorIs(c, old.Err(), node.ErrRemoved)
		c.stop(old.ID())
		c.propose("goes on")
	})
}

func TestRemovedFollowerLearnsOfIt(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		gone := c.follower()
		term := gone.Term()
		c.change(node.Remove(gone.ID()))
		<-gone.Done()
		require.ErrorIs(c, gone.Err(), node.ErrRemoved)
		c.stop(gone.ID())
		c.propose("goes on")
		require.Equal(c, term, c.leader().Term(), "the removed member disturbed the others")
	})
}

func TestMemberThatIsDownIsRemoved(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		down := c.follower().ID()
		c.stop(down)
		c.change(node.Remove(down))
		c.propose("goes on")
	})
}

// A member that was removed while it was down learns of it from the others, whether it
// could call elections or not. Nobody sends it anything. A member that has learned of its
// removal learns it again after a restart.
func TestRemovedWhileDownLearnsOfIt(t *testing.T) {
	for _, kind := range []string{"voter", "learner", "demoted"} {
		t.Run(kind, func(t *testing.T) {
			run(t, 3, node.Config{}, func(c *cluster) {
				c.join(4)
				c.change(node.AddLearner(4, address(4)))
				if kind != "learner" {
					c.change(node.Promote(4))
				}
				if kind == "demoted" {
					c.change(node.Demote(4))
				}
				c.propose("x")
				c.agree(1)
				c.stop(4)
				c.change(node.Remove(4))
				c.propose("y")
				for range 2 {
					time.Sleep(time.Minute) // the leader has given up telling it
					gone := c.start(4)
					<-gone.Done()
					require.ErrorIs(c, gone.Err(), node.ErrRemoved)
					c.stop(4)
				}
				c.propose("goes on")
			})
		})
	}
}

func TestReplaceSeveralAtOnce(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.propose("before")
		c.join(4)
		c.join(5)
		c.join(6)
		old := []*node.Node{c.nodes[1], c.nodes[2], c.nodes[3]}
		c.change(node.AddVoter(4, address(4)), node.AddVoter(5, address(5)), node.AddVoter(6, address(6)),
			node.Remove(1), node.Remove(2), node.Remove(3))
		for _, n := range old {
			<-n.Done()
			require.ErrorIs(c, n.Err(), node.ErrRemoved)
			c.stop(n.ID())
		}
		c.propose("after")
		require.Equal(c, []string{"before", "after"}, c.agree(2))
		c.voters(4, 5, 6)
	})
}

func TestChangesThatCannotBe(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		c.propose("x")
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.Remove(1), node.Remove(2), node.Remove(3)), core.ErrBadConfiguration)
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.Promote(9)), node.ErrNoMember)
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.SetAddress(9, "x")), node.ErrNoMember)
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.SetAddress(2, "")), node.ErrConfig)
		require.ErrorIs(c, leader.ChangeMembers(ctx, node.Remove(9)), node.ErrNoMember)
		require.ErrorIs(c, c.follower().ChangeMembers(ctx, node.Remove(1)), node.ErrNotLeader)
		c.voters(1, 2, 3)
		c.propose("y")
	})
}

func TestVoterThatNeverCatchesUpStaysALearner(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := c.leader().ChangeMembers(short, node.AddVoter(9, address(9)), node.Remove(c.follower().ID()))
		require.ErrorIs(c, err, context.DeadlineExceeded)
		require.ErrorContains(c, err, "hosts [9] have caught up")
		c.voters(1, 2, 3)
		c.propose("goes on")
		c.join(9)
		c.change(node.AddVoter(9, address(9)))
		c.voters(1, 2, 3, 9)
	})
}

func TestTransferLeadership(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		for range 5 {
			c.propose("x")
			to := c.follower()
			require.NoError(c, c.leader().TransferLeadership(ctx, to.ID()))
			testkit.WaitFor(c, time.Second, "the new leader", to.IsLeader)
		}
		require.ErrorIs(c, c.follower().TransferLeadership(ctx, core.None), node.ErrNotLeader)
		require.ErrorIs(c, c.leader().TransferLeadership(ctx, 9), core.ErrNoSuccessor)
		cut := c.follower().ID()
		c.network.Partition([]core.NodeID{cut})
		require.ErrorIs(c, c.leader().TransferLeadership(ctx, cut), node.ErrNotTransferred)
		c.propose("leads on")
	})
}

func TestShutdownHandsTheLeadershipOver(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.propose("x")
		old := c.leader()
		begun := time.Now()
		require.NoError(c, old.Shutdown(ctx))
		delete(c.nodes, old.ID())
		c.propose("y")
		require.Less(c, time.Since(begun), 500*time.Millisecond, "an election timeout passed")
	})
}

func TestPriorityMovesTheLeadership(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		to := c.follower()
		c.change(node.SetPriority(to.ID(), 10))
		testkit.WaitFor(c, 10*time.Second, "the preferred leader", to.IsLeader)
	})
}

func TestAddressesFollowTheMembership(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.change(node.SetAddress(2, "elsewhere"))
		for _, n := range c.nodes {
			testkit.WaitFor(c, 5*time.Second, "the new address", func() bool {
				st, err := n.Status(ctx)
				require.NoError(c, err)
				return st.Members[1].Address == "elsewhere"
			})
		}
	})
}

// The leader is known before the membership, and before a change of its address.
func TestLeadersAddressIsKept(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.join(4)
		c.change(node.AddLearner(4, address(4)))
		leader := c.leader()
		leads := func(address string) {
			c.Helper()
			for _, n := range c.nodes {
				testkit.WaitFor(c, 5*time.Second, "the leader at "+address, func() bool {
					id, at := n.Leader()
					return id == leader.ID() && at == address
				})
			}
		}
		leads(address(leader.ID()))
		c.change(node.SetAddress(leader.ID(), "elsewhere"))
		leads("elsewhere")
	})
}

// A call whose context ends while the core proposes the change cannot tell whether
// the change was proposed.
func TestChangeThatEndsWithItsContextIsUnknown(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for i := range 20 {
			err := leader.ChangeMembers(ended, node.SetAddress(2, fmt.Sprint(i)))
			if !errors.Is(err, core.ErrChangePending) { // the answer may come before ctx's end is seen
				require.ErrorIs(c, err, context.Canceled)
				require.ErrorIs(c, err, node.ErrUnknown)
			}
			_, err = leader.Status(ended)
			if err != nil {
				require.ErrorIs(c, err, context.Canceled)
			}
		}
		c.propose("goes on")
	})
}

// A leader that is cut off appends a configuration. The next leader puts another one
// at the same index, which is no reason to keep the first one's addresses.
func TestConfigurationIsReplacedAtItsIndex(t *testing.T) {
	run(t, 5, node.Config{}, func(c *cluster) {
		c.propose("x")
		old := c.leader()
		with := c.follower()
		moved := core.NodeID(6) - max(old.ID(), with.ID()) // the others have to reach a majority
		for moved == old.ID() || moved == with.ID() {
			moved = 1 + moved%5
		}
		c.agree(1)
		c.network.Partition([]core.NodeID{old.ID(), with.ID()})
		_, err := old.ProposeAsync([]byte("lost")) // stands where the next leader has its no-op
		require.NoError(c, err)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(c, old.ChangeMembers(short, node.SetAddress(moved, "lost")), node.ErrUnknown)
		delete(c.nodes, old.ID())
		delete(c.nodes, with.ID())
		next := c.leader()
		require.NoError(c, next.ChangeMembers(ctx, node.SetAddress(moved, "kept")))
		require.NoError(c, next.TransferLeadership(ctx, moved))
		c.nodes[old.ID()], c.nodes[with.ID()] = old, with
		c.network.Heal()
		for _, n := range []*node.Node{old, with} {
			testkit.WaitFor(c, 5*time.Second, "the new leader", func() bool {
				leader, _ := n.Leader()
				return leader == moved
			})
			require.NoError(c, n.Barrier(ctx))
			_, at := n.Leader()
			require.Equal(c, "kept", at, "on host %d", n.ID())
		}
	})
}

// Members has the newest configuration, and Changed tells of a new one.
func TestMembersOfTheNewestConfiguration(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.propose("before")
		n := c.follower()
		ids := func() (all []core.NodeID) {
			for _, m := range n.Members() {
				all = append(all, m.ID)
			}
			return all
		}
		require.Equal(c, []core.NodeID{1, 2, 3}, ids())
		require.Empty(c, c.join(4).Members(), "without a configuration")
		changed := n.Changed()
		c.change(node.AddLearner(4, address(4)))
		<-changed
		testkit.WaitFor(c, time.Minute, "the learner", func() bool {
			all := n.Members()
			return len(all) == 4 && all[3] == node.Member{ID: 4, Address: address(4), Learner: true}
		})
		c.change(node.Promote(4), node.Remove(n.ID()%3+1))
		testkit.WaitFor(c, time.Minute, "the voter", func() bool { all := n.Members(); return len(all) == 3 && !all[2].Learner })
	})
}
