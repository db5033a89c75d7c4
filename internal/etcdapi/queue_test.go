package etcdapi_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/etcdapi"
	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
)

// granted grants a lease of ten minutes.
func (m *member) granted(t *testing.T, id int64) int64 {
	t.Helper()
	_, err := m.lease.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: id, TTL: 600})
	require.NoError(t, err)
	return id
}

func (m *member) revoke(t *testing.T, id int64) {
	t.Helper()
	_, err := m.lease.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: id})
	require.NoError(t, err)
}

// asking is a request that waits for an answer.
type asking[Response any] struct{ done chan answered[Response] }

type answered[Response any] struct {
	response Response
	err      error
}

func ask[Response any](do func() (Response, error)) asking[Response] {
	a := asking[Response]{make(chan answered[Response], 1)}
	go func() {
		r, err := do()
		a.done <- answered[Response]{r, err}
	}()
	return a
}

func (a asking[Response]) waits(t *testing.T) {
	t.Helper()
	settle()
	require.Empty(t, a.done, "the request is answered")
}

func (a asking[Response]) get(t *testing.T) Response {
	t.Helper()
	got := <-a.done
	require.NoError(t, got.err)
	return got.response
}

func lock(ctx context.Context, m *member, lease int64) func() (*v3lockpb.LockResponse, error) {
	return func() (*v3lockpb.LockResponse, error) {
		return v3lockpb.NewLockClient(m.conn).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: lease})
	}
}

// Owners of a lock follow each other in the order of their requests, and each has a higher
// revision to fence with.
func TestLock(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		a, b := c.leader(), c.follower()
		service := v3lockpb.NewLockClient(a.conn)
		first, err := lock(ctx, a, a.granted(t, 1))()
		require.NoError(t, err)
		require.Equal(t, "l/1", string(first.Key))
		again, err := lock(ctx, b, 1)()
		require.NoError(t, err)
		require.Equal(t, first.Key, again.Key, "the owner's second request")
		second := ask(lock(ctx, b, a.granted(t, 2)))
		second.waits(t)
		third := ask(lock(ctx, a, a.granted(t, 3)))
		third.waits(t)
		_, err = service.Unlock(ctx, &v3lockpb.UnlockRequest{Key: first.Key})
		require.NoError(t, err)
		key := second.get(t).Key
		third.waits(t)
		fence := a.get(t, string(key)).Kvs[0].CreateRevision
		a.revoke(t, 2) // the owner's lease ends
		key = third.get(t).Key
		require.Greater(t, a.get(t, string(key)).Kvs[0].CreateRevision, fence)

		// One who gives up leaves the queue, and keeps nobody waiting.
		limited, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = lock(limited, b, a.granted(t, 4))()
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		// The owner's request that waits for nothing keeps the ownership.
		fifth := ask(lock(ctx, b, a.granted(t, 5)))
		fifth.waits(t)
		require.Empty(t, a.get(t, "l/4").Kvs)
		a.revoke(t, 3)
		fifth.get(t)
		// A participant whose lease ends while it waits gets no ownership.
		sixth := ask(lock(ctx, a, a.granted(t, 6)))
		sixth.waits(t)
		a.revoke(t, 6)
		a.revoke(t, 5)
		got := <-sixth.done
		require.ErrorContains(t, got.err, "mutex: session is expired")
		_, err = lock(ctx, a, 99)()
		require.EqualError(t, err, status.Error(codes.Unknown, "etcdserver: requested lease not found").Error(), "as etcd's client has it")
		own, err := lock(ctx, a, 0)()
		require.NoError(t, err, "the server grants a lease")
		require.NotZero(t, a.get(t, string(own.Key)).Kvs[0].Lease)
	})
}

// A participant waits over the loss of the leader, and over a compaction.
func TestLockOverALeader(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.follower()
		_, err := lock(ctx, m, m.granted(t, 1))()
		require.NoError(t, err)
		second := ask(lock(ctx, m, m.granted(t, 2)))
		second.waits(t)
		lost := c.leader().id
		c.stop(lost)
		c.leader()
		for i := range 5 {
			m.put(t, "other", fmt.Sprint(i))
		}
		_, err = m.kv.Compact(ctx, &pb.CompactionRequest{Revision: m.get(t, "other").Header.Revision})
		require.NoError(t, err)
		second.waits(t)
		m.revoke(t, 1)
		second.get(t)
	})
}

func TestElection(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		a, b := c.leader(), c.follower()
		one, two := v3electionpb.NewElectionClient(a.conn), v3electionpb.NewElectionClient(b.conn)
		name := []byte("e")
		_, err := one.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
		require.ErrorContains(t, err, "election: no leader")
		observer, err := two.Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
		require.NoError(t, err)
		settle()
		observe := func(want string) {
			t.Helper()
			r, err := observer.Recv()
			require.NoError(t, err)
			require.Equal(t, want, string(r.Kv.Value))
			require.GreaterOrEqual(t, r.Header.Revision, r.Kv.ModRevision)
		}
		first, err := one.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: a.granted(t, 1), Value: []byte("a")})
		require.NoError(t, err)
		require.Equal(t, "e/1", string(first.Leader.Key))
		observe("a")
		second := ask(func() (*v3electionpb.CampaignResponse, error) {
			return two.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: a.granted(t, 2), Value: []byte("b")})
		})
		second.waits(t)
		for _, value := range []string{"a2", "a3"} {
			_, err = two.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte(value)})
			require.NoError(t, err)
		}
		observe("a2")
		observe("a3")
		again, err := one.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: 1, Value: []byte("a4")})
		require.NoError(t, err)
		require.Equal(t, first.Leader.Rev, again.Leader.Rev)
		observe("a4")
		leader, err := two.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
		require.NoError(t, err)
		require.Equal(t, "a4", string(leader.Kv.Value))
		_, err = one.Resign(ctx, &v3electionpb.ResignRequest{Leader: first.Leader})
		require.NoError(t, err)
		won := second.get(t)
		require.Greater(t, won.Leader.Rev, first.Leader.Rev)
		observe("b")
		_, err = one.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte("x")})
		require.ErrorContains(t, err, "election: not leader")
		_, err = one.Proclaim(ctx, &v3electionpb.ProclaimRequest{})
		require.ErrorContains(t, err, "must be provided")
		_, err = one.Resign(ctx, &v3electionpb.ResignRequest{})
		require.ErrorContains(t, err, "must be provided")
		_, err = one.Resign(ctx, &v3electionpb.ResignRequest{Leader: &v3electionpb.LeaderKey{Name: name, Key: won.Leader.Key, Rev: 1}})
		require.NoError(t, err)
		_, err = one.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
		require.NoError(t, err, "a resignation with an old revision ends no leadership")
	})
}
