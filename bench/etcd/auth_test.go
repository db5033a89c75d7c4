package etcd

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
)

// login returns a client with a user's name and password, which are the same.
func (c *cluster) login(user string) *clientv3.Client {
	c.Helper()
	var urls []string
	for _, m := range c.members {
		urls = append(urls, m.url)
	}
	cli, err := clientv3.New(clientv3.Config{Endpoints: urls, DialTimeout: 5 * time.Second, Username: user, Password: user})
	require.NoError(c, err)
	c.Cleanup(func() { cli.Close() })
	return cli
}

// The client's tokens are good on all members, and outlive changes of the users.
func TestAuth(t *testing.T) {
	c := newCluster(t)
	anyone, ctx := c.client(), c.ctx()
	for _, name := range []string{"root", "alice"} {
		_, err := anyone.UserAdd(ctx, name, name)
		require.NoError(t, err)
	}
	_, err := anyone.RoleAdd(ctx, "orders")
	require.NoError(t, err)
	_, err = anyone.RoleGrantPermission(ctx, "orders", "orders/", clientv3.GetPrefixRangeEnd("orders/"), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	for user, role := range map[string]string{"root": "root", "alice": "orders"} {
		_, err = anyone.UserGrantRole(ctx, user, role)
		require.NoError(t, err)
	}
	_, err = anyone.AuthEnable(ctx)
	require.NoError(t, err)

	root, alice := c.login("root"), c.login("alice")
	for i := range 6 { // on each member
		_, err := alice.Put(ctx, fmt.Sprint("orders/", i), "1")
		require.NoError(t, err)
		_, err = root.RoleGrantPermission(ctx, "orders", fmt.Sprint(i), "", clientv3.PermissionType(clientv3.PermRead))
		require.NoError(t, err)
	}
	got, err := alice.Get(ctx, "orders/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.EqualValues(t, 6, got.Count)
	_, err = alice.Get(ctx, "orders")
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	_, err = alice.UserList(ctx)
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	_, err = anyone.Get(ctx, "orders/1")
	require.ErrorIs(t, err, rpctypes.ErrUserEmpty)
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := alice.Watch(watched, "orders/", clientv3.WithPrefix(), clientv3.WithRev(1))
	events := <-watch
	require.NoError(t, events.Err())
	refused := <-alice.Watch(watched, "other")
	require.ErrorContains(t, refused.Err(), "permission denied")
	_, err = root.UserChangePassword(ctx, "alice", "new")
	require.NoError(t, err)
	_, err = alice.Get(ctx, "orders/1")
	require.ErrorIs(t, err, rpctypes.ErrAuthFailed, "the client's password is old")
	_, err = root.AuthDisable(ctx)
	require.NoError(t, err)
	_, err = anyone.Get(ctx, "other")
	require.NoError(t, err)
}

// The services Lock and Election, and the client's locks and elections, exclude each other.
func TestLockAndElectionServices(t *testing.T) {
	c := newCluster(t)
	cli, ctx := c.client(), c.ctx()
	session, err := concurrency.NewSession(cli, concurrency.WithTTL(20))
	require.NoError(t, err)
	defer session.Close()
	lease, err := cli.Grant(ctx, 20)
	require.NoError(t, err)

	service := v3lockpb.NewLockClient(cli.ActiveConnection())
	held, err := service.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("/lock"), Lease: int64(lease.ID)})
	require.NoError(t, err)
	mutex := concurrency.NewMutex(session, "/lock")
	require.ErrorIs(t, mutex.TryLock(ctx), concurrency.ErrLocked)
	_, err = service.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key})
	require.NoError(t, err)
	require.NoError(t, mutex.Lock(ctx))
	limited, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err = service.Lock(limited, &v3lockpb.LockRequest{Name: []byte("/lock"), Lease: int64(lease.ID)})
	require.Error(t, err)
	require.NoError(t, mutex.Unlock(ctx))

	votes := v3electionpb.NewElectionClient(cli.ActiveConnection())
	won, err := votes.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("/vote"), Lease: int64(lease.ID), Value: []byte("a")})
	require.NoError(t, err)
	election := concurrency.NewElection(session, "/vote")
	leader, err := election.Leader(ctx)
	require.NoError(t, err)
	require.Equal(t, "a", string(leader.Kvs[0].Value))
	campaign := make(chan error, 1)
	go func() { campaign <- election.Campaign(ctx, "b") }()
	_, err = votes.Resign(ctx, &v3electionpb.ResignRequest{Leader: won.Leader})
	require.NoError(t, err)
	require.NoError(t, <-campaign)
	got, err := votes.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte("/vote")})
	require.NoError(t, err)
	require.Equal(t, "b", string(got.Kv.Value))
}
