package etcdapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"raftlab/internal/etcdapi"
)

// A watch of an idle client that pings every ten seconds stays open.
func TestPingingClientKeepsItsConnection(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		conn, err := grpc.NewClient(url(m.id), append(c.dialOptions(),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second}))...)
		require.NoError(t, err)
		defer conn.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		stream, err := pb.NewWatchClient(conn).Watch(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}))
		_, err = stream.Recv()
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		m.put(t, "k", "v")
		r, err := stream.Recv()
		require.NoError(t, err)
		require.Len(t, r.Events, 1)
	})
}
