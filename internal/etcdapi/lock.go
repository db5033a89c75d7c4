package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/etcdapi/v3lockpb"
)

// lockService is the service Lock.
type lockService struct {
	v3lockpb.UnimplementedLockServer
	kv *kvService
}

// Lock implements v3lockpb.LockServer. A second Lock with the lease of the owner returns
// the same key. The create revision of the key grows from owner to owner, so a store that
// refuses lower revisions refuses owners whose lease has ended.
func (l *lockService) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	p, _, _, err := l.kv.enqueue(ctx, r.Name, r.Lease, nil)
	if err != nil {
		return nil, asOfClient(err)
	}
	header, err := l.kv.await(ctx, p)
	if err != nil {
		return nil, asOfClient(err)
	}
	return &v3lockpb.LockResponse{Header: header, Key: []byte(p.key)}, nil
}

// Unlock implements v3lockpb.LockServer.
func (l *lockService) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	done, err := l.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.Key})
	if err != nil {
		return nil, asOfClient(err)
	}
	return &v3lockpb.UnlockResponse{Header: done.Header}, nil
}
