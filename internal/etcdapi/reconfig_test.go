package etcdapi_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
)

func (m *member) add(learner bool) (*pb.MemberAddResponse, error) {
	url := fmt.Sprintf("http://new%d:1", time.Now().UnixNano())
	return pb.NewClusterClient(m.conn).MemberAdd(context.Background(), &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: learner})
}

func (m *member) remove(id core.NodeID) error {
	_, err := pb.NewClusterClient(m.conn).MemberRemove(context.Background(), &pb.MemberRemoveRequest{ID: uint64(id)})
	return err
}

// Voters that have not been connected for 5 s do not count as healthy. An addition needs a
// majority with the new member.
func TestChangesNeedAHealthyMajority(t *testing.T) {
	run(t, etcdapi.Config{Connections: new(etcdapi.Connections)}, func(c *cluster) {
		f := c.follower()
		for _, learner := range []bool{false, true} {
			_, err := f.add(learner)
			require.ErrorIs(t, err, rpctypes.ErrGRPCUnhealthy, "soon after the start")
		}
		require.ErrorIs(t, f.remove(c.leader().id), rpctypes.ErrGRPCUnhealthy)
		time.Sleep(6 * time.Second)
		learner, err := f.add(true)
		require.NoError(t, err)
		_, err = f.add(true)
		require.ErrorIs(t, err, rpctypes.ErrGRPCTooManyLearners)
		voter, err := f.add(false)
		require.NoError(t, err, "a member that is to become a voter is no learner of the bound")
		require.NoError(t, f.remove(core.NodeID(learner.Member.ID)))
		require.NoError(t, f.remove(core.NodeID(voter.Member.ID)))

		down := c.leader().id
		c.stop(down)
		c.leader()
		f = c.follower()
		for _, learner := range []bool{false, true} {
			_, err := f.add(learner)
			require.ErrorIs(t, err, rpctypes.ErrGRPCUnhealthy, "two of three, and a new one")
		}
		require.ErrorIs(t, f.remove(f.id), rpctypes.ErrGRPCUnhealthy)
		require.NoError(t, f.remove(down), "a member that is down")
		_, err = f.add(true)
		require.NoError(t, err, "two of two, and a new one")
	})
}

// Without the checks members change at any time.
func TestChangesWithoutChecks(t *testing.T) {
	run(t, etcdapi.Config{MaxLearners: 2}, func(c *cluster) {
		c.stop(c.leader().id)
		m := c.leader()
		for range 2 {
			_, err := m.add(true)
			require.NoError(t, err)
		}
		_, err := m.add(true)
		require.ErrorIs(t, err, rpctypes.ErrGRPCTooManyLearners)
		_, err = m.add(false)
		require.NoError(t, err)
	})
}

// A voter that has never started endangers an addition and a removal.
func TestChangesNeedStartedVoters(t *testing.T) {
	run(t, etcdapi.Config{Connections: new(etcdapi.Connections)}, func(c *cluster) {
		time.Sleep(6 * time.Second)
		f, leader := c.follower(), c.leader()
		never := 6 - f.id - leader.id // the third member
		_, err := f.add(false)
		require.NoError(t, err)
		_, err = leader.node.Propose(context.Background(), etcdapi.ForgetEntry(never))
		require.NoError(t, err)
		_, err = f.add(false)
		require.ErrorIs(t, err, rpctypes.ErrGRPCMemberNotEnoughStarted, "two of three voters, and a new one")
		require.ErrorIs(t, f.remove(f.id), rpctypes.ErrGRPCMemberNotEnoughStarted, "one of two voters is left")
		require.NoError(t, f.remove(never))
	})
}
