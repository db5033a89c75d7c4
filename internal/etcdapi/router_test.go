package etcdapi_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"raftlab/internal/etcdapi"
)

// routed returns a client's connection to a router, and the router's choice.
func (c *cluster) routed() (*grpc.ClientConn, *atomic.Pointer[member]) {
	picked := new(atomic.Pointer[member])
	r := &etcdapi.Router{Pick: func() *etcdapi.Server {
		if m := picked.Load(); m != nil {
			return m.server
		}
		return nil
	}}
	g := grpc.NewServer(r.Options()...)
	r.Register(g)
	l := bufconn.Listen(1 << 20)
	c.mu.Lock()
	c.listeners["router"] = l
	c.mu.Unlock()
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///router", c.dialOptions()...)
	require.NoError(c, err)
	c.Cleanup(func() {
		conn.Close()
		g.Stop()
		<-served
	})
	return conn, picked
}

// Requests go to the chosen member. A stream ends with its member.
func TestRouter(t *testing.T) {
	run(t, etcdapi.Config{FixedMembers: true}, func(c *cluster) {
		conn, picked := c.routed()
		kv, members := pb.NewKVClient(conn), pb.NewClusterClient(conn)
		_, err := kv.Range(c.Context(), &pb.RangeRequest{Key: []byte("k")})
		require.Equal(t, rpctypes.ErrNoLeader, rpctypes.Error(err))

		picked.Store(c.follower())
		put, err := kv.Put(c.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
		require.Equal(t, uint64(picked.Load().id), put.Header.MemberId)
		_, err = kv.Put(c.Context(), &pb.PutRequest{})
		require.Equal(t, rpctypes.ErrEmptyKey, rpctypes.Error(err))
		_, err = members.MemberAdd(c.Context(), &pb.MemberAddRequest{PeerURLs: []string{"http://a:1"}})
		require.Equal(t, codes.FailedPrecondition, status.Code(err))

		watch, err := pb.NewWatchClient(conn).Watch(c.Context())
		require.NoError(t, err)
		require.NoError(t, watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2}}}))
		for range 2 { // created, and the event
			_, err = watch.Recv()
			require.NoError(t, err)
		}
		alive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(c.Context())
		require.NoError(t, err)
		id := picked.Load().id
		picked.Store(c.leader())
		c.stop(id)
		_, err = watch.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err))
		_, err = alive.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err))
		got, err := kv.Range(c.Context(), &pb.RangeRequest{Key: []byte("k")})
		require.NoError(t, err)
		require.Equal(t, "v", string(got.Kvs[0].Value))
		require.Equal(t, uint64(picked.Load().id), got.Header.MemberId)
	})
}

// The history of a store that is written again and again stays within its bound, and a
// watch of the present misses nothing.
func TestBoundHistory(t *testing.T) {
	run(t, etcdapi.Config{BoundHistory: true}, func(c *cluster) {
		m := c.leader()
		value := string(make([]byte, 1<<20))
		largest := int64(0)
		for range 150 {
			m.put(t, "k", value)
			time.Sleep(500 * time.Millisecond)
			largest = max(largest, m.server.Stats().Bytes)
		}
		stats := m.server.Stats()
		require.Greater(t, stats.Compacted, int64(50))
		require.Less(t, stats.Compacted, stats.Revision-5, "the last 5 s stay")
		require.Less(t, largest, int64(64<<20))
	})
}
