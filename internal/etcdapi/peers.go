package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// peers are the connections to the other members.
type peers struct {
	dial func(ctx context.Context, member core.NodeID) (net.Conn, error)

	mu     sync.Mutex
	conns  map[core.NodeID]*peerConn
	closed bool
}

// peerConn is the connection to a member. The mutex of peers guards the calls.
type peerConn struct {
	*grpc.ClientConn
	calls int // under way
}

func newPeers(dial func(context.Context, core.NodeID) (net.Conn, error)) *peers {
	return &peers{dial: dial, conns: make(map[core.NodeID]*peerConn)}
}

// acquire returns the connection to a member for a call. The call ends with release. gRPC
// dials at the first call, and again after a failure.
func (p *peers) acquire(member core.NodeID) (*peerConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, rpctypes.ErrGRPCStopped
	}
	if c := p.conns[member]; c != nil {
		c.calls++
		return c, nil
	}
	c, err := grpc.NewClient(fmt.Sprintf("passthrough:///%x", uint64(member)),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.dial(ctx, member) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: peerBackoff, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("etcdapi: the connection to member %x: %w", uint64(member), err)
	}
	one := &peerConn{c, 1}
	p.conns[member] = one
	return one, nil
}

func (p *peers) release(c *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.calls--
}

// retain closes the connections to all but the given members. A connection with a call
// under way stays, because a new leader may be unknown here.
func (p *peers) retain(members []node.MemberStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.conns {
		if c.calls > 0 || slices.ContainsFunc(members, func(m node.MemberStatus) bool { return m.ID == id }) {
			continue
		}
		c.Close()
		delete(p.conns, id)
	}
}

// peerBackoff bounds the pauses between attempts to reach a member.
var peerBackoff = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}

func (p *peers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var all []error
	for _, c := range p.conns {
		all = append(all, c.Close())
	}
	return errors.Join(all...)
}

// invoke calls a method of another member.
func (s *Server) invoke(ctx context.Context, member core.NodeID, method string, request, reply any) error {
	c, err := s.peers.acquire(member)
	if err != nil {
		return err
	}
	defer s.peers.release(c)
	return lost(ctx, c.Invoke(ctx, method, request, reply))
}

// Methods of the service for members.
const (
	methodPropose    = "/raftlab.etcdapi.Peer/Propose"
	methodRenew      = "/raftlab.etcdapi.Peer/Renew"
	methodRenewAll   = "/raftlab.etcdapi.Peer/RenewAll"
	methodTimeToLive = "/raftlab.etcdapi.Peer/TimeToLive"
	methodHash       = "/raftlab.etcdapi.Peer/Hash"

	methodMemberAdd     = "/raftlab.etcdapi.Peer/MemberAdd"
	methodMemberRemove  = "/raftlab.etcdapi.Peer/MemberRemove"
	methodMemberUpdate  = "/raftlab.etcdapi.Peer/MemberUpdate"
	methodMemberPromote = "/raftlab.etcdapi.Peer/MemberPromote"
)

// lost returns the error of a call to another member, for a client of this member. If the
// other member has ended, or the connection, the outcome is unknown.
func lost(ctx context.Context, err error) error {
	known := rpctypes.Error(err)
	_, etcds := known.(rpctypes.EtcdError)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case known == rpctypes.ErrStopped, status.Code(err) == codes.Unavailable && !etcds:
		return rpctypes.ErrGRPCTimeoutDueToConnectionLost
	}
	return err
}

// forward has another member propose an entry.
func (s *Server) forward(ctx context.Context, to core.NodeID, data []byte) error {
	return s.invoke(ctx, to, methodPropose, wrapperspb.Bytes(data), &emptypb.Empty{})
}

// peerService is what members ask each other for.
var peerService = grpc.ServiceDesc{
	ServiceName: "raftlab.etcdapi.Peer",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Level", Handler: unary((*Server).handleLevel)},
		{MethodName: "Propose", Handler: unary((*Server).handlePropose)},
		{MethodName: "Renew", Handler: unary((*Server).handleRenew)},
		{MethodName: "RenewAll", Handler: unary((*Server).handleRenewAll)},
		{MethodName: "TimeToLive", Handler: unary((*Server).handleTimeToLive)},
		{MethodName: "Hash", Handler: unary((*Server).handleHash)},
		{MethodName: "MemberAdd", Handler: change((*Server).addMember)},
		{MethodName: "MemberRemove", Handler: change((*Server).removeMember)},
		{MethodName: "MemberUpdate", Handler: change((*Server).updateMember)},
		{MethodName: "MemberPromote", Handler: change((*Server).promoteMember)},
	},
}

// unary returns the handler of a method.
func unary[In any, Out any](do func(*Server, context.Context, *In) (*Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		out, err := do(srv.(*Server), ctx, in)
		return out, answer(err)
	}
}

// change returns the handler of a change of members.
func change[In any, Out any](do func(*Server, context.Context, *In, *Out) error) grpc.MethodHandler {
	return unary(func(s *Server, ctx context.Context, in *In) (*Out, error) {
		out := new(Out)
		return out, do(s, ctx, in, out)
	})
}

// handlePropose proposes an entry of another member.
func (s *Server) handlePropose(ctx context.Context, in *wrapperspb.BytesValue) (*emptypb.Empty, error) {
	if _, err := decodeEntry(in.Value); err != nil {
		return nil, err
	}
	_, err := s.node.Propose(ctx, in.Value)
	return &emptypb.Empty{}, err
}
