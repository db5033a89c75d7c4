package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/mvcc"
)

// kvService is the service KV.
type kvService struct {
	pb.UnimplementedKVServer
	server *Server
}

// stateFor returns the state for a read of a revision. A client may have the revision from
// another member, which is ahead of this one. So a serializable read of a revision that
// this member lacks waits for the leader's state, if there is a leader.
func (s *Server) stateFor(ctx context.Context, serializable bool, revision int64) (*picture, error) {
	if !serializable {
		if err := s.linearize(ctx); err != nil {
			return nil, err
		}
	} else if revision > s.picture().view.Revision() {
		limited, cancel := context.WithTimeout(ctx, s.cfg.Node.ElectionTimeout)
		_, _ = s.node.ReadIndex(limited) // without a leader the revision stays a future one
		cancel()
	}
	p := s.picture()
	if raised(p.alarms, pb.AlarmType_CORRUPT) {
		return nil, answer(errCorrupt)
	}
	return p, nil
}

func (k *kvService) find(ctx context.Context, r *pb.RangeRequest) (*mvcc.RangeResult, error) {
	request, err := fromRange(r)
	if err != nil {
		return nil, err
	}
	p, err := k.server.stateFor(ctx, r.Serializable, r.Revision)
	if err != nil {
		return nil, err
	}
	allowed, err := k.server.permissions(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := allowed.read(request.Key, request.End); err != nil {
		return nil, answer(err)
	}
	k.server.counters.ranges.Add(1)
	result, err := p.view.Range(*request)
	return &result, answer(err)
}

// Range implements pb.KVServer.
func (k *kvService) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	result, err := k.find(ctx, r)
	if err != nil {
		return nil, err
	}
	response := toRange(result)
	response.Header = k.server.header(result.Revision)
	return response, nil
}

// streamChunk is the size of keys and values in a message of RangeStream.
const streamChunk = 1 << 20

// RangeStream implements pb.KVServer. All messages show one view.
func (k *kvService) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	if _, err := fromRange(r); err != nil {
		return err
	}
	switch {
	case r.SortOrder != pb.RangeRequest_NONE && (r.SortOrder != pb.RangeRequest_ASCEND || r.SortTarget != pb.RangeRequest_KEY):
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0:
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	result, err := k.find(stream.Context(), r)
	if err != nil {
		return err
	}
	for rest := result.KVs; ; {
		n, size := 0, 0
		for n < len(rest) && size < streamChunk {
			size += len(rest[n].Key) + len(rest[n].Value)
			n++
		}
		part := &pb.RangeResponse{Kvs: toKVs(rest[:n])}
		rest = rest[n:]
		if len(rest) == 0 {
			part.Header, part.More, part.Count = k.server.header(result.Revision), result.More, result.Count
		}
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: part}); err != nil || len(rest) == 0 {
			return err
		}
	}
}

// Put implements pb.KVServer.
func (k *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	put := fromPut(r)
	if err := (&mvcc.Op{Put: put}).Validate(); err != nil {
		return nil, answer(err)
	}
	o, err := k.server.command(ctx, mvcc.Command{Put: put})
	if err != nil {
		return nil, err
	}
	response := toPut(o.result.Put)
	response.Header = k.server.header(o.result.Put.Revision)
	return response, nil
}

// DeleteRange implements pb.KVServer.
func (k *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	deletion := fromDelete(r)
	if err := (&mvcc.Op{Delete: deletion}).Validate(); err != nil {
		return nil, answer(err)
	}
	o, err := k.server.command(ctx, mvcc.Command{Delete: deletion})
	if err != nil {
		return nil, err
	}
	response := toDelete(o.result.Delete)
	response.Header = k.server.header(o.result.Delete.Revision)
	return response, nil
}

// Txn implements pb.KVServer. A transaction that only reads is a read.
func (k *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	request, err := fromTxn(r, k.server.cfg.MaxTxnOps)
	if err != nil {
		return nil, answer(err)
	}
	if err := request.Validate(); err != nil {
		return nil, answer(err)
	}
	result, err := k.txn(ctx, request)
	if err != nil {
		return nil, err
	}
	response := toTxn(result)
	response.Header = k.server.header(result.Revision)
	return response, nil
}

func (k *kvService) txn(ctx context.Context, r *mvcc.TxnRequest) (*mvcc.TxnResult, error) {
	if !r.ReadOnly() {
		o, err := k.server.command(ctx, mvcc.Command{Txn: r})
		return o.result.Txn, err
	}
	p, err := k.server.stateFor(ctx, serializable(r), newest(r))
	if err != nil {
		return nil, err
	}
	allowed, err := k.server.permissions(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := allowed.txn(r); err != nil {
		return nil, answer(err)
	}
	result, err := p.view.Txn(*r)
	k.server.counters.ranges.Add(int64(len(result.Results)))
	return &result, answer(err)
}

// newest returns the newest revision that a transaction's ranges name.
func newest(r *mvcc.TxnRequest) (revision int64) {
	for _, ops := range [][]mvcc.Op{r.Then, r.Else} {
		for _, op := range ops {
			if op.Range != nil {
				revision = max(revision, op.Range.Revision)
			}
		}
	}
	return revision
}

// serializable reports whether all reads of a transaction are.
func serializable(r *mvcc.TxnRequest) bool {
	for _, ops := range [][]mvcc.Op{r.Then, r.Else} {
		for _, op := range ops {
			if op.Range == nil || !op.Range.Serializable {
				return false
			}
		}
	}
	return true
}

// Compact implements pb.KVServer. The memory of the compacted versions is released in
// the background. With Physical, Compact waits for the release on this member.
func (k *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	o, err := k.server.command(ctx, mvcc.Command{Compact: &mvcc.CompactCommand{Revision: r.Revision}})
	if err != nil {
		return nil, err
	}
	if r.Physical {
		if err := k.server.machine.released(ctx); err != nil {
			return nil, answer(err)
		}
	}
	return &pb.CompactionResponse{Header: k.server.header(o.result.Revision)}, nil
}
