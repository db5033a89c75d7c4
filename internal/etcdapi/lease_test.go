package etcdapi_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
)

func (m *member) grant(t *testing.T, ttl int64) int64 {
	t.Helper()
	r, err := m.lease.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{TTL: ttl})
	require.NoError(t, err)
	require.Equal(t, max(ttl, 2), r.TTL)
	return r.ID
}

func (m *member) attach(t *testing.T, key string, lease int64) {
	t.Helper()
	_, err := m.kv.Put(context.Background(), &pb.PutRequest{Key: []byte(key), Lease: lease})
	require.NoError(t, err)
}

// keepAlive renews a lease once, and returns the TTL of the answer.
func (m *member) keepAlive(t *testing.T, lease int64) int64 {
	t.Helper()
	stream, err := m.lease.LeaseKeepAlive(context.Background())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}))
	r, err := stream.Recv()
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	require.Equal(t, lease, r.ID)
	return r.TTL
}

func (m *member) timeToLive(t *testing.T, lease int64) *pb.LeaseTimeToLiveResponse {
	t.Helper()
	r, err := m.lease.LeaseTimeToLive(context.Background(), &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true})
	require.NoError(t, err)
	return r
}

func TestLeaseExpires(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		id := m.grant(t, 10)
		m.attach(t, "a", id)
		m.attach(t, "b", id)
		r := m.timeToLive(t, id)
		require.EqualValues(t, 10, r.GrantedTTL)
		require.InDelta(t, 9, r.TTL, 1)
		require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, r.Keys)
		time.Sleep(8 * time.Second)
		require.EqualValues(t, 10, m.keepAlive(t, id))
		time.Sleep(8 * time.Second)
		require.Len(t, m.get(t, "a").Kvs, 1, "the lease was renewed")
		time.Sleep(4 * time.Second)
		require.Empty(t, m.get(t, "a").Kvs)
		got := m.get(t, "b")
		require.Empty(t, got.Kvs)
		require.EqualValues(t, 4, got.Header.Revision, "one transaction has deleted both keys")
		require.EqualValues(t, -1, m.timeToLive(t, id).TTL)
		require.EqualValues(t, 0, m.keepAlive(t, id), "the lease does not exist")
		require.EqualValues(t, 1, c.leader().server.Stats().LeasesExpired)
	})
}

// A lease that takes the id of a revoked one has its own time.
func TestLeaseOfAFormerID(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m, ctx := c.follower(), context.Background()
		grant := func(ttl int64) {
			_, err := m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: ttl})
			require.NoError(t, err)
			require.InDelta(t, ttl, m.timeToLive(t, 7).TTL, 1)
		}
		revoke := func() {
			_, err := m.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})
			require.NoError(t, err)
		}
		grant(10)
		revoke()
		grant(100)
		time.Sleep(20 * time.Second)
		require.EqualValues(t, 100, m.timeToLive(t, 7).GrantedTTL, "the first lease's time is over")
		revoke()
		grant(10)
		time.Sleep(15 * time.Second)
		require.EqualValues(t, -1, m.timeToLive(t, 7).TTL, "the lease has expired")
	})
}

func TestLeaseErrorsAndList(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		ctx := context.Background()
		_, err := m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 1})
		require.NoError(t, err)
		_, err = m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 100})
		require.ErrorIs(t, err, rpctypes.ErrGRPCLeaseExist)
		_, err = m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 9_000_000_001})
		require.ErrorIs(t, err, rpctypes.ErrGRPCLeaseTTLTooLarge)
		_, err = m.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 8})
		require.ErrorIs(t, err, rpctypes.ErrGRPCLeaseNotFound)
		list, err := m.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		require.NoError(t, err)
		require.Len(t, list.Leases, 1)
		require.EqualValues(t, 7, list.Leases[0].ID)
		_, err = m.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})
		require.NoError(t, err)
	})
}

// The next leader gives a lease its whole time again, and no lease lives for ever.
func TestLeaseOverAChangeOfLeader(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		id := c.leader().grant(t, 20)
		c.leader().attach(t, "a", id)
		time.Sleep(15 * time.Second)
		c.stop(c.leader().id)
		m := c.leader()
		settle()
		require.InDelta(t, 19, m.timeToLive(t, id).TTL, 1)
		time.Sleep(15 * time.Second)
		require.Len(t, m.get(t, "a").Kvs, 1)
		time.Sleep(6 * time.Second)
		require.Empty(t, m.get(t, "a").Kvs)
	})
}

// Checkpoints keep a long lease from beginning anew with each leader, and a renewal makes
// a checkpoint void.
func TestLeaseCheckpoints(t *testing.T) {
	run(t, etcdapi.Config{CheckpointInterval: 10 * time.Second}, func(c *cluster) {
		m := c.leader()
		id, renewed := m.grant(t, 100), m.grant(t, 100)
		time.Sleep(60 * time.Second)
		require.EqualValues(t, 100, c.follower().keepAlive(t, renewed))
		c.stop(m.id)
		m = c.leader()
		settle()
		require.InDelta(t, 45, m.timeToLive(t, id).TTL, 7)
		require.InDelta(t, 98, m.timeToLive(t, renewed).TTL, 2)
	})
}

// A former leader without a majority renews nothing.
func TestLeaseOfAnIsolatedLeader(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		old := c.leader()
		id := old.grant(t, 10)
		old.attach(t, "a", id)
		c.network.Partition([]core.NodeID{old.id})
		stream, err := old.lease.LeaseKeepAlive(context.Background())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: id}))
		_, err = stream.Recv()
		require.Error(t, err, "the renewal is not confirmed")
		time.Sleep(15 * time.Second)
		for _, m := range c.members {
			if m != old {
				require.Empty(t, m.get(t, "a").Kvs)
			}
		}
	})
}

// renew renews a lease on a stream of its own.
func (m *member) renew(lease int64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := m.lease.LeaseKeepAlive(ctx)
	if err == nil {
		err = stream.Send(&pb.LeaseKeepAliveRequest{ID: lease})
	}
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// A member that does not lead has renewals of many leases forwarded in few calls, and
// answers the requests of a stream in their order.
func TestRenewalsAreForwardedTogether(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		leases := []int64{404} // does not exist
		for range 299 {
			leases = append(leases, m.grant(t, 100))
		}
		time.Sleep(50 * time.Second)
		stream, err := m.lease.LeaseKeepAlive(context.Background())
		require.NoError(t, err)
		for _, id := range leases {
			require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: id}))
		}
		require.NoError(t, stream.CloseSend())
		for i, id := range leases {
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, id, r.ID)
			require.EqualValues(t, []int64{0, 100}[min(i, 1)], r.TTL)
		}
		_, err = stream.Recv()
		require.Equal(t, io.EOF, err)
		ended := make(chan error)
		for _, id := range leases[1:] {
			go func() { ended <- m.renew(id) }()
		}
		for range leases[1:] {
			require.NoError(t, <-ended)
		}
		calls := c.leader().calls.of("/raftlab.etcdapi.Peer/RenewAll")
		require.Positive(t, calls)
		require.Less(t, calls, 200, "calls for 599 renewals")
		time.Sleep(99 * time.Second)
		require.NotEqual(t, int64(-1), m.timeToLive(t, leases[1]).TTL)
	})
}

// A member of an earlier version renews one lease in a call.
func TestRenewalsOfEarlierVersions(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		ttls, err := m.server.ForwardSingly(context.Background(), c.leader().id, []int64{m.grant(t, 100), 404, m.grant(t, 50)})
		require.NoError(t, err)
		require.Equal(t, []int64{100, 0, 50}, ttls)
	})
}
