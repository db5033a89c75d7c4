package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/raft/core"
)

// peers are the connections to the other members' client addresses.
type peers struct {
	dial []grpc.DialOption

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn // by target
	closed bool
}

func newPeers(dial []grpc.DialOption) *peers {
	return &peers{dial: dial, conns: make(map[string]*grpc.ClientConn)}
}

// connection returns the connection to a client URL.
func (p *peers) connection(url string) (*grpc.ClientConn, error) {
	target := url
	if _, rest, ok := strings.Cut(url, "://"); ok && !strings.HasPrefix(url, "passthrough:") {
		target = rest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, rpctypes.ErrGRPCStopped
	}
	if c := p.conns[target]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient(target, p.dial...)
	if err != nil {
		return nil, fmt.Errorf("etcdapi: the client URL %q: %w", url, err)
	}
	p.conns[target] = c
	return c, nil
}

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
	urls := s.picture().members[member].clientURLs
	if len(urls) == 0 {
		return errNoLeader // the leader publishes its URLs first of all
	}
	c, err := s.peers.connection(urls[0])
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, request, reply)
}

const methodPropose = "/raftlab.etcdapi.Peer/Propose"

// forward has another member propose an entry.
func (s *Server) forward(ctx context.Context, to core.NodeID, data []byte) error {
	return s.invoke(ctx, to, methodPropose, wrapperspb.Bytes(data), &emptypb.Empty{})
}

// peerService is what members ask each other for.
var peerService = grpc.ServiceDesc{
	ServiceName: "raftlab.etcdapi.Peer",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Propose", Handler: unary((*Server).handlePropose)},
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

// handlePropose proposes an entry of another member.
func (s *Server) handlePropose(ctx context.Context, in *wrapperspb.BytesValue) (*emptypb.Empty, error) {
	if _, err := decodeEntry(in.Value); err != nil {
		return nil, err
	}
	_, err := s.node.Propose(ctx, in.Value)
	return &emptypb.Empty{}, err
}
