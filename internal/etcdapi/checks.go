package etcdapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftlab/raft/core"
)

// needsLeader reports whether the client wants an error rather than a wait while the
// member has no leader.
func needsLeader(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// answerable reports why no service can answer a request now. A member answers for its
// cluster only after the member has joined. Until then, a restarted member has applied an
// unknown part of its log, so its keys are older than what clients have read there, and its
// users may be missing.
func (s *Server) answerable(ctx context.Context, method string) error {
	if needsLeader(ctx) && s.leader() == core.None {
		return rpctypes.ErrGRPCNoLeader
	}
	if method == methodStatus || method == methodMemberList || strings.HasPrefix(method, "/grpc.") { // health and reflection
		return nil
	}
	select {
	case <-s.ready:
		return nil
	default:
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	select {
	case <-s.ready:
		return nil
	case <-limited.Done():
		return s.late(ctx, limited.Err())
	case <-s.done.Done():
		return rpctypes.ErrGRPCStopped
	}
}

// checkUnary refuses what no service can answer now, and logs slow requests.
func (s *Server) checkUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	defer func() { s.logSlow(ctx, info.FullMethod, begin, request) }()
	if err := s.answerable(ctx, info.FullMethod); err != nil {
		return nil, definite(ctx, err)
	}
	response, err := handler(ctx, request)
	return response, definite(ctx, err)
}

// waiting are the methods whose requests may wait for another client.
var waiting = map[string]bool{"/v3lockpb.Lock/Lock": true, "/v3electionpb.Election/Campaign": true}

// logSlow logs a request that took long, in etcd's words. The log has no values, and of
// other requests than those for keys nothing but the method.
func (s *Server) logSlow(ctx context.Context, method string, begin time.Time, request any) {
	spent := time.Since(begin)
	if spent < s.cfg.SlowRequest || waiting[method] {
		return
	}
	attributes := []any{"start time", begin, "time spent", spent, "request type", method}
	if from, ok := peer.FromContext(ctx); ok {
		attributes = append(attributes, "remote", from.Addr.String())
	}
	if m, ok := request.(proto.Message); ok {
		attributes = append(attributes, "request size", proto.Size(m))
	}
	switch r := request.(type) {
	case *pb.RangeRequest, *pb.DeleteRangeRequest:
		attributes = append(attributes, "request content", fmt.Sprint(r))
	case *pb.PutRequest:
		attributes = append(attributes, "request content", fmt.Sprint(pb.NewLoggablePutRequest(r)))
	case *pb.TxnRequest:
		attributes = append(attributes, "request content", pb.NewLoggableTxnRequest(r).String())
	}
	s.log.Warn("request stats", attributes...)
}

// definite replaces the codes of contexts by etcd's timeout, unless the client has
// canceled the request. clientv3 takes these codes for its own and sends the request
// again, also a write that has taken effect.
func definite(ctx context.Context, err error) error {
	switch code := status.Code(err); {
	case err == nil:
		return nil
	case code == codes.DeadlineExceeded, code == codes.Canceled && ctx.Err() == nil:
		return rpctypes.ErrGRPCTimeout
	}
	return err
}

// ledStream is a stream that ends when the member has no leader for an election
// timeout.
type ledStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (l ledStream) Context() context.Context { return l.ctx }

// checkStream ends a stream of a client that needs a leader when the member loses
// contact.
func (s *Server) checkStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.answerable(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	if !needsLeader(stream.Context()) {
		return handler(srv, stream)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	watched := make(chan struct{})
	go func() { // ends with the stream
		defer close(watched)
		if s.awaitLoss(ctx) {
			cancel(rpctypes.ErrGRPCNoLeader)
		}
	}()
	err := handler(srv, ledStream{stream, ctx})
	if context.Cause(ctx) == rpctypes.ErrGRPCNoLeader {
		err = rpctypes.ErrGRPCNoLeader
	}
	cancel(nil)
	<-watched
	return err
}

// awaitLoss waits until the member has had no leader for three election timeouts, and
// reports false if ctx ends first.
func (s *Server) awaitLoss(ctx context.Context) bool {
	for ctx.Err() == nil {
		changed := s.node.Changed()
		if s.leader() != core.None {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return false
			}
		}
		if s.stillLeaderless(ctx) {
			return true
		}
	}
	return false
}

func (s *Server) stillLeaderless(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, 3*s.cfg.Node.ElectionTimeout)
	defer cancel()
	for {
		changed := s.node.Changed()
		if s.leader() != core.None {
			return false
		}
		select {
		case <-changed:
		case <-limited.Done():
			return ctx.Err() == nil
		}
	}
}

// checkQuota refuses a write if the store has outgrown the quota, and raises the alarm
// NOSPACE. Below the quota the machine refuses the write while the alarm is raised.
func (s *Server) checkQuota(ctx context.Context) error {
	if s.picture().view.Size() < s.cfg.Quota {
		return nil
	}
	// Another member may have acknowledged a compaction that this one has yet to apply.
	if err := s.linearize(ctx); err != nil {
		return err
	}
	if err := s.makeRoom(ctx); err != nil {
		return err
	}
	p := s.picture()
	size := p.view.Size()
	if s.cfg.BoundHistory {
		size = p.view.KeysSize() // the next write lets the rest be compacted
	}
	switch {
	case size < s.cfg.Quota:
		return nil
	case raised(p.alarms, pb.AlarmType_NOSPACE):
		return rpctypes.ErrGRPCNoSpace
	}
	own := alarm{s.node.ID(), pb.AlarmType_NOSPACE}
	if _, err := s.propose(ctx, &entry{alarm: &alarmChange{own, true}}); err != nil {
		return err
	}
	s.log.Warn("the alarm NOSPACE is raised", "size", size, "quota", s.cfg.Quota)
	return rpctypes.ErrGRPCNoSpace
}

// makeRoom waits until compacted versions are released, and with Config.BoundHistory
// compacts the whole history if the quota requires it.
func (s *Server) makeRoom(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	select {
	case s.making <- struct{}{}: // one request makes room for all
	case <-limited.Done():
		return s.late(ctx, limited.Err())
	}
	defer func() { <-s.making }()
	if err := s.machine.released(limited); err != nil {
		return s.late(ctx, err)
	}
	view := s.picture().view
	if !s.cfg.BoundHistory || view.Size() < s.cfg.Quota || view.KeysSize() >= s.cfg.Quota {
		return nil
	}
	if err := s.compactHistory(limited, view.Revision()); err != nil {
		return err
	}
	if err := s.machine.released(limited); err != nil {
		return s.late(ctx, err)
	}
	return nil
}
