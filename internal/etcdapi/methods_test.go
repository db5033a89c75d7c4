package etcdapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"raftlab/internal/etcdapi"
)

// Every method of every registered service has an implementation. The generated code
// embeds an answer with the code Unimplemented in each service, so the compiler does not
// notice a missing method.
func TestMethodsAreImplemented(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		asked := make(map[string]int)
		for service, info := range m.grpc.GetServiceInfo() {
			for _, method := range info.Methods {
				name := "/" + service + "/" + method.Name
				err := askEmpty(m.conn, name, &method)
				require.NotEqual(t, codes.Unimplemented, status.Code(err), "%s: %v", name, err)
				asked[service]++
			}
		}
		require.Equal(t, 2, asked["v3lockpb.Lock"])
		require.Equal(t, 5, asked["v3electionpb.Election"])
		require.Len(t, asked, 12, "%v", asked)
	})
}

// askEmpty sends a method an empty request, and returns the error of the first answer. An
// empty message is a message of each type.
func askEmpty(conn *grpc.ClientConn, name string, method *grpc.MethodInfo) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: method.IsClientStream, ServerStreams: method.IsServerStream}
	stream, err := conn.NewStream(ctx, desc, name)
	if err == nil {
		err = stream.SendMsg(&emptypb.Empty{})
	}
	if err == nil && !strings.HasSuffix(name, "/Watch") { // a watch listens on after the last request
		err = stream.CloseSend()
	}
	if err == nil {
		err = stream.RecvMsg(&emptypb.Empty{})
	}
	return err
}
