package etcdapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/auth"
	"raftlab/kv"
	"raftlab/mvcc"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
)

// MaxSessions bounds the client sessions of the state (see [Write]). The session with
// the oldest last write is forgotten first.
const MaxSessions = rsm.DefaultMaxSessions

// Errors of Execute.
var (
	// ErrNotAccepted is matched by the error of an operation without any effect. There
	// was no leader, or no majority confirmed the leader in time.
	ErrNotAccepted = errors.New("no leader has accepted the operation")
	// ErrOutcome is matched by the error of a write with an open outcome. The write may
	// have taken effect, or may take effect yet.
	ErrOutcome = errors.New("the outcome of the write is unknown")
	// ErrTooMany is matched by the error of an operation without any effect, because too
	// many commands are pending.
	ErrTooMany = errors.New("too many commands are pending")
	// ErrNoSpace is matched by the error of a write under the alarm NOSPACE.
	ErrNoSpace = errNoSpace
	// ErrCorrupt is matched by the error of an operation under the alarm CORRUPT.
	ErrCorrupt = errCorrupt
	// ErrNoUser is matched by the error of an operation while access control is enabled.
	// Sessions have no users.
	ErrNoUser = auth.ErrUserEmpty
)

// Write is a write of one key in a client's session. However often a member proposes
// the write, the write takes effect once. Client 0 has no session.
//
// A session has the number and the result of the client's last write, and is a part of
// the replicated state and of snapshots (see [rsm.Sessions]).
type Write struct {
	Client, Seq uint64
	Op          kv.Op
	// Limits bound the key and the new value. The log entry carries the limits, so all
	// members apply the same.
	Limits kv.Limits
}

// append encodes the write.
func (w *Write) append(to []byte) []byte {
	conditional := flag(w.Op.Conditional)
	for _, n := range []uint64{w.Client, w.Seq, uint64(w.Limits.Key), uint64(w.Limits.Value), uint64(w.Op.Kind), uint64(conditional), w.Op.Version, w.Op.Tag, uint64(len(w.Op.Key))} {
		to = binary.AppendUvarint(to, n)
	}
	return append(append(to, w.Op.Key...), w.Op.Value...)
}

// write decodes a write, which takes the rest of the fields.
func (p *fields) write() *Write {
	w := &Write{Client: p.uvarint(), Seq: p.uvarint()}
	w.Limits.Key, w.Limits.Value = int(p.uvarint()), int(p.uvarint())
	kind := p.uvarint()
	w.Op.Conditional = p.uvarint() == 1
	w.Op.Version, w.Op.Tag = p.uvarint(), p.uvarint()
	w.Op.Key = p.string()
	w.Op.Value = string(p.bytes(uint64(len(p.data))))
	w.Op.Kind = kv.Kind(min(kind, 255))
	return w
}

// versionOf returns the version of a key for package kv, which counts writes from 1.
// The revision of an empty store is 1. So the version is the revision of the key's last
// write less one. 0 stands for a missing key in both counts.
func versionOf(pair *mvcc.KeyValue) uint64 {
	if pair == nil {
		return 0
	}
	return uint64(pair.ModRevision - 1)
}

// sessionResult is the result of a session's last write.
type sessionResult struct {
	code         kv.Code
	version, tag uint64
}

// execute executes a write of a session. A repeated write from before an alarm keeps the
// result.
func (m *Machine) execute(w *Write) (kv.Result, error) {
	old, done := sessionResult{}, false
	if w.Client != 0 {
		var err error
		if old, done, err = m.sessions.Lookup(w.Client, w.Seq); err != nil {
			return kv.Result{}, err
		}
	}
	if err := m.auth.Known(auth.Identity{}); err != nil {
		return kv.Result{}, err
	}
	if !done {
		if err := m.refusal(w.Op.Kind != kv.KindDelete); err != nil {
			return kv.Result{}, err
		}
		old = m.write(w)
		if w.Client != 0 {
			m.sessions.Record(w.Client, w.Seq, old)
		}
	}
	return kv.Result{Code: old.code, Version: old.version, Tag: old.tag}, nil
}

// write executes a write, with the results of [kv.Store.Apply].
func (m *Machine) write(w *Write) sessionResult {
	op := &w.Op
	result := sessionResult{tag: op.Tag}
	old := m.store.Get(op.Key)
	switch {
	case op.Conditional && op.Version != versionOf(old):
		result.code, result.version = kv.VersionMismatch, versionOf(old)
		return result
	case op.Kind == kv.KindDelete && old == nil:
		result.code = kv.NotFound
		return result
	case op.Kind == kv.KindDelete:
		if _, err := m.store.Delete(mvcc.DeleteRequest{Key: op.Key}); err != nil {
			result.code = kv.Invalid
		}
		return result
	}
	put := mvcc.PutRequest{Key: op.Key, Value: op.Value}
	switch op.Kind {
	case kv.KindPut:
	case kv.KindAppend:
		if old != nil {
			put.Value, put.IgnoreLease = old.Value+op.Value, true
		}
	default:
		result.code = kv.Invalid
		return result
	}
	if w.Limits.Key > 0 && len(op.Key) > w.Limits.Key || w.Limits.Value > 0 && len(put.Value) > w.Limits.Value {
		result.code = kv.TooLarge
		return result
	}
	done, err := m.store.Put(put)
	if err != nil {
		result.code = kv.Invalid
		return result
	}
	result.version = uint64(done.Revision - 1)
	return result
}

// Execute executes an operation of package kv: a read on the current state, or a write
// in its session. Execute makes one attempt. After ErrNotAccepted and ErrOutcome a caller
// may execute the same write again, on any member. An error of package rsm means an
// ended session.
func (s *Server) Execute(ctx context.Context, w Write) (kv.Result, error) {
	if w.Op.ReadOnly() {
		return s.read(ctx, &w.Op)
	}
	if w.Op.Kind != kv.KindDelete {
		// The machine refuses the write, unless it has taken effect before the alarm.
		if err := s.checkQuota(ctx); err != nil && !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
			return kv.Result{}, fmt.Errorf("%w: %w", ErrNotAccepted, err)
		}
	}
	serial, done := s.machine.await()
	defer s.machine.forget(serial)
	data, err := (&entry{origin: s.node.ID(), serial: serial, write: &w}).encode()
	if err != nil {
		return kv.Result{}, err
	}
	if err := s.sendOnce(ctx, data); err != nil {
		return kv.Result{}, attempted(err)
	}
	select {
	case o := <-done:
		if errors.Is(o.err, errMissed) {
			return kv.Result{}, fmt.Errorf("%w: %w", ErrOutcome, o.err)
		}
		return o.written, o.err
	case <-ctx.Done():
		return kv.Result{}, fmt.Errorf("%w: %w", ErrOutcome, ctx.Err())
	case <-s.node.Done():
		return kv.Result{}, fmt.Errorf("%w: %w", ErrOutcome, node.ErrStopped)
	}
}

// sendOnce has the leader append an entry, as send does, in one attempt.
func (s *Server) sendOnce(ctx context.Context, data []byte) error {
	switch leader := s.leader(); leader {
	case core.None:
		return errNoLeader
	case s.node.ID():
		_, err := s.node.Propose(ctx, data)
		return err
	default:
		return s.forward(ctx, leader, data)
	}
}

// attempted returns the error of a write after its way to the leader.
func attempted(err error) error {
	switch {
	case errors.Is(err, node.ErrQueueFull), errors.Is(err, core.ErrTooMuchUncommitted), errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests):
		return fmt.Errorf("%w: %w", ErrTooMany, err)
	case errors.Is(err, node.ErrTooLarge), errors.Is(err, rpctypes.ErrGRPCRequestTooLarge):
		return err
	case errors.Is(err, node.ErrRefused), retryable(err):
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	return fmt.Errorf("%w: %w", ErrOutcome, err)
}

// read answers a read from the current state.
func (s *Server) read(ctx context.Context, op *kv.Op) (kv.Result, error) {
	if _, err := s.node.ReadIndex(ctx); err != nil {
		return kv.Result{}, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	p := s.picture()
	if raised(p.alarms, pb.AlarmType_CORRUPT) {
		return kv.Result{}, ErrCorrupt
	}
	if p.auth.Enabled() {
		return kv.Result{}, ErrNoUser
	}
	if op.Kind == kv.KindScan {
		return scan(p.view, op), nil
	}
	pair := p.view.Get(op.Key)
	if pair == nil {
		return kv.Result{Code: kv.NotFound}, nil
	}
	return kv.Result{Value: pair.Value, Version: versionOf(pair)}, nil
}

// scan executes a scan, with the limits of [kv.Scan].
func scan(view *mvcc.View, op *kv.Op) (result kv.Result) {
	limit := op.Limit
	if limit <= 0 || limit > kv.MaxScan {
		limit = kv.MaxScan
	}
	size := 0
	view.Ascend(op.Key, op.End, func(pair *mvcc.KeyValue) bool {
		size += len(pair.Key) + len(pair.Value)
		if len(result.Pairs) == limit || size > kv.MaxScanBytes && len(result.Pairs) > 0 {
			result.More = true
			return false
		}
		result.Pairs = append(result.Pairs, kv.Pair{Key: pair.Key, Value: pair.Value, Version: versionOf(pair)})
		return true
	})
	return result
}

// appendSessions encodes sessions in the order of their last use.
func appendSessions(to []byte, s *rsm.Sessions[sessionResult]) []byte {
	for _, one := range s.Records() {
		for _, n := range []uint64{one.Client, one.Seq, uint64(one.Result.code), one.Result.version, one.Result.tag} {
			to = binary.AppendUvarint(to, n)
		}
	}
	return to
}

// sessions decodes sessions, which take the rest of the fields.
func (p *fields) sessions() *rsm.Sessions[sessionResult] {
	s := rsm.NewSessions[sessionResult](MaxSessions)
	for len(p.data) > 0 && !p.failed {
		client, seq := p.uvarint(), p.uvarint()
		s.Record(client, seq, sessionResult{kv.Code(min(p.uvarint(), 255)), p.uvarint(), p.uvarint()})
	}
	return s
}
