package etcd

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"raftlab/internal/auth"
	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

// member is one member, with servers on loopback addresses.
type member struct {
	id     core.NodeID
	host   *node.Host
	server *etcdapi.Server
	grpc   *grpc.Server
	url    string
}

// cluster is a group of three in this process.
type cluster struct {
	testing.TB
	network *memnet.Network
	members map[core.NodeID]*member
	stores  map[core.NodeID]*memstore.Store
	served  sync.WaitGroup

	mu        sync.Mutex
	addresses map[core.NodeID]string
}

// dial connects to a member.
func (c *cluster) dial(ctx context.Context, id core.NodeID) (net.Conn, error) {
	c.mu.Lock()
	address := c.addresses[id]
	c.mu.Unlock()
	if address == "" {
		return nil, fmt.Errorf("member %d has no address", id)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{
		TB: t, network: memnet.New(memnet.Options{Faults: memnet.Faults{Latency: 100 * time.Microsecond}}),
		members: make(map[core.NodeID]*member), stores: make(map[core.NodeID]*memstore.Store),
		addresses: make(map[core.NodeID]string),
	}
	for id := core.NodeID(1); id <= 3; id++ {
		c.stores[id] = memstore.New(node.Identity{Cluster: "test", Host: id})
		c.start(id, "127.0.0.1:0")
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			c.stop(m)
		}
		c.served.Wait()
	})
	return c
}

func (c *cluster) start(id core.NodeID, listen string) {
	l, err := net.Listen("tcp", listen)
	require.NoError(c, err)
	m := &member{id: id, url: "http://" + l.Addr().String()}
	m.host, err = node.NewHost(node.HostConfig{Storage: c.stores[id], Transport: c.network.Join(id)})
	require.NoError(c, err)
	config := node.Config{ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 30 * time.Millisecond}
	for other := core.NodeID(1); other <= 3; other++ {
		config.Members = append(config.Members, node.Member{ID: other, Address: fmt.Sprintf("peer%d:1", other)})
	}
	tokens, err := auth.NewTokens("", 0, 4) // passwords cost no time
	require.NoError(c, err)
	m.server, err = etcdapi.Start(etcdapi.Config{
		Tokens: tokens,
		Host:   m.host, Node: config, DialMember: c.dial, Name: fmt.Sprintf("n%d", id), ClientURLs: []string{m.url},
	})
	require.NoError(c, err)
	m.grpc = grpc.NewServer(m.server.Options()...)
	m.server.RegisterPeers(m.grpc)
	c.mu.Lock()
	c.addresses[id] = l.Addr().String()
	c.mu.Unlock()
	c.members[id] = m
	c.served.Go(func() { _ = m.grpc.Serve(l) })
}

func (c *cluster) stop(m *member) {
	delete(c.members, m.id)
	require.NoError(c, m.server.Close())
	m.grpc.Stop()
	require.NoError(c, m.host.Close())
	c.stores[m.id] = c.stores[m.id].Reopen()
}

// client returns a client with the addresses of some members, of all by default.
func (c *cluster) client(members ...*member) *clientv3.Client {
	c.Helper()
	if len(members) == 0 {
		for _, m := range c.members {
			members = append(members, m)
		}
	}
	var urls []string
	for _, m := range members {
		urls = append(urls, m.url)
	}
	cli, err := clientv3.New(clientv3.Config{Endpoints: urls, DialTimeout: 5 * time.Second})
	require.NoError(c, err)
	c.Cleanup(func() { cli.Close() })
	return cli
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.Cleanup(cancel)
	return ctx
}

// leader waits for a leader.
func (c *cluster) leader() *member {
	for range 200 {
		for _, m := range c.members {
			if m.server.Node().IsLeader() {
				return m
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.Fail(c, "no leader after 10 s")
	return nil
}
