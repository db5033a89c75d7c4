package etcdapi_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/etcdapi"
)

// The removal of the leader is answered, whether the leader or a follower is asked. The
// leader hands over first, because a removed member ends before it can answer.
func TestLeaderIsRemoved(t *testing.T) {
	for name, asked := range map[string]func(c *cluster) *member{
		"by itself":     (*cluster).leader,
		"by a follower": (*cluster).follower,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, etcdapi.Config{}, func(c *cluster) {
				ctx := context.Background()
				settle() // all members have published their attributes
				old, m := c.leader(), asked(c)
				old.put(t, "a", "1")
				removed, err := m.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: uint64(old.id)})
				require.NoError(t, err)
				require.Len(t, removed.Members, 2)
				for _, one := range removed.Members {
					require.NotEqual(t, uint64(old.id), one.ID)
				}
				<-old.node.Done()
				next := c.leader()
				require.NotEqual(t, old.id, next.id)
				next.put(t, "b", "2")
				require.Len(t, next.get(t, "a").Kvs, 1)
				list, err := next.cluster().MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
				require.NoError(t, err)
				require.Len(t, list.Members, 2)
			})
		})
	}
}

// The connections to a removed member are closed. A call to a member of which this one has
// not heard keeps its connection.
func TestConnectionsOfRemovedMembers(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		settle()
		m, gone := c.leader(), c.follower()
		for _, one := range c.members {
			_, err := one.server.Survey(ctx) // asks all others
			require.NoError(t, err)
			require.Len(t, one.server.PeerConnections(), 2)
		}
		_, err := m.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: uint64(gone.id)})
		require.NoError(t, err)
		<-gone.node.Done()
		settle()
		settle()
		for _, one := range c.members {
			if one != gone {
				require.NotContains(t, one.server.PeerConnections(), gone.id)
			}
		}

		end, err := m.server.BeginCall(gone.id)
		require.NoError(t, err)
		settle()
		settle()
		require.Contains(t, m.server.PeerConnections(), gone.id)
		end()
		settle()
		settle()
		require.NotContains(t, m.server.PeerConnections(), gone.id)
	})
}
