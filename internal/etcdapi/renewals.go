package etcdapi

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/mvcc"
	"raftlab/raft/core"
)

// renewals has the leader renew the leases of this member's clients in batches. While the
// leader answers one batch, the next one gathers. A batch costs one call and one read index.
type renewals struct {
	server *Server
	wake   chan struct{} // has a token while a batch waits

	mu   sync.Mutex
	next *renewalBatch // nil for none
}

// renewalBatch are renewals that go to the leader together.
type renewalBatch struct {
	leases []int64
	done   chan struct{} // closed after ttls and err are set
	ttls   []int64       // 0 for a lease that does not exist
	err    error
}

func newRenewals(s *Server) *renewals {
	return &renewals{server: s, wake: make(chan struct{}, 1)}
}

// run renews batches until ctx ends.
func (r *renewals) run(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		b := r.next
		r.next = nil
		r.mu.Unlock()
		b.ttls, b.err = r.server.renewAtLeader(ctx, b.leases)
		close(b.done)
	}
}

// renew renews leases, and returns their times to live in seconds.
func (r *renewals) renew(ctx context.Context, leases []int64) ([]int64, error) {
	if len(leases) == 0 {
		return nil, nil
	}
	r.mu.Lock()
	if r.next == nil {
		r.next = &renewalBatch{done: make(chan struct{})}
		r.wake <- struct{}{} // run has taken the token of the last batch with the batch
	}
	b := r.next
	from := len(b.leases)
	b.leases = append(b.leases, leases...)
	r.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, r.server.cfg.RequestTimeout)
	defer cancel()
	select {
	case <-b.done:
		if b.err != nil {
			return nil, b.err
		}
		return b.ttls[from : from+len(leases)], nil
	case <-limited.Done():
		return nil, r.server.late(ctx, limited.Err())
	case <-r.server.done.Done():
		return nil, rpctypes.ErrGRPCStopped
	}
}

// renewAtLeader has the leader renew leases. A refused or lost call is repeated, until a
// leader answers or the time is over, because a renewal may happen twice.
func (s *Server) renewAtLeader(ctx context.Context, leases []int64) ([]int64, error) {
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	all := make([]int64, 0, len(leases))
	for part := range slices.Chunk(leases, maxCheckpoints) {
		var ttls []int64
		err := s.untilAccepted(limited, always, func(leader core.NodeID) (err error) {
			if leader == s.node.ID() {
				ttls, err = s.renewHere(limited, part)
			} else {
				ttls, err = s.forwardRenewals(limited, leader, part)
			}
			return err
		})
		if err != nil {
			return nil, s.late(ctx, err)
		}
		all = append(all, ttls...)
	}
	return all, nil
}

// always lets untilAccepted repeat a request after every error.
func always(error) bool { return true }

// forwardRenewals has another member renew leases. A member of an earlier version renews
// one lease in a call.
func (s *Server) forwardRenewals(ctx context.Context, to core.NodeID, leases []int64) ([]int64, error) {
	out := &wrapperspb.BytesValue{}
	err := s.invoke(ctx, to, methodRenewAll, wrapperspb.Bytes(appendNumbers(nil, leases)), out)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return s.forwardSingly(ctx, to, leases)
	case err != nil:
		return nil, err
	}
	ttls, ok := numbers(out.Value)
	if !ok || len(ttls) != len(leases) {
		return nil, status.Errorf(codes.Internal, "raftlab: %d answers to %d renewals", len(ttls), len(leases))
	}
	return ttls, nil
}

func (s *Server) forwardSingly(ctx context.Context, to core.NodeID, leases []int64) ([]int64, error) {
	var ttls []int64
	for _, id := range leases {
		out := &pb.LeaseKeepAliveResponse{}
		if err := s.invoke(ctx, to, methodRenew, &pb.LeaseKeepAliveRequest{ID: id}, out); err != nil {
			return nil, err
		}
		ttls = append(ttls, out.TTL)
	}
	return ttls, nil
}

// handleRenewAll renews the leases of another member's clients, on the leader.
func (s *Server) handleRenewAll(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	leases, ok := numbers(in.Value)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "raftlab: the leases to renew cannot be decoded")
	}
	ttls, err := s.renewHere(ctx, leases)
	if err != nil {
		return nil, err
	}
	return wrapperspb.Bytes(appendNumbers(nil, ttls)), nil
}

// handleRenew renews one lease, for a member of an earlier version.
func (s *Server) handleRenew(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	ttls, err := s.renewHere(ctx, []int64{r.ID})
	if err != nil {
		return nil, err
	}
	return &pb.LeaseKeepAliveResponse{TTL: ttls[0]}, nil
}

// renewHere renews leases, on the leader.
func (s *Server) renewHere(ctx context.Context, leases []int64) ([]int64, error) {
	// Without a majority the next leader may expire the leases already.
	if err := s.leads(ctx); err != nil {
		return nil, err
	}
	ttls := make([]int64, len(leases))
	var recorded []mvcc.LeaseCheckpoint
	for i, id := range leases {
		lease, ok := s.lessor.renew(id)
		if !ok {
			continue
		}
		ttls[i] = lease.TTL
		s.counters.renewed.Add(1)
		if lease.Remaining > 0 { // the next leader must not use the checkpoint
			recorded = append(recorded, mvcc.LeaseCheckpoint{Lease: id})
		}
	}
	for part := range slices.Chunk(recorded, maxCheckpoints) {
		if err := s.checkpoint(ctx, part); err != nil {
			return nil, err
		}
	}
	return ttls, nil
}

func appendNumbers(to []byte, all []int64) []byte {
	for _, n := range all {
		to = binary.AppendVarint(to, n)
	}
	return to
}

// numbers decodes what appendNumbers encodes, and reports whether data is such an encoding.
func numbers(data []byte) (all []int64, ok bool) {
	for len(data) > 0 {
		n, size := binary.Varint(data)
		if size <= 0 {
			return nil, false
		}
		all, data = append(all, n), data[size:]
	}
	return all, true
}
