package clientport

import (
	"context"
	"errors"
	"io"
	"net/http"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
)

// newGateway returns the JSON gateway. JSON has the field names of the API's protocol
// buffers, as etcd's gateway has.
func newGateway(conn *grpc.ClientConn) (http.Handler, error) {
	mux := gateway.NewServeMux(gateway.WithMarshalerOption(gateway.MIMEWildcard, &gateway.HTTPBodyMarshaler{
		Marshaler: &gateway.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		},
	}))
	for _, register := range []func(context.Context, *gateway.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
		gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
	} {
		if err := register(context.Background(), mux, conn); err != nil {
			return nil, err
		}
	}
	lock, election := v3lockpb.NewLockClient(conn), v3electionpb.NewElectionClient(conn)
	return mux, errors.Join(
		handle(mux, "/v3/lock/lock", lock.Lock),
		handle(mux, "/v3/lock/unlock", lock.Unlock),
		handle(mux, "/v3/election/campaign", election.Campaign),
		handle(mux, "/v3/election/proclaim", election.Proclaim),
		handle(mux, "/v3/election/leader", election.Leader),
		handle(mux, "/v3/election/resign", election.Resign),
		handleStream(mux, "/v3/election/observe", election.Observe),
	)
}

// message is a request: a pointer to a type of messages.
type message[In any] interface {
	*In
	proto.Message
}

// handle hands requests for a path to a method of gRPC.
func handle[In any, P message[In], Out proto.Message](mux *gateway.ServeMux, path string, call func(context.Context, P, ...grpc.CallOption) (Out, error)) error {
	return mux.HandlePath(http.MethodPost, path, func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		in, out := gateway.MarshalerForRequest(mux, r)
		ctx, request, err := begin[In, P](mux, in, r, path)
		if err == nil {
			var response Out
			if response, err = call(ctx, request); err == nil {
				gateway.ForwardResponseMessage(ctx, mux, out, w, r, response)
				return
			}
		}
		gateway.HTTPError(ctx, mux, out, w, r, err)
	})
}

// handleStream hands requests for a path to a method of gRPC with a stream of responses.
func handleStream[In any, P message[In], Out any](mux *gateway.ServeMux, path string, call func(context.Context, P, ...grpc.CallOption) (grpc.ServerStreamingClient[Out], error)) error {
	return mux.HandlePath(http.MethodPost, path, func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		in, out := gateway.MarshalerForRequest(mux, r)
		ctx, request, err := begin[In, P](mux, in, r, path)
		if err == nil {
			var stream grpc.ServerStreamingClient[Out]
			if stream, err = call(ctx, request); err == nil {
				// The gateway requires metadata of a stream. The headers of gRPC come with the
				// first response only, so nothing waits for them.
				ctx = gateway.NewServerMetadataContext(ctx, gateway.ServerMetadata{})
				gateway.ForwardResponseStream(ctx, mux, out, w, r, func() (proto.Message, error) {
					response, err := stream.Recv()
					if err != nil {
						return nil, err
					}
					return any(response).(proto.Message), nil
				})
				return
			}
		}
		gateway.HTTPError(ctx, mux, out, w, r, err)
	})
}

// begin reads a request, and returns a context with the metadata for gRPC.
func begin[In any, P message[In]](mux *gateway.ServeMux, in gateway.Marshaler, r *http.Request, path string) (context.Context, P, error) {
	ctx, err := gateway.AnnotateContext(r.Context(), mux, r, path)
	if err != nil {
		return r.Context(), nil, err
	}
	request := P(new(In))
	if err := in.NewDecoder(r.Body).Decode(request); err != nil && !errors.Is(err, io.EOF) {
		return ctx, nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	return ctx, request, nil
}
