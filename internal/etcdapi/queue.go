package etcdapi

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/mvcc"
)

// A queue is the keys that begin with a prefix, in the order of their create revisions.
// The first key owns the lock or leads the election. Etcd's client library keeps the same
// queues, so its users and those of the services Lock and Election exclude each other.
//
// The leases are the participants. The key of a participant is attached to the lease, so
// a participant whose lease ends leaves the queue.

// queueTTL is the time to live of the lease of a participant without one, in seconds.
const queueTTL = 60

// errExpired is the answer to a participant whose lease ended while it waited.
var errExpired = status.Error(codes.Unknown, "mutex: session is expired")

// place is a participant's place in a queue.
type place struct {
	prefix, key string
	lease       int64
	revision    int64 // create revision of the key
	kept        bool  // the lease had the place before
}

// enqueue gives a lease a place in a queue, with a value. A lease that has a place keeps
// the place.
func (k *kvService) enqueue(ctx context.Context, name []byte, lease int64, value []byte) (p *place, old *mvccpb.KeyValue, header *pb.ResponseHeader, err error) {
	if lease == 0 {
		granted, err := (&leaseService{server: k.server}).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: queueTTL})
		if err != nil {
			return nil, nil, nil, err
		}
		lease = granted.ID
	}
	p = &place{prefix: string(name) + "/", lease: lease}
	p.key = fmt.Sprintf("%s%x", p.prefix, lease)
	r, err := k.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(p.key, 0)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(p.key), Value: value, Lease: lease}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(p.key)}}}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	p.revision = r.Header.Revision
	if !r.Succeeded {
		old = r.Responses[0].GetResponseRange().Kvs[0]
		p.revision, p.kept = old.CreateRevision, true
	}
	return p, old, r.Header, nil
}

// created is the comparison of a key's create revision.
func created(key string, revision int64) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision}}
}

// await waits until a participant is the first one of its queue, and returns the header
// of a read that has seen the participant there. After an error a new participant leaves
// the queue, so that others do not wait for a caller that has gone.
func (k *kvService) await(ctx context.Context, p *place) (*pb.ResponseHeader, error) {
	err := k.awaitOthers(ctx, p)
	var got *pb.RangeResponse
	if err == nil {
		got, err = k.Range(ctx, &pb.RangeRequest{Key: []byte(p.key)})
	}
	if err != nil && p.kept {
		return nil, err
	}
	if err != nil {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.server.cfg.RequestTimeout)
		defer cancel()
		if _, errLeave := k.leave(leaving, p.key, p.revision); errLeave != nil {
			k.server.log.Info("a participant of a queue stays until its lease ends", "key", p.key, "lease", p.lease, "error", errLeave)
		}
		return nil, err
	}
	if len(got.Kvs) == 0 || got.Kvs[0].CreateRevision != p.revision {
		return nil, errExpired
	}
	return got.Header, nil
}

// awaitOthers waits for the end of all places before a place, the last one first.
func (k *kvService) awaitOthers(ctx context.Context, p *place) error {
	for {
		r, err := k.Range(ctx, &pb.RangeRequest{
			Key: []byte(p.prefix), RangeEnd: []byte(mvcc.PrefixEnd(p.prefix)), MaxCreateRevision: p.revision - 1,
			Limit: 1, SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_CREATE, KeysOnly: true,
		})
		if err != nil || len(r.Kvs) == 0 {
			return err
		}
		err = k.server.follow(ctx, string(r.Kvs[0].Key), "", r.Header.Revision+1, func(e *mvccpb.Event) (bool, error) {
			return e.Type != mvccpb.Event_DELETE, nil
		})
		if err != nil && !errors.Is(err, mvcc.ErrCompacted) { // the next look finds out
			return answer(err)
		}
	}
}

// leave deletes a key, unless another participant has made the key anew.
func (k *kvService) leave(ctx context.Context, key string, revision int64) (*pb.ResponseHeader, error) {
	r, err := k.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(key, revision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}},
	})
	if err != nil {
		return nil, err
	}
	return r.Header, nil
}

// follow passes the events of a range to do, in order from a revision on, while do returns
// true.
func (s *Server) follow(ctx context.Context, key, end string, from int64, do func(*mvccpb.Event) (bool, error)) error {
	marks := &watchStream{server: s, wake: make(chan struct{}, 1)}
	one := &watch{stream: marks, key: key, end: end, next: from}
	s.hub.add(one)
	defer s.hub.remove(one)
	for {
		view := s.picture().view
		events, through, err := one.collect(view, one.next)
		if err != nil {
			return err
		}
		for _, e := range events {
			if more, err := do(e); err != nil || !more {
				return err
			}
		}
		if one.next = max(one.next, through+1); through < view.Revision() {
			continue
		}
		select {
		case <-marks.wake:
			marks.unmark(one)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.serving.Done():
			return rpctypes.ErrGRPCStopped
		}
	}
}

// unmark forgets the marks of a stream of one watch.
func (w *watchStream) unmark(one *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.from, w.marked = 0, nil
}
