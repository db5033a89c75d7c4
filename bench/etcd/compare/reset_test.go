package compare

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// reset empties both servers between two sequences. A server that a sequence has left in
// a state without a way back is replaced.
func (p *pair) reset() {
	if p.etcd.reset() == nil && p.ours.reset() == nil {
		return
	}
	p.restart()
	if err := p.etcd.reset(); err != nil {
		p.t.Fatalf("a new server of etcd: %v", err)
	}
	if err := p.ours.reset(); err != nil {
		p.t.Fatalf("a new server of raftlab: %v", err)
	}
}

func (s *side) reset() error {
	for _, stream := range s.streams {
		stream.cancel()
	}
	s.granted, s.tokens, s.streams = nil, map[string]string{}, map[string]*watchStream{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, step := range []func(context.Context) error{s.endUsers, s.endMembers, s.endLeases, s.endKeys} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// endUsers switches authentication off and removes users and roles.
func (s *side) endUsers(ctx context.Context) error {
	client := pb.NewAuthClient(s.conn)
	for _, password := range passwords {
		if _, err := client.AuthDisable(ctx, &pb.AuthDisableRequest{}); err == nil {
			break
		}
		token, err := client.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: password})
		if err == nil {
			_, err = client.AuthDisable(metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token.Token), &pb.AuthDisableRequest{})
		}
		if err == nil {
			break
		}
	}
	users, err := client.UserList(ctx, &pb.AuthUserListRequest{})
	if err != nil {
		return err
	}
	for _, name := range users.Users {
		if _, err := client.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: name}); err != nil {
			return err
		}
	}
	roles, err := client.RoleList(ctx, &pb.AuthRoleListRequest{})
	if err != nil {
		return err
	}
	for _, name := range roles.Roles {
		if _, err := client.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: name}); err != nil {
			return err
		}
	}
	return nil
}

// endMembers removes learners and alarms.
func (s *side) endMembers(ctx context.Context) error {
	client := pb.NewClusterClient(s.conn)
	list, err := client.MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		if m.ID != s.member {
			if _, err := client.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: m.ID}); err != nil {
				return err
			}
		}
	}
	if _, err := client.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: s.member, PeerURLs: s.peerURLs}); err != nil {
		return err
	}
	maintenance := pb.NewMaintenanceClient(s.conn)
	raised, err := maintenance.Alarm(ctx, &pb.AlarmRequest{})
	if err != nil {
		return err
	}
	for _, a := range raised.Alarms {
		if _, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm}); err != nil {
			return err
		}
	}
	return nil
}

func (s *side) endLeases(ctx context.Context) error {
	client := pb.NewLeaseClient(s.conn)
	list, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return err
	}
	for _, lease := range list.Leases {
		if _, err := client.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease.ID}); err != nil && err.Error() != rpctypes.ErrGRPCLeaseNotFound.Error() {
			return err
		}
	}
	return nil
}

// endKeys deletes all keys, compacts, and sets the base.
func (s *side) endKeys(ctx context.Context) error {
	client := pb.NewKVClient(s.conn)
	if _, err := client.Put(ctx, &pb.PutRequest{Key: []byte("a")}); err != nil {
		return err
	}
	last, err := client.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		return err
	}
	s.base = last.Header.Revision
	_, err = client.Compact(ctx, &pb.CompactionRequest{Revision: s.base})
	return err
}
