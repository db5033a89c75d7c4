package etcdapi

import (
	"fmt"
	"unsafe"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/mvcc"
)

// text returns the bytes of a request as a string, without a copy. Nobody changes the
// bytes of a request.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// raw returns a string of the store as bytes for an answer, without a copy. Nobody
// changes the bytes of an answer.
func raw(s string) []byte {
	if s == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func fromRange(r *pb.RangeRequest) (*mvcc.RangeRequest, error) {
	if len(r.GetKey()) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	if r.SortOrder < 0 || r.SortOrder > pb.RangeRequest_DESCEND || r.SortTarget < 0 || r.SortTarget > pb.RangeRequest_VALUE {
		return nil, rpctypes.ErrGRPCInvalidSortOption
	}
	return &mvcc.RangeRequest{
		Key: text(r.Key), End: text(r.RangeEnd), Limit: r.Limit, Revision: r.Revision,
		Order: mvcc.Order(r.SortOrder), Target: target(r), KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
		Serializable: r.Serializable,
	}, nil
}

func target(r *pb.RangeRequest) mvcc.Target {
	switch r.SortTarget {
	case pb.RangeRequest_VERSION:
		return mvcc.ByVersion
	case pb.RangeRequest_CREATE:
		return mvcc.ByCreateRevision
	case pb.RangeRequest_MOD:
		return mvcc.ByModRevision
	case pb.RangeRequest_VALUE:
		return mvcc.ByValue
	}
	return mvcc.ByKey
}

func fromPut(r *pb.PutRequest) *mvcc.PutRequest {
	return &mvcc.PutRequest{
		Key: text(r.GetKey()), Value: text(r.GetValue()), Lease: r.GetLease(),
		PrevKV: r.GetPrevKv(), IgnoreValue: r.GetIgnoreValue(), IgnoreLease: r.GetIgnoreLease(),
	}
}

func fromDelete(r *pb.DeleteRangeRequest) *mvcc.DeleteRequest {
	return &mvcc.DeleteRequest{Key: text(r.GetKey()), End: text(r.GetRangeEnd()), PrevKV: r.GetPrevKv()}
}

// fromTxn converts a transaction of at most ops operations. Nested transactions have the
// rest of the outer one's, as in etcd. The error is that of the first wrong operation.
func fromTxn(r *pb.TxnRequest, ops int) (*mvcc.TxnRequest, error) {
	most := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if most > ops {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return nil, rpctypes.ErrGRPCEmptyKey
		}
	}
	to := &mvcc.TxnRequest{}
	for _, c := range r.GetCompare() {
		compare, err := fromCompare(c)
		if err != nil {
			return nil, err
		}
		to.Compares = append(to.Compares, compare)
	}
	for _, branch := range []struct {
		from []*pb.RequestOp
		to   *[]mvcc.Op
	}{{r.GetSuccess(), &to.Then}, {r.GetFailure(), &to.Else}} {
		for _, o := range branch.from {
			op, err := fromOp(o, ops-most)
			if err != nil {
				return nil, err
			}
			*branch.to = append(*branch.to, op)
		}
	}
	return to, nil
}

func fromOp(o *pb.RequestOp, ops int) (to mvcc.Op, err error) {
	switch r := o.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		to.Range, err = fromRange(r.RequestRange)
	case *pb.RequestOp_RequestPut:
		to.Put = fromPut(r.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		to.Delete = fromDelete(r.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		to.Txn, err = fromTxn(r.RequestTxn, ops)
	default:
		err = rpctypes.ErrGRPCKeyNotFound // as etcd answers
	}
	if err == nil && to.Txn == nil {
		err = to.Validate()
	}
	return to, err
}

func fromCompare(c *pb.Compare) (mvcc.Compare, error) {
	to := mvcc.Compare{Key: text(c.GetKey()), End: text(c.GetRangeEnd())}
	switch c.GetTarget() {
	case pb.Compare_VERSION:
		to.Field, to.Number = mvcc.FieldVersion, c.GetVersion()
	case pb.Compare_CREATE:
		to.Field, to.Number = mvcc.FieldCreateRevision, c.GetCreateRevision()
	case pb.Compare_MOD:
		to.Field, to.Number = mvcc.FieldModRevision, c.GetModRevision()
	case pb.Compare_VALUE:
		to.Field, to.Value = mvcc.FieldValue, text(c.GetValue())
	case pb.Compare_LEASE:
		to.Field, to.Number = mvcc.FieldLease, c.GetLease()
	default:
		return to, fmt.Errorf("%w: the target %d of a comparison", mvcc.ErrInvalid, c.GetTarget())
	}
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		to.Relation = mvcc.Equal
	case pb.Compare_GREATER:
		to.Relation = mvcc.Greater
	case pb.Compare_LESS:
		to.Relation = mvcc.Less
	case pb.Compare_NOT_EQUAL:
		to.Relation = mvcc.NotEqual
	default:
		return to, fmt.Errorf("%w: the result %d of a comparison", mvcc.ErrInvalid, c.GetResult())
	}
	return to, nil
}

func toKV(kv *mvcc.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: raw(kv.Key), Value: raw(kv.Value), Lease: kv.Lease, Version: kv.Version,
		CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
	}
}

func toKVs(kvs []*mvcc.KeyValue) []*mvccpb.KeyValue {
	all := make([]*mvccpb.KeyValue, len(kvs))
	for i, kv := range kvs {
		all[i] = toKV(kv)
	}
	return all
}

func toRange(r *mvcc.RangeResult) *pb.RangeResponse {
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: r.Revision}, Kvs: toKVs(r.KVs), More: r.More, Count: r.Count}
}

func toPut(r *mvcc.PutResult) *pb.PutResponse {
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: r.Revision}, PrevKv: toKV(r.Prev)}
}

func toDelete(r *mvcc.DeleteResult) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: r.Revision}, Deleted: r.Deleted, PrevKvs: toKVs(r.Prev)}
}

func toTxn(r *mvcc.TxnResult) *pb.TxnResponse {
	to := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: r.Succeeded, Responses: make([]*pb.ResponseOp, len(r.Results))}
	for i, o := range r.Results {
		op := &pb.ResponseOp{}
		switch {
		case o.Range != nil:
			op.Response = &pb.ResponseOp_ResponseRange{ResponseRange: toRange(o.Range)}
		case o.Put != nil:
			op.Response = &pb.ResponseOp_ResponsePut{ResponsePut: toPut(o.Put)}
		case o.Delete != nil:
			op.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: toDelete(o.Delete)}
		case o.Txn != nil:
			op.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: toTxn(o.Txn)}
		}
		to.Responses[i] = op
	}
	return to
}
