package etcdapi

import (
	"context"
	"math"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// Router serves the clients of several members in one process on one gRPC server. Each
// request and each stream goes to one of the members. When the member of a stream is
// closed, the stream ends with an error, and clients open another stream.
type Router struct {
	// Pick returns a running member, or nil if no member runs. Required.
	Pick func() *Server
}

// Options returns the options for the gRPC server. The limits of messages are those of
// the members.
func (r *Router) Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(math.MaxInt32), pings}
}

// Register registers the services for clients.
func (r *Router) Register(g grpc.ServiceRegistrar) {
	all := make(services)
	new(Server).Register(all)
	for _, one := range all {
		g.RegisterService(r.route(one.desc), nil)
	}
	reflect(g)
}

// service is a service with its implementation.
type service struct {
	desc *grpc.ServiceDesc
	impl any
}

// services are those of a member, by name.
type services map[string]service

// RegisterService implements grpc.ServiceRegistrar.
func (all services) RegisterService(desc *grpc.ServiceDesc, impl any) {
	all[desc.ServiceName] = service{desc, impl}
}

// registered are the services of a member, made when a Router first needs them.
type registered struct {
	once sync.Once
	all  services
}

// service returns the member's implementation of a service.
func (s *Server) service(name string) any {
	s.registered.once.Do(func() {
		s.registered.all = make(services)
		s.Register(s.registered.all)
	})
	return s.registered.all[name].impl
}

// route returns the description of a service that hands requests to members.
func (r *Router) route(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
	routed := &grpc.ServiceDesc{ServiceName: desc.ServiceName, HandlerType: (*any)(nil), Metadata: desc.Metadata}
	for _, m := range desc.Methods {
		routed.Methods = append(routed.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: r.unary(desc.ServiceName, m.Handler)})
	}
	for _, one := range desc.Streams {
		stream := one
		stream.Handler = r.stream(desc.ServiceName, one)
		routed.Streams = append(routed.Streams, stream)
	}
	return routed
}

func (r *Router) unary(service string, handler grpc.MethodHandler) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		s := r.Pick()
		if s == nil {
			return nil, rpctypes.ErrGRPCNoLeader
		}
		return handler(s.service(service), ctx, decode, s.checkUnary)
	}
}

func (r *Router) stream(service string, desc grpc.StreamDesc) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		s := r.Pick()
		if s == nil {
			return rpctypes.ErrGRPCNoLeader
		}
		info := &grpc.StreamServerInfo{FullMethod: "/" + service + "/" + desc.StreamName, IsClientStream: desc.ClientStreams, IsServerStream: desc.ServerStreams}
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		ended := make(chan error, 1)
		// The end of the stream ends the goroutine. A handler that waits for the client
		// does not see the end of the member.
		go func() { ended <- s.checkStream(s.service(service), ledStream{stream, ctx}, info, desc.Handler) }()
		select {
		case err := <-ended:
			return err
		case <-s.done.Done():
			return rpctypes.ErrGRPCStopped
		}
	}
}
