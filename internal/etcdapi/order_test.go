package etcdapi_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/etcdapi"
	"raftlab/internal/etcdapi/v3lockpb"
)

// A request with several faults gets the error that etcd finds first.
func TestFirstErrorOfARequest(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m, ctx := c.follower(), context.Background()
		users := pb.NewAuthClient(m.conn)
		op := func(p *pb.PutRequest) *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
		}
		_, err := m.kv.Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{{}}, Success: []*pb.RequestOp{{}}})
		require.ErrorIs(t, err, rpctypes.ErrGRPCEmptyKey, "a comparison comes before the operations")
		_, err = m.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{op(&pb.PutRequest{}), {}}})
		require.ErrorIs(t, err, rpctypes.ErrGRPCEmptyKey, "the first operation comes first")
		stream, err := m.kv.RangeStream(ctx, &pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.ErrorIs(t, err, rpctypes.ErrGRPCEmptyKey)
		_, err = m.cluster().MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 12345})
		require.ErrorIs(t, err, rpctypes.ErrGRPCMemberNotFound)
		lock := v3lockpb.NewLockClient(m.conn)
		_, err = lock.Unlock(ctx, &v3lockpb.UnlockRequest{})
		require.Equal(t, codes.Unknown, status.Code(err), "etcd's Lock is a client")
		require.Equal(t, status.Convert(rpctypes.ErrGRPCEmptyKey).Message(), status.Convert(err).Message())

		_, err = users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root", Password: "pw"})
		require.NoError(t, err)
		_, err = users.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
		require.NoError(t, err)
		_, err = users.AuthEnable(ctx, &pb.AuthEnableRequest{})
		require.NoError(t, err)
		_, err = m.kv.Put(ctx, &pb.PutRequest{})
		require.ErrorIs(t, err, rpctypes.ErrGRPCEmptyKey, "the request comes before the user")
		_, err = m.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
		require.ErrorIs(t, err, rpctypes.ErrGRPCEmptyKey)
		_, err = m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{})
		require.ErrorIs(t, err, rpctypes.ErrGRPCMemberBadURLs)
		_, err = users.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r"})
		require.ErrorIs(t, err, rpctypes.ErrGRPCUserEmpty, "the user comes before the permission")
		_, err = users.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("a")}})
		require.ErrorIs(t, err, rpctypes.ErrGRPCUserEmpty)
	})
}

// The answer names the alarms that a request has changed.
func TestAlarmThatIsNotRaised(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m, ctx := c.follower(), context.Background()
		request := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 9, Alarm: pb.AlarmType_NOSPACE}
		r, err := m.maintenance().Alarm(ctx, request)
		require.NoError(t, err)
		require.Empty(t, r.Alarms)
		_, err = m.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 9, Alarm: pb.AlarmType_NOSPACE})
		require.NoError(t, err)
		_, err = m.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: 7, MemberID: 9, Alarm: pb.AlarmType_NOSPACE})
		require.NoError(t, err)
		r, err = m.maintenance().Alarm(ctx, request)
		require.NoError(t, err)
		require.Len(t, r.Alarms, 1, "an unknown action has left the alarm")
	})
}
