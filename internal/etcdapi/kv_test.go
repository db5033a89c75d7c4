package etcdapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
)

func requirePB(t *testing.T, want, got proto.Message) {
	t.Helper()
	if !proto.Equal(want, got) {
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(got))
	}
}

// Every member takes writes and reads, and each sees the others' writes at once.
func TestEveryMemberServes(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		revision := int64(1)
		for round := range 3 {
			for id := core.NodeID(1); id <= 3; id++ {
				value := fmt.Sprintf("%d-%d", round, id)
				r := c.members[id].put(t, "k", value)
				revision++
				require.Equal(t, revision, r.Header.Revision)
				require.EqualValues(t, id, r.Header.MemberId)
				for reader := core.NodeID(1); reader <= 3; reader++ {
					got := c.members[reader].get(t, "k")
					require.Len(t, got.Kvs, 1)
					require.Equal(t, value, string(got.Kvs[0].Value), "round %d, written by %d, read by %d", round, id, reader)
					require.NotZero(t, got.Header.RaftTerm)
					require.Equal(t, r.Header.ClusterId, got.Header.ClusterId)
				}
			}
		}
	})
}

// A follower's write takes about as long as the leader's.
func TestForwardedWriteIsPrompt(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		f := c.follower()
		f.put(t, "k", "v")
		begun := time.Now()
		f.put(t, "k", "v")
		require.Less(t, time.Since(begun), 50*time.Millisecond)
	})
}

func TestTxnThroughTheLog(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		f := c.follower()
		f.put(t, "a", "1")
		txn := &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("1")}}},
			Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), Value: []byte("2"), PrevKv: true}}},
				{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true}}},
				{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, KeysOnly: true}}},
				{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}},
			},
		}
		r, err := f.kv.Txn(context.Background(), txn)
		require.NoError(t, err)
		require.True(t, r.Succeeded)
		require.EqualValues(t, 3, r.Header.Revision)
		require.EqualValues(t, 3, r.Responses[0].GetResponsePut().Header.Revision)
		require.EqualValues(t, 1, r.Responses[1].GetResponseDeleteRange().Deleted)
		require.Equal(t, "1", string(r.Responses[1].GetResponseDeleteRange().PrevKvs[0].Value))
		require.Len(t, r.Responses[2].GetResponseRange().Kvs, 1)
		require.Empty(t, r.Responses[2].GetResponseRange().Kvs[0].Value)
		require.True(t, r.Responses[3].GetResponseTxn().Succeeded)
		r, err = f.kv.Txn(context.Background(), &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("b"), Serializable: true}}},
		}})
		require.NoError(t, err)
		require.Equal(t, "2", string(r.Responses[0].GetResponseRange().Kvs[0].Value))
	})
}

// Clients match on codes and messages.
func TestErrorsThatClientsKnow(t *testing.T) {
	run(t, etcdapi.Config{MaxTxnOps: 2}, func(c *cluster) {
		f := c.follower()
		f.put(t, "a", "1")
		f.put(t, "a", "2")
		ctx := context.Background()
		_, err := f.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3})
		require.NoError(t, err)
		find := func(r *pb.RangeRequest) error { _, err := f.kv.Range(ctx, r); return err }
		put := func(r *pb.PutRequest) error { _, err := f.kv.Put(ctx, r); return err }
		txn := func(r *pb.TxnRequest) error { _, err := f.kv.Txn(ctx, r); return err }
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}}
		a := []byte("a")
		for name, e := range map[string]struct{ got, want error }{
			"compacted":        {find(&pb.RangeRequest{Key: a, Revision: 2}), rpctypes.ErrGRPCCompacted},
			"future":           {find(&pb.RangeRequest{Key: a, Revision: 4}), rpctypes.ErrGRPCFutureRev},
			"range empty key":  {find(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
			"sort":             {find(&pb.RangeRequest{Key: a, SortTarget: 7}), rpctypes.ErrGRPCInvalidSortOption},
			"order":            {find(&pb.RangeRequest{Key: a, SortOrder: -1}), rpctypes.ErrGRPCInvalidSortOption},
			"put empty key":    {put(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
			"key not found":    {put(&pb.PutRequest{Key: []byte("x"), IgnoreValue: true}), rpctypes.ErrGRPCKeyNotFound},
			"value provided":   {put(&pb.PutRequest{Key: a, Value: a, IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
			"lease provided":   {put(&pb.PutRequest{Key: a, Lease: 1, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
			"lease not found":  {put(&pb.PutRequest{Key: a, Lease: 1}), rpctypes.ErrGRPCLeaseNotFound},
			"too large":        {put(&pb.PutRequest{Key: a, Value: bytes.Repeat(a, 3<<19)}), rpctypes.ErrGRPCRequestTooLarge},
			"too many ops":     {txn(&pb.TxnRequest{Success: []*pb.RequestOp{op, op, op}}), rpctypes.ErrGRPCTooManyOps},
			"duplicate key":    {txn(&pb.TxnRequest{Success: []*pb.RequestOp{op, op}}), rpctypes.ErrGRPCDuplicateKey},
			"empty op":         {txn(&pb.TxnRequest{Success: []*pb.RequestOp{{}}}), rpctypes.ErrGRPCKeyNotFound},
			"compare key":      {txn(&pb.TxnRequest{Compare: []*pb.Compare{{}}}), rpctypes.ErrGRPCEmptyKey},
			"compact again":    {func() error { _, err := f.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3}); return err }(), rpctypes.ErrGRPCCompacted},
			"compact future":   {func() error { _, err := f.kv.Compact(ctx, &pb.CompactionRequest{Revision: 9}); return err }(), rpctypes.ErrGRPCFutureRev},
			"delete empty key": {func() error { _, err := f.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{}); return err }(), rpctypes.ErrGRPCEmptyKey},
		} {
			require.Equal(t, status.Convert(e.want).Proto().String(), status.Convert(e.got).Proto().String(), name)
		}
		require.EqualValues(t, 3, f.get(t, "a").Header.Revision, "nothing changed")
	})
}

// A member without a majority answers with errors, and serializable reads go on.
func TestMemberWithoutMajority(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		lone := c.follower()
		lone.put(t, "a", "1")
		c.network.Partition([]core.NodeID{lone.id})
		time.Sleep(5 * time.Second)
		ctx := context.Background()
		begun := time.Now()
		_, err := lone.kv.Put(ctx, &pb.PutRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoLeader)
		require.LessOrEqual(t, time.Since(begun), 8*time.Second)
		_, err = lone.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoLeader)
		begun = time.Now()
		led := metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
		_, err = lone.kv.Put(led, &pb.PutRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoLeader)
		require.Less(t, time.Since(begun), time.Second, "the client does not want to wait")
		r, err := lone.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
		require.NoError(t, err)
		require.Equal(t, "1", string(r.Kvs[0].Value))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = lone.kv.Range(short, &pb.RangeRequest{Key: []byte("a")})
		require.Equal(t, "DeadlineExceeded", status.Code(err).String())
		require.EqualValues(t, 1, lone.server.Stats().ReadsSlow)
		c.network.Heal()
		settle()
		require.Len(t, lone.get(t, "a").Kvs, 1)
	})
}

// A write whose leader fails has an unknown outcome, and the client of another member gets
// an error that says so.
func TestLeaderFailsUnderAForwardedWrite(t *testing.T) {
	for name, fail := range map[string]struct {
		fail func(c *cluster, leader *member)
		want error
	}{
		"cut off":                 {func(*cluster, *member) {}, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		"stopped":                 {func(c *cluster, leader *member) { c.stop(leader.id) }, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		"without its connections": {func(_ *cluster, leader *member) { leader.grpc.Stop() }, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	} {
		run(t, etcdapi.Config{}, func(c *cluster) {
			leader, f := c.leader(), c.follower()
			f.put(t, "a", "1")
			c.network.Partition([]core.NodeID{leader.id})
			got := make(chan error, 1)
			go func() {
				_, err := f.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("a"), Value: []byte("2")})
				got <- err
			}()
			time.Sleep(50 * time.Millisecond)
			fail.fail(c, leader)
			require.ErrorIs(t, <-got, fail.want, name)
			c.network.Heal()
		})
	}
}

// Acknowledged writes survive the loss of the leader, and a restart of all members from
// their snapshots and logs.
func TestRestart(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		for i := range 20 {
			c.follower().put(t, fmt.Sprint(i), "v")
		}
		old := c.leader()
		c.stop(old.id)
		c.leader().put(t, "new", "v")
		require.NoError(t, c.leader().node.Snapshot(context.Background()))
		for id := range c.members {
			c.stop(id)
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.start(id)
		}
		c.leader()
		for id := core.NodeID(1); id <= 3; id++ {
			r, err := c.members[id].kv.Range(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
			require.NoError(t, err)
			require.EqualValues(t, 21, r.Count)
			require.EqualValues(t, 22, r.Header.Revision)
		}
	})
}

// A restarted member answers no client before the member has applied what it had applied
// before, because clients would see older keys, and old events of a watch from now on.
func TestRestartedMemberJoinsFirst(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		for i := range 10 {
			c.leader().put(t, "a", fmt.Sprint(i))
		}
		settle()
		for id := core.NodeID(1); id <= 3; id++ {
			c.stop(id)
		}
		m := c.start(1)
		local := &pb.RangeRequest{Key: []byte("a"), Serializable: true}
		_, err := m.kv.Range(ctx, local)
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoLeader)
		status, err := pb.NewMaintenanceClient(m.conn).Status(ctx, &pb.StatusRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{"etcdserver: no leader", "the member has not joined its cluster since its start, and has applied only a part of its log"}, status.Errors)
		begin := time.Now()
		_, err = m.maintenance().Status(ctx, &pb.StatusRequest{})
		require.NoError(t, err)
		require.Less(t, time.Since(begin), 100*time.Millisecond, "only a status soon after the start waits")
		_, err = pb.NewClusterClient(m.conn).MemberList(ctx, &pb.MemberListRequest{})
		require.NoError(t, err)

		stream, err := m.watch.Watch(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}))
		read := make(chan *pb.RangeResponse, 1)
		go func() {
			r, _ := m.kv.Range(ctx, local)
			read <- r
		}()
		c.start(2)
		r := <-read
		require.Len(t, r.GetKvs(), 1)
		require.Equal(t, "9", string(r.Kvs[0].Value))
		created, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, created.Created)
		m.put(t, "a", "new")
		events, err := stream.Recv()
		require.NoError(t, err)
		require.Len(t, events.Events, 1)
		require.Equal(t, "new", string(events.Events[0].Kv.Value))
		require.NoError(t, stream.CloseSend())
	})
}

// The status of a restarted member waits for the member to join. The revision would otherwise
// be lower than before the restart.
func TestStatusAfterARestart(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		c.leader().put(t, "a", "1")
		settle()
		for id := core.NodeID(1); id <= 3; id++ {
			c.stop(id)
		}
		c.start(2)
		m := c.start(1)
		for range 10 {
			status, err := m.maintenance().Status(context.Background(), &pb.StatusRequest{})
			require.NoError(t, err)
			require.Empty(t, status.Errors)
			require.EqualValues(t, 2, status.Header.Revision)
		}
	})
}

// A serializable read of a revision that the member does not have yet waits for the
// revision.
func TestSerializableReadOfANewRevision(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		f := c.follower()
		f.put(t, "a", "1")
		behind := memnet.Faults{Latency: 300 * time.Millisecond}
		for id := range c.members {
			c.network.SetLink(id, f.id, behind)
		}
		for i := range 20 {
			r := c.leader().put(t, "a", fmt.Sprint(i))
			old, err := f.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Serializable: true})
			require.NoError(t, err)
			require.Less(t, old.Header.Revision, r.Header.Revision, "the member is behind")
			got, err := f.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Serializable: true, Revision: r.Header.Revision})
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(got.Kvs[0].Value))
			_, err = f.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Serializable: true, Revision: r.Header.Revision + 1})
			require.ErrorIs(t, err, rpctypes.ErrGRPCFutureRev)
		}
	})
}

// The messages of RangeStream merge to the answer of Range.
func TestRangeStream(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		for i := range 5 {
			m.put(t, fmt.Sprint(i), string(bytes.Repeat([]byte("v"), 700<<10)))
		}
		request := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 4}
		want, err := m.kv.Range(context.Background(), request)
		require.NoError(t, err)
		stream, err := m.kv.RangeStream(context.Background(), request)
		require.NoError(t, err)
		got := &pb.RangeResponse{}
		messages := 0
		for {
			r, err := stream.Recv()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			proto.Merge(got, r.RangeResponse)
			messages++
		}
		requirePB(t, want, got)
		require.Equal(t, 2, messages)
	})
}

// Beyond the quota only what frees space goes on.
func TestQuota(t *testing.T) {
	run(t, etcdapi.Config{Quota: 4 << 10}, func(c *cluster) {
		f := c.follower()
		ctx := context.Background()
		var err error
		for i := 0; err == nil && i < 100; i++ {
			_, err = f.kv.Put(ctx, &pb.PutRequest{Key: []byte(fmt.Sprint(i)), Value: bytes.Repeat([]byte("v"), 100)})
		}
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoSpace)
		put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}}
		_, err = c.leader().kv.Txn(ctx, &pb.TxnRequest{Failure: []*pb.RequestOp{put}})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoSpace)
		require.Len(t, f.get(t, "0").Kvs, 1)
		r, err := f.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		require.NoError(t, err)
		_, err = f.kv.Compact(ctx, &pb.CompactionRequest{Revision: r.Header.Revision})
		require.NoError(t, err)
	})
}
