package etcdapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"raftlab/internal/auth"
	"raftlab/internal/etcdapi"
	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
	"raftlab/kv"
)

// cheap has tokens whose passwords cost no time.
func cheap(t *testing.T) etcdapi.Config {
	tokens, err := auth.NewTokens("", 0, bcrypt.MinCost)
	require.NoError(t, err)
	return etcdapi.Config{Tokens: tokens}
}

// guarded is a cluster with access control.
type guarded struct {
	*cluster
	auth pb.AuthClient // of a follower
}

// guard adds the users root, and alice with the role keys, and enables access control. The
// password of a user is the user's name.
func (c *cluster) guard() *guarded {
	g := &guarded{c, pb.NewAuthClient(c.follower().conn)}
	ctx := context.Background()
	for _, name := range []string{"root", "alice"} {
		_, err := g.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: name, Password: name})
		require.NoError(c, err)
	}
	_, err := g.auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "keys"})
	require.NoError(c, err)
	for user, role := range map[string]string{"root": "root", "alice": "keys"} {
		_, err = g.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: role})
		require.NoError(c, err)
	}
	_, err = g.auth.AuthEnable(ctx, &pb.AuthEnableRequest{})
	require.NoError(c, err)
	settle() // all members know
	return g
}

// as returns a context with a token of the user, from a follower.
func (g *guarded) as(user string) context.Context {
	g.Helper()
	r, err := g.auth.Authenticate(context.Background(), &pb.AuthenticateRequest{Name: user, Password: user})
	require.NoError(g, err)
	return metadata.AppendToOutgoingContext(context.Background(), rpctypes.TokenFieldNameGRPC, r.Token)
}

// grant changes the permissions of the role keys.
func (g *guarded) grant(key, end string, access authpb.Permission_Type) {
	g.Helper()
	_, err := g.auth.RoleGrantPermission(g.as("root"), &pb.AuthRoleGrantPermissionRequest{
		Name: "keys", Perm: &authpb.Permission{Key: []byte(key), RangeEnd: []byte(end), PermType: access},
	})
	require.NoError(g, err)
}

// denied checks the answers to a request of a caller without a name, and of one without
// the permission. Lock and Election have other codes.
func (g *guarded) denied(request func(ctx context.Context) error) {
	g.Helper()
	require.Equal(g, status.Convert(rpctypes.ErrGRPCUserEmpty).Message(), status.Convert(request(context.Background())).Message())
	require.Equal(g, status.Convert(rpctypes.ErrGRPCPermissionDenied).Message(), status.Convert(request(g.as("alice"))).Message())
}

// Every request for keys needs the permission for all keys that the request names.
func TestPermissionsOnKeys(t *testing.T) {
	run(t, cheap(t), func(c *cluster) {
		g := c.guard()
		m := c.leader()
		g.grant("r", "s", authpb.READ)
		g.grant("w", "x", authpb.WRITE)
		g.grant("b", "c", authpb.READWRITE)
		get := func(key, end string, serializable bool) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := m.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end), Serializable: serializable})
				return err
			}
		}
		put := func(r *pb.PutRequest) func(context.Context) error {
			return func(ctx context.Context) error { _, err := m.kv.Put(ctx, r); return err }
		}
		del := func(r *pb.DeleteRangeRequest) func(context.Context) error {
			return func(ctx context.Context) error { _, err := m.kv.DeleteRange(ctx, r); return err }
		}
		txn := func(r *pb.TxnRequest) func(context.Context) error {
			return func(ctx context.Context) error { _, err := m.kv.Txn(ctx, r); return err }
		}
		opGet := func(key string) *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
		}
		opPut := func(r *pb.PutRequest) *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
		}
		allowed := map[string]func(context.Context) error{
			"a get":              get("r1", "", false),
			"a local get":        get("r", "s", true),
			"a put":              put(&pb.PutRequest{Key: []byte("w")}),
			"a put with old":     put(&pb.PutRequest{Key: []byte("b"), PrevKv: true}),
			"a delete":           del(&pb.DeleteRangeRequest{Key: []byte("w"), RangeEnd: []byte("x")}),
			"a read transaction": txn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("r")}}, Success: []*pb.RequestOp{opGet("b")}}),
			"a transaction": txn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("r")}},
				Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: []byte("w")})}, Failure: []*pb.RequestOp{opGet("r")}}),
		}
		for name, request := range allowed {
			require.NoError(t, request(g.as("alice")), name)
			require.NoError(t, request(g.as("root")), name)
			require.EqualError(t, request(context.Background()), rpctypes.ErrGRPCUserEmpty.Error(), name)
		}
		nested := func(op *pb.RequestOp) *pb.TxnRequest {
			return &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{op}}}}}}
		}
		for _, request := range []func(context.Context) error{
			get("w", "", false), get("a", "", true), get("r", "s\x00", true), get("r", "\x00", false),
			put(&pb.PutRequest{Key: []byte("r")}), put(&pb.PutRequest{Key: []byte("w"), PrevKv: true}),
			del(&pb.DeleteRangeRequest{Key: []byte("w"), RangeEnd: []byte("\x00")}),
			del(&pb.DeleteRangeRequest{Key: []byte("w"), PrevKv: true}),
			txn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("w")}}}),
			txn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("w")}}, Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: []byte("w")})}}),
			txn(nested(opGet("w"))), txn(nested(opPut(&pb.PutRequest{Key: []byte("r")}))),
			func(ctx context.Context) error {
				_, err := m.kv.Compact(ctx, &pb.CompactionRequest{Revision: 1})
				return err
			},
			func(ctx context.Context) error {
				stream, err := m.kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("w")})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
		} {
			g.denied(request)
		}
		_, err := m.server.Execute(context.Background(), etcdapi.Write{Op: kv.Put("b", "1")})
		require.ErrorIs(t, err, etcdapi.ErrNoUser, "writes of sessions have no user")
		_, err = m.server.Execute(context.Background(), etcdapi.Write{Op: kv.Get("b")})
		require.ErrorIs(t, err, etcdapi.ErrNoUser)
	})
}

// A permission that is revoked counts for the next request, also for one on its way.
func TestRevokedPermission(t *testing.T) {
	run(t, cheap(t), func(c *cluster) {
		g := c.guard()
		g.grant("b", "c", authpb.READWRITE)
		alice, root := g.as("alice"), g.as("root")
		m := c.follower()
		_, err := m.kv.Put(alice, &pb.PutRequest{Key: []byte("b1")})
		require.NoError(t, err)
		w, err := m.watch.Watch(alice)
		require.NoError(t, err)
		watch := &watcher{t, w}
		require.False(t, watch.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("c")}).Canceled)
		refused := watch.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("d")})
		require.True(t, refused.Canceled)
		require.Equal(t, rpctypes.ErrGRPCPermissionDenied.Error(), refused.CancelReason)

		// The request enters the log at the old revision of the users.
		stale := etcdapi.UserPutEntry("alice", m.server.AuthRevision(), "b2")
		_, err = g.auth.RoleRevokePermission(root, &pb.AuthRoleRevokePermissionRequest{Role: "keys", Key: []byte("b"), RangeEnd: []byte("c")})
		require.NoError(t, err)
		_, err = c.leader().node.Propose(context.Background(), stale)
		require.NoError(t, err)
		_, err = m.kv.Put(alice, &pb.PutRequest{Key: []byte("b3")})
		require.EqualError(t, err, rpctypes.ErrGRPCPermissionDenied.Error())
		_, err = m.kv.Put(root, &pb.PutRequest{Key: []byte("b4")})
		require.NoError(t, err)
		got, err := m.kv.Range(root, &pb.RangeRequest{Key: []byte("b"), RangeEnd: []byte("c")})
		require.NoError(t, err)
		require.EqualValues(t, 2, got.Count, "b1 and b4: %v", got.Kvs)
		ended := watch.next()
		require.True(t, ended.Canceled, "the watch ends before the next event")
		require.Equal(t, rpctypes.ErrGRPCPermissionDenied.Error(), ended.CancelReason)
	})
}

// A lease that a caller ends or prolongs touches the attached keys.
func TestPermissionsOnLeases(t *testing.T) {
	run(t, cheap(t), func(c *cluster) {
		g := c.guard()
		g.grant("b", "c", authpb.READWRITE)
		alice, root, m := g.as("alice"), g.as("root"), c.follower()
		grant := func(id int64, key string) {
			_, err := m.lease.LeaseGrant(root, &pb.LeaseGrantRequest{ID: id, TTL: 600})
			require.NoError(t, err)
			_, err = m.kv.Put(root, &pb.PutRequest{Key: []byte(key), Lease: id})
			require.NoError(t, err)
		}
		grant(1, "b1")
		grant(2, "secret")
		alive := func(ctx context.Context, id int64) error {
			stream, err := m.lease.LeaseKeepAlive(ctx)
			require.NoError(t, err)
			require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: id}))
			_, err = stream.Recv()
			_ = stream.CloseSend()
			return err
		}
		keys := func(ctx context.Context, id int64) error {
			_, err := m.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
			return err
		}
		revoke := func(ctx context.Context, id int64) error {
			_, err := m.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
			return err
		}
		leases := func(ctx context.Context, _ int64) error {
			_, err := m.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return err
		}
		attach := func(ctx context.Context, id int64) error {
			_, err := m.kv.Put(ctx, &pb.PutRequest{Key: []byte("b2"), Lease: id})
			return err
		}
		for _, request := range []func(context.Context, int64) error{alive, keys, attach, leases, revoke} {
			g.denied(func(ctx context.Context) error { return request(ctx, 2) })
		}
		_, err := m.lease.LeaseTimeToLive(alice, &pb.LeaseTimeToLiveRequest{ID: 2})
		require.NoError(t, err, "without the keys")
		for _, request := range []func(context.Context, int64) error{alive, keys, attach, revoke} {
			require.NoError(t, request(alice, 1))
		}
		require.NoError(t, revoke(root, 2))
		require.NoError(t, leases(alice, 0))
		require.EqualError(t, grantAs(context.Background(), m), rpctypes.ErrGRPCUserEmpty.Error())
		require.NoError(t, grantAs(alice, m))
		time.Sleep(5 * time.Second) // the members revoke expired leases in spite of access control
		got, err := m.lease.LeaseLeases(root, &pb.LeaseLeasesRequest{})
		require.NoError(t, err)
		require.Empty(t, got.Leases)
	})
}

func grantAs(ctx context.Context, m *member) error {
	_, err := m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 2})
	return err
}

// Requests for the cluster need the role root, or at least a user.
func TestPermissionsOnTheCluster(t *testing.T) {
	run(t, cheap(t), func(c *cluster) {
		g := c.guard()
		m := c.leader()
		cluster, maintenance := pb.NewClusterClient(m.conn), pb.NewMaintenanceClient(m.conn)
		all := map[string]func(ctx context.Context) error{
			"add": func(ctx context.Context) error {
				_, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:9"}})
				return err
			},
			"remove": func(ctx context.Context) error {
				_, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{})
				return err
			},
			"update": func(ctx context.Context) error {
				_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{})
				return err
			},
			"promote": func(ctx context.Context) error {
				_, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{})
				return err
			},
			"alarm": func(ctx context.Context) error {
				_, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
				return err
			},
			"defragment": func(ctx context.Context) error {
				_, err := maintenance.Defragment(ctx, &pb.DefragmentRequest{})
				return err
			},
			"hash":    func(ctx context.Context) error { _, err := maintenance.Hash(ctx, &pb.HashRequest{}); return err },
			"hash kv": func(ctx context.Context) error { _, err := maintenance.HashKV(ctx, &pb.HashKVRequest{}); return err },
			"move": func(ctx context.Context) error {
				_, err := maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{})
				return err
			},
			"snapshot": func(ctx context.Context) error {
				stream, err := maintenance.Snapshot(ctx, &pb.SnapshotRequest{})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
			"disable": func(ctx context.Context) error {
				_, err := g.auth.AuthDisable(ctx, &pb.AuthDisableRequest{})
				return err
			},
			"user add": func(ctx context.Context) error {
				_, err := g.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "x"})
				return err
			},
			"password": func(ctx context.Context) error {
				_, err := g.auth.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: "root"})
				return err
			},
			"users": func(ctx context.Context) error { _, err := g.auth.UserList(ctx, &pb.AuthUserListRequest{}); return err },
			"roles": func(ctx context.Context) error { _, err := g.auth.RoleList(ctx, &pb.AuthRoleListRequest{}); return err },
			"role": func(ctx context.Context) error {
				_, err := g.auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "root"})
				return err
			},
			"user": func(ctx context.Context) error {
				_, err := g.auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "root"})
				return err
			},
			"role add": func(ctx context.Context) error {
				_, err := g.auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "x"})
				return err
			},
		}
		for name, request := range all {
			require.EqualError(t, request(context.Background()), rpctypes.ErrGRPCUserEmpty.Error(), name)
			require.EqualError(t, request(g.as("alice")), rpctypes.ErrGRPCPermissionDenied.Error(), name)
		}
		for name, request := range map[string]func(ctx context.Context) error{
			"list": func(ctx context.Context) error {
				_, err := cluster.MemberList(ctx, &pb.MemberListRequest{})
				return err
			},
			"status": func(ctx context.Context) error { _, err := maintenance.Status(ctx, &pb.StatusRequest{}); return err },
			"alarms": func(ctx context.Context) error { _, err := maintenance.Alarm(ctx, &pb.AlarmRequest{}); return err },
			"user": func(ctx context.Context) error {
				_, err := g.auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "alice"})
				return err
			},
			"role": func(ctx context.Context) error {
				_, err := g.auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "keys"})
				return err
			},
		} {
			require.EqualError(t, request(context.Background()), rpctypes.ErrGRPCUserEmpty.Error(), name)
			require.NoError(t, request(g.as("alice")), name)
		}
		st, err := g.auth.AuthStatus(context.Background(), &pb.AuthStatusRequest{})
		require.NoError(t, err, "anybody may ask")
		require.True(t, st.Enabled)
		_, err = g.auth.Authenticate(context.Background(), &pb.AuthenticateRequest{Name: "alice", Password: "x"})
		require.EqualError(t, err, rpctypes.ErrGRPCAuthFailed.Error())
		bad := metadata.AppendToOutgoingContext(context.Background(), rpctypes.TokenFieldNameSwagger, "Bearer x")
		_, err = m.kv.Range(bad, &pb.RangeRequest{Key: []byte("a")})
		require.EqualError(t, err, rpctypes.ErrGRPCInvalidAuthToken.Error())
		_, err = g.auth.AuthDisable(g.as("root"), &pb.AuthDisableRequest{})
		require.NoError(t, err)
		settle()
		m.put(t, "a", "1")
	})
}

// Users and tokens outlive restarts, snapshots, and the member that issued a token.
func TestUsersAreDurable(t *testing.T) {
	config := cheap(t)
	config.Node.SnapshotEntries = 5
	run(t, config, func(c *cluster) {
		g := c.guard()
		g.grant("b", "c", authpb.READWRITE)
		alice := g.as("alice")
		for range 10 {
			_, err := c.leader().kv.Put(alice, &pb.PutRequest{Key: []byte("b1")})
			require.NoError(t, err)
		}
		settle()
		for range 3 {
			id := c.follower().id
			c.stop(id)
			m := c.start(id)
			settle()
			_, err := m.kv.Put(alice, &pb.PutRequest{Key: []byte("b1")})
			require.NoError(t, err)
			_, err = m.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("b1")})
			require.EqualError(t, err, rpctypes.ErrGRPCUserEmpty.Error())
		}
	})
}

// Locks and elections need the permissions of their keys. A permission that is revoked
// ends an observation before the next leader, also one that had no leader to show.
func TestPermissionsOnLocksAndElections(t *testing.T) {
	run(t, cheap(t), func(c *cluster) {
		g := c.guard()
		m := c.follower()
		locks, elections := v3lockpb.NewLockClient(m.conn), v3electionpb.NewElectionClient(m.conn)
		root := g.as("root")
		secret, err := elections.Campaign(root, &v3electionpb.CampaignRequest{Name: []byte("s"), Value: []byte("1")})
		require.NoError(t, err)
		observe := func(ctx context.Context, name string) asking[*v3electionpb.LeaderResponse] {
			return ask(func() (*v3electionpb.LeaderResponse, error) {
				stream, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)})
				if err != nil {
					return nil, err
				}
				return stream.Recv()
			})
		}
		for _, request := range []func(context.Context) error{
			func(ctx context.Context) error {
				_, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("s")})
				return err
			},
			func(ctx context.Context) error {
				_, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: secret.Leader.Key})
				return err
			},
			func(ctx context.Context) error {
				_, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("s")})
				return err
			},
			func(ctx context.Context) error {
				_, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: secret.Leader, Value: []byte("2")})
				return err
			},
			func(ctx context.Context) error {
				_, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: secret.Leader})
				return err
			},
			func(ctx context.Context) error {
				_, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte("s")})
				return err
			},
			func(ctx context.Context) error { return (<-observe(ctx, "s").done).err },
		} {
			g.denied(request)
		}
		still, err := elections.Leader(root, &v3electionpb.LeaderRequest{Name: []byte("s")})
		require.NoError(t, err)
		require.Equal(t, "1", string(still.Kv.Value))

		g.grant("e/", "e0", authpb.READ)
		waiting := observe(g.as("alice"), "e")
		waiting.waits(t)
		_, err = g.auth.RoleRevokePermission(root, &pb.AuthRoleRevokePermissionRequest{Role: "keys", Key: []byte("e/"), RangeEnd: []byte("e0")})
		require.NoError(t, err)
		_, err = elections.Campaign(root, &v3electionpb.CampaignRequest{Name: []byte("e"), Value: []byte("secret")})
		require.NoError(t, err)
		got := <-waiting.done
		require.EqualError(t, got.err, rpctypes.ErrGRPCPermissionDenied.Error(), "%v", got.response)
	})
}
