package etcd

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/namespace"

	"raftlab/raft/core"
)

func TestKV(t *testing.T) {
	c := newCluster(t)
	cli, ctx := c.client(), c.ctx()
	for i := range 20 {
		_, err := cli.Put(ctx, fmt.Sprintf("k%02d", i), fmt.Sprint(20-i))
		require.NoError(t, err)
	}
	got, err := cli.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(3))
	require.NoError(t, err)
	require.EqualValues(t, 20, got.Count)
	require.True(t, got.More)
	require.Equal(t, []string{"k19", "k18", "k17"}, []string{string(got.Kvs[0].Key), string(got.Kvs[1].Key), string(got.Kvs[2].Key)})
	old, err := cli.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(6), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 5, old.Count)
	from, err := cli.Get(ctx, "k15", clientv3.WithFromKey(), clientv3.WithKeysOnly(), clientv3.WithSerializable())
	require.NoError(t, err)
	require.LessOrEqual(t, from.Count, int64(5))
	txn, err := cli.Txn(ctx).If(clientv3.Compare(clientv3.Value("k00"), "=", "20"), clientv3.Compare(clientv3.Version("new"), "=", 0)).
		Then(clientv3.OpPut("new", "1"), clientv3.OpGet("new"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("k19", clientv3.WithPrevKV())}, nil)).
		Else(clientv3.OpGet("k00")).Commit()
	require.NoError(t, err)
	require.True(t, txn.Succeeded)
	require.Equal(t, "1", string(txn.Responses[2].GetResponseTxn().Responses[0].GetResponseDeleteRange().PrevKvs[0].Value))
	_, err = cli.Compact(ctx, txn.Header.Revision)
	require.NoError(t, err)
	_, err = cli.Get(ctx, "k00", clientv3.WithRev(5))
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
	_, err = cli.Get(ctx, "k00", clientv3.WithRev(5000))
	require.ErrorIs(t, err, rpctypes.ErrFutureRev)
	_, err = cli.Put(ctx, "", "x")
	require.ErrorIs(t, err, rpctypes.ErrEmptyKey)
	ns := namespace.NewKV(cli, "ns/")
	_, err = ns.Put(ctx, "a", "1")
	require.NoError(t, err)
	deleted, err := cli.Delete(ctx, "ns/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.EqualValues(t, 1, deleted.Deleted)
}

// A watch sees every revision once and in order, over the loss of the member that serves
// the watch and of the leader.
func TestWatchOverRestarts(t *testing.T) {
	c := newCluster(t)
	cli := c.client()
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	const puts = 60
	watch := cli.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV())
	stopped := 0
	for i := range puts {
		for {
			_, err := cli.Put(ctx, fmt.Sprintf("k%d", i%5), strconv.Itoa(i))
			if err == nil {
				break
			}
			require.NoError(t, ctx.Err())
			time.Sleep(20 * time.Millisecond)
		}
		if i%20 == 10 {
			m := c.leader()
			c.stop(m)
			c.start(m.id, m.url[len("http://"):])
			stopped++
		}
	}
	end, err := cli.Get(ctx, "k0")
	require.NoError(t, err)
	seen := map[int64]*mvccpb.Event{}
	last := int64(0)
	for int64(len(seen)) < end.Header.Revision-1 {
		r, ok := <-watch
		require.True(t, ok, "the watch ended after revision %d: %v", last, r.Err())
		if r.Err() == rpctypes.ErrNoLeader || r.Canceled { // a new watch goes on from there
			watch = cli.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithPrefix(), clientv3.WithRev(last+1), clientv3.WithPrevKV())
			continue
		}
		for _, e := range r.Events {
			require.Greater(t, e.Kv.ModRevision, last, "events are in order and come once")
			last = e.Kv.ModRevision
			seen[last] = (*mvccpb.Event)(e)
		}
	}
	require.Equal(t, 3, stopped)
}

func TestLeases(t *testing.T) {
	c := newCluster(t)
	cli, ctx := c.client(), c.ctx()
	lease, err := cli.Grant(ctx, 1)
	require.NoError(t, err)
	kept, err := cli.Grant(ctx, 20) // a new leader on a busy machine lets the other lease last longer
	require.NoError(t, err)
	_, err = cli.Put(ctx, "gone", "1", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	_, err = cli.Put(ctx, "kept", "1", clientv3.WithLease(kept.ID))
	require.NoError(t, err)
	alive, err := cli.KeepAlive(ctx, kept.ID)
	require.NoError(t, err)
	watch := cli.Watch(ctx, "gone")
	select {
	case r := <-watch:
		require.Equal(t, mvccpb.Event_DELETE, r.Events[0].Type)
	case <-ctx.Done():
		require.Fail(t, "the lease of 1 s did not expire")
	}
	require.NotNil(t, <-alive)
	got, err := cli.Get(ctx, "kept")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	ttl, err := cli.TimeToLive(ctx, kept.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("kept")}, ttl.Keys)
	_, err = cli.Revoke(ctx, kept.ID)
	require.NoError(t, err)
	list, err := cli.Leases(ctx)
	require.NoError(t, err)
	require.Empty(t, list.Leases)
	_, err = cli.KeepAliveOnce(ctx, kept.ID)
	require.ErrorIs(t, err, rpctypes.ErrLeaseNotFound)
}

// The client's locks exclude each other, and its elections have one leader.
func TestConcurrency(t *testing.T) {
	c := newCluster(t)
	ctx := c.ctx()
	var workers sync.WaitGroup
	inside, counted := 0, 0
	errs := make(chan error, 4)
	for range 4 {
		cli := c.client()
		workers.Go(func() {
			errs <- func() error {
				s, err := concurrency.NewSession(cli, concurrency.WithTTL(5))
				if err != nil {
					return err
				}
				defer s.Close()
				lock := concurrency.NewMutex(s, "/lock")
				for range 5 {
					if err := lock.Lock(ctx); err != nil {
						return err
					}
					inside++ // the race detector and the sum watch
					if inside != 1 {
						return fmt.Errorf("%d owners of the lock", inside)
					}
					counted++
					inside--
					if err := lock.Unlock(ctx); err != nil {
						return err
					}
				}
				e := concurrency.NewElection(s, "/election")
				if err := e.Campaign(ctx, "x"); err != nil {
					return err
				}
				return e.Resign(ctx)
			}()
		})
	}
	workers.Wait()
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, 20, counted)
}

// Transfers between accounts, with the client's transactional memory, keep the sum.
func TestSTM(t *testing.T) {
	c := newCluster(t)
	cli, ctx := c.client(), c.ctx()
	for i := range 5 {
		_, err := cli.Put(ctx, fmt.Sprint("acct/", i), "100")
		require.NoError(t, err)
	}
	var workers sync.WaitGroup
	errs := make(chan error, 4)
	for w := range 4 {
		workers.Go(func() {
			errs <- func() error {
				for i := range 10 {
					from, to := fmt.Sprint("acct/", (w+i)%5), fmt.Sprint("acct/", (w+2*i+1)%5)
					if from == to {
						continue
					}
					_, err := concurrency.NewSTM(cli, func(s concurrency.STM) error {
						a, _ := strconv.Atoi(s.Get(from))
						b, _ := strconv.Atoi(s.Get(to))
						s.Put(from, strconv.Itoa(a-7))
						s.Put(to, strconv.Itoa(b+7))
						return nil
					})
					if err != nil {
						return err
					}
				}
				return nil
			}()
		})
	}
	workers.Wait()
	for range 4 {
		require.NoError(t, <-errs)
	}
	sum := 0
	got, err := cli.Get(ctx, "acct/", clientv3.WithPrefix())
	require.NoError(t, err)
	for _, kv := range got.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		require.NoError(t, err)
		sum += n
	}
	require.Equal(t, 500, sum)
}

func TestClusterAndMaintenance(t *testing.T) {
	c := newCluster(t)
	cli, ctx := c.client(), c.ctx()
	_, err := cli.Put(ctx, "a", "1")
	require.NoError(t, err)
	list, err := cli.MemberList(ctx)
	require.NoError(t, err)
	require.Len(t, list.Members, 3)
	require.NoError(t, cli.Sync(ctx), "the client takes the published addresses")
	require.Len(t, cli.Endpoints(), 3)
	var hashes []uint32
	for _, endpoint := range cli.Endpoints() {
		st, err := cli.Status(ctx, endpoint)
		require.NoError(t, err)
		require.EqualValues(t, c.leader().id, st.Leader)
		// The member may be behind.
		for {
			h, err := cli.HashKV(ctx, endpoint, 2)
			if err == nil {
				hashes = append(hashes, h.Hash)
				break
			}
			require.ErrorIs(t, err, rpctypes.ErrFutureRev)
		}
	}
	require.Len(t, slices.Compact(hashes), 1)
	r, err := cli.Snapshot(ctx)
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Greater(t, len(data), sha256.Size)
	added, err := cli.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:9"})
	require.NoError(t, err)
	require.True(t, added.Member.IsLearner)
	_, err = cli.MemberRemove(ctx, added.Member.ID)
	require.NoError(t, err)
	alarms, err := cli.AlarmList(ctx)
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	_, err = cli.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	require.NoError(t, err)
}

// BenchmarkPut measures puts of one client and of many, on three members in memory.
func BenchmarkPut(b *testing.B) {
	c := newCluster(b)
	cli := c.client(c.leader())
	for _, clients := range []int{1, 100} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			b.SetParallelism(clients)
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					if _, err := cli.Put(context.Background(), fmt.Sprint(i), "value"); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkKeepAlive measures renewals through a member that does not lead: of 1,000 leases
// on one stream, as one client has them, and of one lease on each of 100 streams.
func BenchmarkKeepAlive(b *testing.B) {
	c := newCluster(b)
	leader := c.leader()
	cli := c.client(c.members[leader.id%3+1])
	leases := make([]int64, 1000)
	for i := range leases {
		r, err := cli.Grant(context.Background(), 600)
		require.NoError(b, err)
		leases[i] = int64(r.ID)
	}
	lease := pb.NewLeaseClient(cli.ActiveConnection())
	renew := func(n int, leases []int64) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		stream, err := lease.LeaseKeepAlive(ctx)
		if err != nil {
			return err
		}
		go func() {
			for i := range n {
				if stream.Send(&pb.LeaseKeepAliveRequest{ID: leases[i%len(leases)]}) != nil {
					return // Recv has the error
				}
			}
		}()
		for range n {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
		return nil
	}
	b.Run("one stream", func(b *testing.B) {
		require.NoError(b, renew(b.N, leases))
	})
	b.Run("100 streams", func(b *testing.B) {
		ended := make(chan error)
		for i := range 100 {
			go func() { ended <- renew(b.N/100+1, leases[i:i+1]) }()
		}
		for range 100 {
			require.NoError(b, <-ended)
		}
	})
}

// BenchmarkWatch measures events that reach 1,000 watches of one key, of 32 clients of
// three members.
func BenchmarkWatch(b *testing.B) {
	c := newCluster(b)
	cli := c.client(c.leader())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	const watches, clients = 1000, 32
	var created, arrived sync.WaitGroup
	created.Add(watches)
	for s := range clients {
		stream, err := pb.NewWatchClient(c.client(c.members[core.NodeID(s%3+1)]).ActiveConnection()).Watch(ctx)
		require.NoError(b, err)
		for i := s; i < watches; i += clients {
			create := &pb.WatchCreateRequest{Key: []byte("fan")}
			require.NoError(b, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}))
		}
		wg.Go(func() {
			for {
				r, err := stream.Recv()
				if err != nil {
					return // canceled
				}
				if r.Created {
					created.Done()
				}
				arrived.Add(-len(r.Events))
			}
		})
	}
	created.Wait()
	for b.Loop() {
		arrived.Add(watches)
		_, err := cli.Put(ctx, "fan", "x")
		require.NoError(b, err)
		arrived.Wait()
	}
	b.ReportMetric(float64(watches*b.N)/b.Elapsed().Seconds(), "events/s")
}
