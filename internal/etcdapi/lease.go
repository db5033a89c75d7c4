package etcdapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/auth"
	"raftlab/mvcc"
	"raftlab/raft/core"
)

// leaseService is the service Lease.
type leaseService struct {
	pb.UnimplementedLeaseServer
	server *Server
}

// LeaseGrant implements pb.LeaseServer. A time to live below one and a half election
// timeouts is raised to that time, because no leader could keep the lease through an
// election.
func (l *leaseService) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	ttl := max(r.TTL, l.server.lessor.shortest())
	if err := l.server.known(ctx); err != nil {
		return nil, err
	}
	for {
		id := r.ID
		for id == 0 {
			id = rand.Int64()
		}
		o, err := l.server.command(ctx, mvcc.Command{Grant: &mvcc.Lease{ID: id, TTL: ttl}})
		if errors.Is(err, rpctypes.ErrGRPCLeaseExist) && r.ID == 0 {
			continue // another draw
		}
		if err != nil {
			return nil, err
		}
		return &pb.LeaseGrantResponse{Header: l.server.header(o.result.Revision), ID: id, TTL: ttl}, nil
	}
}

// LeaseRevoke implements pb.LeaseServer.
func (l *leaseService) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := l.server.known(ctx); err != nil {
		return nil, err
	}
	o, err := l.server.command(ctx, mvcc.Command{Revoke: &mvcc.RevokeCommand{Lease: r.ID}})
	if err != nil {
		return nil, err
	}
	return &pb.LeaseRevokeResponse{Header: l.server.header(o.result.Revision)}, nil
}

// maxKeepAlives bounds the requests of a stream that are renewed together.
const maxKeepAlives = 256

// LeaseKeepAlive implements pb.LeaseServer. A TTL of 0 in a response says that the lease
// does not exist.
func (l *leaseService) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	requests, received := make(chan *pb.LeaseKeepAliveRequest, maxKeepAlives), make(chan error, 1)
	go func() { // ends with the stream's context
		received <- receive(ctx, stream.Recv, requests)
		close(requests)
	}()
	for {
		select {
		case r, ok := <-requests:
			if !ok {
				return <-received
			}
			if err := l.renew(ctx, stream.Send, take(requests, r)); err != nil {
				return err
			}
		case <-l.server.serving.Done():
			return rpctypes.ErrGRPCStopped
		}
	}
}

// take returns a request with those that wait behind it.
func take(requests <-chan *pb.LeaseKeepAliveRequest, first *pb.LeaseKeepAliveRequest) []*pb.LeaseKeepAliveRequest {
	all := []*pb.LeaseKeepAliveRequest{first}
	for len(all) < maxKeepAlives {
		select {
		case r, ok := <-requests:
			if !ok {
				return all
			}
			all = append(all, r)
		default:
			return all
		}
	}
	return all
}

// renew has the leader renew leases, and answers each request. The requests before one that
// is not permitted are answered.
func (l *leaseService) renew(ctx context.Context, send func(*pb.LeaseKeepAliveResponse) error, requests []*pb.LeaseKeepAliveRequest) error {
	// The revision is that before the renewal, so it is never above that of a
	// revocation behind the renewal.
	p := l.server.picture()
	header := l.server.header(p.view.Revision())
	var leases []int64
	var refused error
	for _, r := range requests {
		if refused = l.permit(ctx, p, r.ID, auth.Write); refused != nil {
			break
		}
		leases = append(leases, r.ID)
	}
	ttls, err := l.server.renewals.renew(ctx, leases)
	if err != nil {
		return err
	}
	for i, id := range leases {
		if err := send(&pb.LeaseKeepAliveResponse{Header: header, ID: id, TTL: ttls[i]}); err != nil {
			return err
		}
	}
	return refused
}

// LeaseTimeToLive implements pb.LeaseServer. A TTL of -1 says that the lease does not
// exist.
func (l *leaseService) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := l.server.known(ctx); err != nil {
		return nil, err
	}
	left, err := l.server.atLeader(ctx, methodTimeToLive, &pb.LeaseKeepAliveRequest{ID: r.ID}, (*Server).handleTimeToLive)
	if err != nil {
		return nil, err
	}
	if err := l.server.linearize(ctx); err != nil {
		return nil, err
	}
	p := l.server.picture()
	view := p.view
	response := &pb.LeaseTimeToLiveResponse{Header: l.server.header(view.Revision()), ID: r.ID, TTL: -1}
	lease, ok := view.Lease(r.ID)
	if !ok {
		return response, nil
	}
	response.TTL, response.GrantedTTL = left.TTL, lease.TTL
	if r.Keys {
		if err := l.permit(ctx, p, r.ID, auth.Read); err != nil {
			return nil, err
		}
		for _, key := range view.LeaseKeys(r.ID) {
			response.Keys = append(response.Keys, raw(key))
		}
	}
	return response, nil
}

// LeaseLeases implements pb.LeaseServer.
func (l *leaseService) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := l.server.linearize(ctx); err != nil {
		return nil, err
	}
	p := l.server.picture()
	allowed, err := l.server.permissions(ctx, p)
	if err == nil {
		err = allowed.state.Known(allowed.who)
	}
	if err != nil {
		return nil, answer(err)
	}
	response := &pb.LeaseLeasesResponse{Header: l.server.header(p.view.Revision())}
	for _, lease := range p.view.Leases() {
		if err := allowed.leaseKeys(lease.ID, auth.Read); err != nil {
			return nil, answer(err)
		}
		response.Leases = append(response.Leases, &pb.LeaseStatus{ID: lease.ID})
	}
	return response, nil
}

// permit checks the caller's access to the keys of a lease.
func (l *leaseService) permit(ctx context.Context, p *picture, lease int64, access auth.Access) error {
	allowed, err := l.server.permissions(ctx, p)
	if err != nil {
		return err
	}
	return answer(allowed.leaseKeys(lease, access))
}

// atLeader has the leader answer a request about a lease. The request is repeated, until
// a leader answers or the time is over, because the request has no effect that must not
// happen twice.
func (s *Server) atLeader(ctx context.Context, method string, in *pb.LeaseKeepAliveRequest,
	do func(*Server, context.Context, *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error)) (*pb.LeaseKeepAliveResponse, error) {
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	out := &pb.LeaseKeepAliveResponse{}
	err := s.untilAccepted(limited, always, func(leader core.NodeID) (err error) {
		if leader == s.node.ID() {
			out, err = do(s, limited, in)
			return err
		}
		out = &pb.LeaseKeepAliveResponse{}
		return s.invoke(limited, leader, method, in, out)
	})
	if err != nil {
		return nil, s.late(ctx, err)
	}
	return out, nil
}

// handleTimeToLive returns the time left of a lease, on the leader.
func (s *Server) handleTimeToLive(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	if err := s.leads(ctx); err != nil {
		return nil, err
	}
	return &pb.LeaseKeepAliveResponse{TTL: int64(s.lessor.left(r.ID) / time.Second)}, nil
}

// leads returns an error if this member is not the leader that keeps the deadlines. The
// state includes all writes before the call.
func (s *Server) leads(ctx context.Context) error {
	term, leads := s.node.Leadership()
	if !leads {
		return rpctypes.ErrGRPCNotLeader
	}
	if _, err := s.node.ReadIndex(ctx); err != nil {
		return err
	}
	if now, leads := s.node.Leadership(); !leads || now != term || !s.lessor.keeps(term) {
		return rpctypes.ErrGRPCNotLeader
	}
	return nil
}

func (s *Server) checkpoint(ctx context.Context, all []mvcc.LeaseCheckpoint) error {
	_, err := s.propose(ctx, &entry{caller: caller{own: true}, command: &mvcc.Command{Checkpoint: all}})
	return err
}
