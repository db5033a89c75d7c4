package etcdapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
)

// A member that stops answers a forwarded write with a code that clientv3 does not send
// again. The write may have taken effect.
func TestStopAnswersForwardedWrites(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		leader, f := c.leader(), c.follower()
		f.put(t, "a", "1")
		c.network.Partition([]core.NodeID{leader.id}) // the write reaches the leader and stays there
		done := make(chan error, 1)
		go func() {
			_, err := f.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("a"), Value: []byte("2")})
			done <- err
		}()
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, f.server.Close())
		require.Equal(t, codes.Unavailable, status.Code(<-done))
		delete(c.members, f.id)
		require.NoError(t, f.conn.Close())
		f.grpc.Stop()
		f.served.Wait()
		require.NoError(t, f.host.Close())
		c.stores[f.id] = c.stores[f.id].Reopen()
		c.network.Heal()
		c.start(f.id)
	})
}

// A member stops at an entry of a newer version. It does not go on with another state.
func TestEntryOfANewerVersion(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		leader := c.leader()
		leader.put(t, "a", "1")
		for _, entry := range [][]byte{{2, 1}, {1, 3, 0, 0, 0, 0, 0, 0, 0, 1, 200}} {
			require.ErrorIs(t, etcdapi.CheckEntry(entry), etcdapi.ErrFormat)
		}
		_, err := leader.node.Propose(context.Background(), []byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 1, 200})
		require.Error(t, err)
		<-leader.node.Done()
		stopped := etcdapi.Stopped(leader.node)
		require.ErrorIs(t, stopped, etcdapi.ErrFormat)
		require.Regexp(t, `^entry \d+ of term \d+: .*an entry of kind 200, which this version of raftlab does not know; it reads levels 1 to 2; start the member with a newer version of raftlab[^\n]*$`, stopped.Error())
	})
}
