package etcdapi

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/mvcc"
)

// Answers of the service Election, in etcd's words.
var (
	errNotLeading = status.Error(codes.Unknown, "election: not leader")
	errNoneLeads  = status.Error(codes.Unknown, "election: no leader")
	errNoLeadKey  = status.Error(codes.Unknown, `"leader" field must be provided`)
)

// electionService is the service Election.
type electionService struct {
	v3electionpb.UnimplementedElectionServer
	kv *kvService
}

// Campaign implements v3electionpb.ElectionServer. A candidate that is in the queue
// already keeps the place, with the new value.
func (e *electionService) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	p, old, header, err := e.kv.enqueue(ctx, r.Name, r.Lease, r.Value)
	if err != nil {
		return nil, asOfClient(err)
	}
	leader := &v3electionpb.LeaderKey{Name: r.Name, Key: []byte(p.key), Rev: p.revision, Lease: p.lease}
	if old != nil && string(old.Value) != string(r.Value) {
		proclaimed, err := e.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: leader, Value: r.Value})
		if err != nil {
			return nil, err
		}
		header = proclaimed.Header
	}
	if _, err := e.kv.await(ctx, p); err != nil {
		return nil, asOfClient(err)
	}
	return &v3electionpb.CampaignResponse{Header: header, Leader: leader}, nil
}

// Proclaim implements v3electionpb.ElectionServer.
func (e *electionService) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	if r.Leader == nil {
		return nil, errNoLeadKey
	}
	put := &pb.PutRequest{Key: r.Leader.Key, Value: r.Value, Lease: r.Leader.Lease}
	done, err := e.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(string(r.Leader.Key), r.Leader.Rev)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	})
	if err != nil {
		return nil, asOfClient(err)
	}
	if !done.Succeeded {
		return nil, errNotLeading
	}
	return &v3electionpb.ProclaimResponse{Header: done.Header}, nil
}

// leader returns the first key of an election, nil for none.
func (e *electionService) leader(ctx context.Context, name []byte) (*mvccpb.KeyValue, *pb.ResponseHeader, error) {
	prefix := string(name) + "/"
	r, err := e.kv.Range(ctx, &pb.RangeRequest{
		Key: []byte(prefix), RangeEnd: []byte(mvcc.PrefixEnd(prefix)),
		Limit: 1, SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_CREATE,
	})
	if err != nil {
		return nil, nil, err
	}
	if len(r.Kvs) == 0 {
		return nil, r.Header, nil
	}
	return r.Kvs[0], r.Header, nil
}

// Leader implements v3electionpb.ElectionServer.
func (e *electionService) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	pair, header, err := e.leader(ctx, r.Name)
	if err != nil {
		return nil, asOfClient(err)
	}
	if pair == nil {
		return nil, errNoneLeads
	}
	return &v3electionpb.LeaderResponse{Header: header, Kv: pair}, nil
}

// Observe implements v3electionpb.ElectionServer. The stream has each value of a leader
// once and in order. A leader whose time was over before Observe saw the end of the leader
// before may be missing.
func (e *electionService) Observe(r *v3electionpb.LeaderRequest, stream v3electionpb.Election_ObserveServer) error {
	ctx := stream.Context()
	for sent := int64(0); ; {
		// After a change of the users the loop begins anew, because e.leader checks the
		// caller's permission.
		users := e.kv.server.picture().auth
		pair, header, err := e.leader(ctx, r.Name)
		if err == nil && pair == nil {
			pair, header, err = e.firstCandidate(ctx, r.Name, header.Revision+1)
			if err == nil && e.kv.server.picture().auth != users {
				continue
			}
		}
		if err == nil && pair.ModRevision != sent {
			sent = pair.ModRevision
			err = stream.Send(&v3electionpb.LeaderResponse{Header: header, Kv: pair})
		}
		if err == nil {
			err = e.kv.server.follow(ctx, string(pair.Key), "", header.Revision+1, func(event *mvccpb.Event) (bool, error) {
				if event.Type == mvccpb.Event_DELETE || e.kv.server.picture().auth != users {
					return false, nil
				}
				sent = event.Kv.ModRevision
				return true, stream.Send(&v3electionpb.LeaderResponse{Header: e.kv.server.header(sent), Kv: event.Kv})
			})
		}
		if err != nil && !errors.Is(err, mvcc.ErrCompacted) { // the next look finds the leader
			return answer(err)
		}
	}
}

// firstCandidate waits for the first key of an election without candidates.
func (e *electionService) firstCandidate(ctx context.Context, name []byte, from int64) (pair *mvccpb.KeyValue, header *pb.ResponseHeader, err error) {
	prefix := string(name) + "/"
	err = e.kv.server.follow(ctx, prefix, mvcc.PrefixEnd(prefix), from, func(event *mvccpb.Event) (bool, error) {
		if event.Type == mvccpb.Event_PUT {
			pair, header = event.Kv, e.kv.server.header(event.Kv.ModRevision)
		}
		return pair == nil, nil
	})
	return pair, header, err
}

// Resign implements v3electionpb.ElectionServer.
func (e *electionService) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	if r.Leader == nil {
		return nil, errNoLeadKey
	}
	header, err := e.kv.leave(ctx, string(r.Leader.Key), r.Leader.Rev)
	if err != nil {
		return nil, asOfClient(err)
	}
	return &v3electionpb.ResignResponse{Header: header}, nil
}
