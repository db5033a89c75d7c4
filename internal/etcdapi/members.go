package etcdapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// clusterService is the service Cluster.
type clusterService struct {
	pb.UnimplementedClusterServer
	server *Server
}

// newMemberID returns the id of a member that is added at an address, while the log is
// committed up to an index. An addition grows the log, so a removed member's id never comes
// back, also at the same address. A member that joins finds its id in MemberList, by its
// peer URL.
func newMemberID(address string, commitIndex uint64) core.NodeID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d", address, commitIndex))
	return core.NodeID(binary.BigEndian.Uint64(sum[:]) | 1) // never core.None
}

// address returns the address in peer URLs. A member has one.
func address(peerURLs []string) (string, error) {
	if len(peerURLs) != 1 {
		return "", rpctypes.ErrGRPCMemberBadURLs
	}
	u, err := url.Parse(peerURLs[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" {
		return "", rpctypes.ErrGRPCMemberBadURLs
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		return "", rpctypes.ErrGRPCMemberBadURLs
	}
	return u.Host, nil
}

// members returns the members as this one knows them.
func (s *Server) members(ctx context.Context) ([]*pb.Member, error) {
	st, err := s.node.Status(ctx)
	if err != nil {
		return nil, answer(err)
	}
	published := s.picture().members
	var all []*pb.Member
	for _, m := range st.Members {
		a := published[m.ID]
		to := &pb.Member{ID: uint64(m.ID), Name: a.name, ClientURLs: a.clientURLs, IsLearner: m.Learner}
		if m.Address != "" {
			to.PeerURLs = []string{s.cfg.PeerScheme + "://" + m.Address}
		}
		all = append(all, to)
	}
	return all, nil
}

// memberHeader returns the header of an answer about members, without a revision.
func (s *Server) memberHeader() *pb.ResponseHeader { return s.header(0) }

// MemberList implements pb.ClusterServer.
func (c *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if err := c.server.known(ctx); err != nil {
		return nil, err
	}
	if r.Linearizable {
		if err := c.server.linearize(ctx); err != nil {
			return nil, err
		}
	}
	all, err := c.server.members(ctx)
	return &pb.MemberListResponse{Header: c.server.memberHeader(), Members: all}, err
}

// MemberAdd implements pb.ClusterServer. A member that is not added as a learner begins
// as one, too. The leader promotes such a member as soon as the member has the log, so a
// member that never starts takes no majority away.
func (c *clusterService) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if _, err := address(r.PeerURLs); err != nil {
		return nil, err
	}
	if err := c.server.administer(ctx); err != nil {
		return nil, err
	}
	response := &pb.MemberAddResponse{}
	if err := onLeader(ctx, c.server, methodMemberAdd, r, response, (*Server).addMember); err != nil {
		return nil, err
	}
	response.Header = c.server.memberHeader()
	return response, nil
}

// MemberRemove implements pb.ClusterServer.
func (c *clusterService) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := c.server.administer(ctx); err != nil {
		return nil, err
	}
	response := &pb.MemberRemoveResponse{}
	if err := onLeader(ctx, c.server, methodMemberRemove, r, response, (*Server).removeMember); err != nil {
		return nil, err
	}
	response.Header = c.server.memberHeader()
	return response, nil
}

// MemberUpdate implements pb.ClusterServer.
func (c *clusterService) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if err := c.server.administer(ctx); err != nil {
		return nil, err
	}
	response := &pb.MemberUpdateResponse{}
	if err := onLeader(ctx, c.server, methodMemberUpdate, r, response, (*Server).updateMember); err != nil {
		return nil, err
	}
	response.Header = c.server.memberHeader()
	return response, nil
}

// MemberPromote implements pb.ClusterServer.
func (c *clusterService) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if err := c.server.administer(ctx); err != nil {
		return nil, err
	}
	response := &pb.MemberPromoteResponse{}
	if err := onLeader(ctx, c.server, methodMemberPromote, r, response, (*Server).promoteMember); err != nil {
		return nil, err
	}
	response.Header = c.server.memberHeader()
	return response, nil
}

// errFixedMembers is the answer to a change of members under Config.FixedMembers.
var errFixedMembers = status.Error(codes.FailedPrecondition, "raftlab: the members of a store in one process are fixed; raftlab serve --name runs members as processes of their own")

// onLeader has the leader execute a change of members.
func onLeader[In any, Out any](ctx context.Context, s *Server, method string, in *In, out *Out, do func(*Server, context.Context, *In, *Out) error) error {
	if s.cfg.FixedMembers {
		return errFixedMembers
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	err := s.untilAccepted(limited, retryable, func(leader core.NodeID) error {
		if leader == s.node.ID() {
			return do(s, limited, in, out)
		}
		return s.invoke(limited, leader, method, in, out)
	})
	if err != nil {
		return s.late(ctx, err)
	}
	return nil
}

// status returns the leader's picture of the group, and of a member.
func (s *Server) status(ctx context.Context, id core.NodeID) (st node.Status, member node.MemberStatus, err error) {
	if st, err = s.node.Status(ctx); err != nil {
		return st, member, err
	}
	if st.State != core.Leader {
		return st, member, rpctypes.ErrGRPCNotLeader
	}
	for _, m := range st.Members {
		if m.ID == id {
			return st, m, nil
		}
	}
	return st, member, rpctypes.ErrGRPCMemberNotFound
}

func (s *Server) addMember(ctx context.Context, r *pb.MemberAddRequest, response *pb.MemberAddResponse) error {
	to, err := address(r.PeerURLs)
	if err != nil {
		return err
	}
	st, err := s.node.Status(ctx)
	switch {
	case err != nil:
		return err
	case st.State != core.Leader:
		return rpctypes.ErrGRPCNotLeader
	}
	id := newMemberID(to, st.CommitIndex)
	for _, m := range st.Members {
		if m.ID == id || m.Address == to {
			return rpctypes.ErrGRPCPeerURLExist
		}
	}
	if err := s.mayAdd(&st, r.IsLearner); err != nil {
		return err
	}
	if err := s.node.ChangeMembers(ctx, node.AddLearner(id, to)); err != nil {
		return err
	}
	if !r.IsLearner {
		if _, err := s.propose(ctx, &entry{promotion: &promotion{id, true}}); err != nil {
			return err
		}
	}
	response.Member = &pb.Member{ID: uint64(id), PeerURLs: r.PeerURLs, IsLearner: r.IsLearner}
	response.Members, err = s.members(ctx)
	return err
}

func (s *Server) removeMember(ctx context.Context, r *pb.MemberRemoveRequest, response *pb.MemberRemoveResponse) error {
	id := core.NodeID(r.ID)
	st, _, err := s.status(ctx, id)
	if err == nil {
		err = s.mayRemove(&st, id)
	}
	if err != nil {
		return err
	}
	// A leader that removes itself ends before the answer. So the leader hands over, and
	// the next leader removes the member.
	if id == s.node.ID() && s.node.TransferLeadership(ctx, core.None) == nil {
		return rpctypes.ErrGRPCNotLeader
	}
	if err := s.node.ChangeMembers(ctx, node.Remove(id)); err != nil {
		return err
	}
	// The member is out. What it has published goes when there is a leader.
	if _, err := s.propose(ctx, &entry{publish: &attributes{member: id}}); err != nil {
		s.log.Debug("forgetting the attributes of a removed member", "member", id, "error", err)
	}
	response.Members, err = s.members(ctx)
	return err
}

func (s *Server) updateMember(ctx context.Context, r *pb.MemberUpdateRequest, response *pb.MemberUpdateResponse) error {
	st, _, err := s.status(ctx, core.NodeID(r.ID))
	if err != nil {
		return err
	}
	to, err := address(r.PeerURLs)
	if err != nil {
		return err
	}
	for _, m := range st.Members {
		if m.Address == to && m.ID != core.NodeID(r.ID) {
			return rpctypes.ErrGRPCPeerURLExist
		}
	}
	if err := s.node.ChangeMembers(ctx, node.SetAddress(core.NodeID(r.ID), to)); err != nil {
		return err
	}
	response.Members, err = s.members(ctx)
	return err
}

func (s *Server) promoteMember(ctx context.Context, r *pb.MemberPromoteRequest, response *pb.MemberPromoteResponse) error {
	st, m, err := s.status(ctx, core.NodeID(r.ID))
	switch {
	case err != nil:
		return err
	case !m.Learner:
		return rpctypes.ErrGRPCMemberNotLearner
	case !m.CaughtUp:
		return rpctypes.ErrGRPCLearnerNotReady
	}
	if err := s.mayPromote(&st); err != nil {
		return err
	}
	if err := s.node.ChangeMembers(ctx, node.Promote(m.ID)); err != nil {
		return err
	}
	response.Members, err = s.members(ctx)
	return err
}

// steward closes the connections to members that were removed, and does what the leader
// owes the cluster: promotions of members that have caught up, and comparisons of the
// members' hashes.
func (s *Server) steward(ctx context.Context) {
	compared := time.Now()
	for ctx.Err() == nil {
		s.pause(s.cfg.Node.ElectionTimeout)
		if st, err := s.node.Status(ctx); err == nil {
			s.peers.retain(st.Members)
		}
		if !s.node.IsLeader() {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		for _, id := range s.picture().promotions {
			if err := s.promote(limited, id); err != nil {
				s.log.Debug("promoting a member", "member", id, "error", err)
			}
		}
		if time.Since(compared) >= s.cfg.CompareInterval {
			compared = time.Now()
			if err := s.compareHashes(limited); err != nil {
				s.log.Debug("comparing the hashes of the members", "error", err)
			}
		}
		cancel()
	}
}

// promote makes a learner a voter if the learner has caught up, and then forgets the
// promotion. A promotion of a member that was removed is forgotten, too.
func (s *Server) promote(ctx context.Context, id core.NodeID) error {
	_, m, err := s.status(ctx, id)
	switch {
	case errors.Is(err, rpctypes.ErrGRPCMemberNotFound):
	case err != nil:
		return err
	case m.Learner && !m.CaughtUp:
		return nil
	case m.Learner:
		if err := s.node.ChangeMembers(ctx, node.Promote(id)); err != nil {
			return err
		}
	}
	_, err = s.propose(ctx, &entry{promotion: &promotion{id, false}})
	return err
}
