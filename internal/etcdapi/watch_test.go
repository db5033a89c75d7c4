package etcdapi_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
)

// watcher is a client's stream of watches.
type watcher struct {
	*testing.T
	stream pb.Watch_WatchClient
}

// watches opens a stream. The stream ends with the cluster.
func (c *cluster) watches(m *member) *watcher {
	stream, err := m.watch.Watch(context.Background())
	require.NoError(c, err)
	return &watcher{c.T, stream}
}

func (w *watcher) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.Helper()
	require.NoError(w, w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}))
	got := w.next()
	require.True(w, got.Created, "%v", got)
	return got
}

func (w *watcher) next() *pb.WatchResponse {
	w.Helper()
	r, err := w.stream.Recv()
	require.NoError(w, err)
	return r
}

// events returns the next n events of a watch, as type key=value@revision.
func (w *watcher) events(id int64, n int) (all []string) {
	w.Helper()
	for len(all) < n {
		r := w.next()
		require.Equal(w, id, r.WatchId, "%v", r)
		require.False(w, r.Canceled, "%v", r)
		for _, e := range r.Events {
			all = append(all, describe(e))
		}
	}
	return all
}

func describe(e *mvccpb.Event) string {
	s := fmt.Sprintf("%s %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
	if e.PrevKv != nil {
		s += " was " + string(e.PrevKv.Value)
	}
	return s
}

func (m *member) delete(t *testing.T, key, end string) *pb.DeleteRangeResponse {
	t.Helper()
	r, err := m.kv.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	require.NoError(t, err)
	return r
}

func TestWatch(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		m.put(t, "a", "1") // 2
		m.put(t, "b", "1") // 3
		w := c.watches(m)
		created := w.create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true})
		require.EqualValues(t, 0, created.WatchId)
		require.EqualValues(t, 3, created.Header.Revision)
		c.leader().put(t, "b", "2") // 4
		c.leader().put(t, "a", "2") // 5
		m.delete(t, "a", "")        // 6
		m.put(t, "a", "3")          // 7
		require.Equal(t, []string{"PUT a=2@5 was 1", "DELETE a=@6 was 2", "PUT a=3@7"}, w.events(0, 3))
		// A watch of the past, on a range.
		require.EqualValues(t, 1, w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("c"), StartRevision: 2}).WatchId)
		require.Equal(t, []string{"PUT a=1@2", "PUT b=1@3", "PUT b=2@4", "PUT a=2@5", "DELETE a=@6", "PUT a=3@7"}, w.events(1, 6))
		// Filters, all keys, and an id of the client's.
		require.EqualValues(t, 9, w.create(&pb.WatchCreateRequest{
			RangeEnd: []byte{0}, StartRevision: 2, WatchId: 9, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT},
		}).WatchId)
		require.Equal(t, []string{"DELETE a=@6"}, w.events(9, 1))
	})
}

// All events of a transaction come in one response.
func TestWatchKeepsTransactionsTogether(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		w := c.watches(c.follower())
		w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		for range 3 {
			txn := &pb.TxnRequest{}
			for i := range 40 {
				txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
					Key: []byte(fmt.Sprint(i)), Value: bytes.Repeat([]byte("v"), 30<<10),
				}}})
			}
			_, err := c.leader().kv.Txn(context.Background(), txn)
			require.NoError(t, err)
		}
		seen := map[int64]int{}
		for len(seen) < 3 || seen[4] < 40 {
			r := w.next()
			revisions := map[int64]int{}
			for _, e := range r.Events {
				revisions[e.Kv.ModRevision]++
			}
			for revision, n := range revisions {
				require.Equal(t, 40, n, "of revision %d", revision)
				seen[revision] += n
			}
		}
		require.Equal(t, map[int64]int{2: 40, 3: 40, 4: 40}, seen)
	})
}

func TestWatchFragments(t *testing.T) {
	run(t, etcdapi.Config{MaxRequestBytes: 100 << 10}, func(c *cluster) {
		m := c.leader()
		for i := range 15 {
			m.put(t, fmt.Sprint(i), string(bytes.Repeat([]byte("v"), 90<<10)))
		}
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 2, Fragment: true})
		fragments, events := 0, 0
		for events < 15 {
			r := w.next()
			if r.Fragment {
				fragments++
			}
			events += len(r.Events)
		}
		require.Equal(t, 15, events)
		require.Positive(t, fragments)
	})
}

func TestWatchCancelAndRefusals(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 5})
		for reason, r := range map[string]*pb.WatchCreateRequest{
			"mvcc: watcher duplicate ID provided": {Key: []byte("a"), WatchId: 5},
			"mvcc: watcher range is empty":        {Key: []byte("b"), RangeEnd: []byte("a")},
			rpctypes.ErrCompacted.Error():         {Key: []byte("b"), StartRevision: -1},
		} {
			got := w.create(r)
			require.True(t, got.Canceled)
			require.Equal(t, reason, got.CancelReason)
			require.EqualValues(t, -1, got.WatchId)
		}
		require.NoError(t, w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 5}}}))
		got := w.next()
		require.True(t, got.Canceled)
		require.EqualValues(t, 5, got.WatchId)
		m.put(t, "a", "1")
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 5})
		m.put(t, "a", "2")
		require.Equal(t, []string{"PUT a=2@3"}, w.events(5, 1), "nothing came for the canceled watch")
	})
}

func TestWatchOfACompactedRevision(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		for range 5 {
			m.put(t, "a", "v")
		}
		_, err := m.kv.Compact(context.Background(), &pb.CompactionRequest{Revision: 4})
		require.NoError(t, err)
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3})
		r := w.next()
		require.True(t, r.Canceled)
		require.EqualValues(t, 4, r.CompactRevision)
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
		require.Equal(t, []string{"PUT a=v@4", "PUT a=v@5", "PUT a=v@6"}, w.events(1, 3))
	})
}

func TestWatchProgress(t *testing.T) {
	run(t, etcdapi.Config{ProgressInterval: time.Minute}, func(c *cluster) {
		m := c.leader()
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
		w.create(&pb.WatchCreateRequest{Key: []byte("b")})
		m.put(t, "other", "1") // 2
		require.NoError(t, w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}))
		r := w.next()
		require.EqualValues(t, -1, r.WatchId)
		require.EqualValues(t, 2, r.Header.Revision)
		require.Empty(t, r.Events)
		m.put(t, "other", "2") // 3
		begun := time.Now()
		r = w.next()
		require.EqualValues(t, 0, r.WatchId, "the watch that asked for notifications")
		require.EqualValues(t, 3, r.Header.Revision)
		require.Empty(t, r.Events)
		require.InDelta(t, time.Minute, time.Since(begun), float64(7*time.Second))
		time.Sleep(3 * time.Minute)
		m.put(t, "b", "1")
		for r = w.next(); len(r.Events) == 0; r = w.next() {
			require.EqualValues(t, 0, r.WatchId, "the other watch gets none")
		}
		require.EqualValues(t, 1, r.WatchId)
	})
}

// A client that does not read costs no memory for events, and gets all of them later.
func TestSlowWatcher(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.follower()
		w := c.watches(m)
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		const puts = 200
		for i := range puts {
			c.leader().put(t, "a", string(bytes.Repeat([]byte{byte('a' + i%26)}, 50<<10)))
		}
		settle()
		next := int64(2)
		for next < puts+2 {
			r := w.next()
			for _, e := range r.Events {
				require.Equal(t, next, e.Kv.ModRevision)
				next++
			}
		}
	})
}

// A watch goes on over a snapshot that its member receives.
func TestWatchOverASnapshot(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		lone := c.follower()
		w := c.watches(lone)
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		c.network.Partition([]core.NodeID{lone.id})
		leader := c.leader()
		for i := range 50 {
			leader.put(t, "a", fmt.Sprint(i))
		}
		for _, m := range c.members {
			if m != lone {
				require.NoError(t, m.node.Snapshot(context.Background()))
			}
		}
		c.network.Heal()
		all := w.events(0, 50)
		require.Equal(t, "PUT a=0@2", all[0])
		require.Equal(t, "PUT a=49@51", all[49])
	})
}

// A stream that needs a leader ends without one.
func TestWatchNeedsALeader(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		lone := c.follower()
		ctx := metadata.AppendToOutgoingContext(context.Background(), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
		stream, err := lone.watch.Watch(ctx)
		require.NoError(t, err)
		w := &watcher{t, stream}
		w.create(&pb.WatchCreateRequest{Key: []byte("a")})
		c.network.Partition([]core.NodeID{lone.id})
		_, err = stream.Recv()
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoLeader)
	})
}

// A client that sends nothing more still gets events, as clients of the JSON gateway do.
func TestWatchAfterTheLastRequest(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		ctx, cancel := context.WithCancel(c.Context())
		defer cancel()
		w, err := m.watch.Watch(ctx)
		require.NoError(t, err)
		require.NoError(t, w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}))
		require.NoError(t, w.CloseSend())
		_, err = w.Recv()
		require.NoError(t, err)
		settle()
		m.put(t, "k", "v")
		r, err := w.Recv()
		require.NoError(t, err)
		require.Len(t, r.Events, 1)
	})
}

// A watch of a client that does not read is slow, and its events are pending, until the
// client reads them.
func TestSlowWatches(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		// Windows of a fixed size, because gRPC would enlarge its own to hold many events.
		conn, err := grpc.NewClient(url(m.id), append(c.dialOptions(), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))...)
		require.NoError(t, err)
		defer conn.Close()
		stream, err := pb.NewWatchClient(conn).Watch(context.Background())
		require.NoError(t, err)
		slow, fast := &watcher{t, stream}, c.watches(m)
		slow.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		slow.create(&pb.WatchCreateRequest{Key: []byte("z")})
		fast.create(&pb.WatchCreateRequest{Key: []byte("k")})
		const puts = 20
		for range 2 {
			for range puts {
				m.put(t, "k", string(bytes.Repeat([]byte("v"), 100<<10)))
				fast.events(0, 1)
			}
			settle()
			stats := m.server.Stats()
			require.Equal(t, 3, stats.Watches)
			require.Equal(t, 2, stats.WatchStreams)
			require.Equal(t, 1, stats.SlowWatches)
			require.Greater(t, stats.EventsPending, puts/2)
			require.Less(t, stats.EventsPending, puts+1)

			slow.events(0, puts)
			settle()
			stats = m.server.Stats()
			require.Zero(t, stats.SlowWatches)
			require.Zero(t, stats.EventsPending)
		}
		m.put(t, "z", "1") // for both watches of the stream
		for range 2 {
			require.Len(t, slow.next().Events, 1)
		}
		settle()
		require.Zero(t, m.server.Stats().EventsPending)

		ctx, end := context.WithCancel(context.Background())
		_, err = m.watch.Watch(ctx)
		require.NoError(t, err)
		settle()
		require.Equal(t, 3, m.server.Stats().WatchStreams)
		end()
		settle()
		require.Equal(t, 2, m.server.Stats().WatchStreams)
	})
}
