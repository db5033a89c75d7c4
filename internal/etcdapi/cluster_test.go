package etcdapi_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"

	"raftlab/internal/etcdapi"
	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// member is a member with its gRPC server, and a client's connection to it.
type member struct {
	id     core.NodeID
	host   *node.Host
	node   *node.Node
	server *etcdapi.Server
	grpc   *grpc.Server
	served sync.WaitGroup
	calls  calls
	conn   *grpc.ClientConn
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  pb.WatchClient
}

// calls counts the calls of a member's gRPC server.
type calls struct {
	counts sync.Map // of *atomic.Int64, by the method's full name
}

func (c *calls) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	n, _ := c.counts.LoadOrStore(info.FullMethodName, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	return ctx
}
func (c *calls) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *calls) HandleConn(context.Context, stats.ConnStats)                       {}

// of returns the number of calls of a method.
func (c *calls) of(method string) int {
	n, ok := c.counts.Load(method)
	if !ok {
		return 0
	}
	return int(n.(*atomic.Int64).Load())
}

// cluster is a group on networks in memory.
type cluster struct {
	*testing.T
	network *memnet.Network
	config  etcdapi.Config
	stores  map[core.NodeID]*memstore.Store
	members map[core.NodeID]*member

	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
}

func url(id core.NodeID) string { return fmt.Sprintf("passthrough:///n%d", id) }

// run runs a test of a cluster of three in virtual time.
func run(t *testing.T, config etcdapi.Config, body func(c *cluster)) {
	testkit.Run(t, func(t *testing.T) {
		c := &cluster{
			T: t, config: config,
			network:   memnet.New(memnet.Options{Seed: uint64(testkit.Seed(t)), Faults: memnet.Faults{Latency: 200 * time.Microsecond}}),
			stores:    make(map[core.NodeID]*memstore.Store),
			members:   make(map[core.NodeID]*member),
			listeners: make(map[string]*bufconn.Listener),
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.config.Node.Members = append(c.config.Node.Members, node.Member{ID: id, Address: fmt.Sprintf("peer%d", id)})
			c.stores[id] = memstore.New(node.Identity{Cluster: "test", Host: id})
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.start(id)
		}
		defer func() {
			for id := range c.members {
				c.stop(id)
			}
		}()
		c.leader()
		body(c)
	})
}

// dial connects to a member's client URL.
func (c *cluster) dial(ctx context.Context, target string) (net.Conn, error) {
	c.mu.Lock()
	l := c.listeners[target]
	c.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nothing listens on %s", target)
	}
	return l.DialContext(ctx)
}

func (c *cluster) dialMember(ctx context.Context, id core.NodeID) (net.Conn, error) {
	return c.dial(ctx, fmt.Sprintf("n%d", id))
}

func (c *cluster) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.dial)}
}

func (c *cluster) start(id core.NodeID) *member {
	c.Helper()
	m, err := c.tryStart(id)
	require.NoError(c, err)
	return m
}

func (c *cluster) tryStart(id core.NodeID) (*member, error) {
	m := &member{id: id}
	var err error
	config := c.config
	host := node.HostConfig{Storage: c.stores[id], Transport: c.network.Join(id)}
	if config.Connections != nil { // each host has its own
		config.Connections = new(etcdapi.Connections)
		host.Observe = config.Connections.Observe
	}
	m.host, err = node.NewHost(host)
	require.NoError(c, err)
	config.Host, config.Name, config.ClientURLs, config.DialMember = m.host, fmt.Sprintf("n%d", id), []string{url(id)}, c.dialMember
	if m.server, err = etcdapi.Start(config); err != nil {
		require.NoError(c, m.host.Close())
		c.stores[id] = c.stores[id].Reopen()
		return nil, err
	}
	m.node = m.server.Node()
	m.grpc = grpc.NewServer(append(m.server.Options(), grpc.StatsHandler(&m.calls))...)
	m.server.RegisterPeers(m.grpc)
	l := bufconn.Listen(1 << 20)
	c.mu.Lock()
	c.listeners[fmt.Sprintf("n%d", id)] = l
	c.mu.Unlock()
	m.served.Go(func() { _ = m.grpc.Serve(l) })
	m.conn, err = grpc.NewClient(url(id), c.dialOptions()...)
	require.NoError(c, err)
	m.kv, m.lease, m.watch = pb.NewKVClient(m.conn), pb.NewLeaseClient(m.conn), pb.NewWatchClient(m.conn)
	c.members[id] = m
	return m, nil
}

func (c *cluster) stop(id core.NodeID) {
	c.Helper()
	m := c.members[id]
	delete(c.members, id)
	require.NoError(c, m.conn.Close())
	require.NoError(c, m.server.Close())
	m.grpc.Stop()
	m.served.Wait()
	require.NoError(c, m.host.Close())
	c.stores[id] = c.stores[id].Reopen()
}

// leader waits for a leader that serves reads, and returns the member.
func (c *cluster) leader() *member {
	c.Helper()
	for range 100 {
		for _, m := range c.members {
			if m.node.IsLeader() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, err := m.node.ReadIndex(ctx)
				cancel()
				if err == nil {
					return m
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Fail(c, "no leader after 10 s")
	return nil
}

// follower returns a member that does not lead.
func (c *cluster) follower() *member {
	leader := c.leader()
	for id := core.NodeID(1); id <= 3; id++ {
		if m := c.members[id]; m != nil && m != leader {
			return m
		}
	}
	return nil
}

// settle lets a second pass, and all goroutines come to rest.
func settle() {
	time.Sleep(time.Second)
	testkit.Settle()
}

func (m *member) put(t *testing.T, key, value string) *pb.PutResponse {
	t.Helper()
	r, err := m.kv.Put(context.Background(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(t, err)
	return r
}

func (m *member) get(t *testing.T, key string) *pb.RangeResponse {
	t.Helper()
	r, err := m.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte(key)})
	require.NoError(t, err)
	return r
}
