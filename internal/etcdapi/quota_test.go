package etcdapi_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/etcdapi"
	"raftlab/raft/node"
)

// fill puts keys through a member until the quota refuses one, and returns the number of
// the others.
func fill(t *testing.T, m *member, value []byte) (keys int) {
	t.Helper()
	for {
		_, err := m.kv.Put(context.Background(), &pb.PutRequest{Key: fmt.Appendf(nil, "key %06d", keys), Value: value})
		if err != nil {
			require.ErrorIs(t, err, rpctypes.ErrGRPCNoSpace)
			return keys
		}
		keys++
	}
}

// putMany puts a hundred keys in one transaction.
func putMany(m *member, prefix string) (*pb.TxnResponse, error) {
	r := &pb.TxnRequest{}
	for i := range 100 {
		put := &pb.PutRequest{Key: fmt.Append(nil, prefix, i)}
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	return m.kv.Txn(context.Background(), r)
}

func disarm(t *testing.T, m *member) {
	t.Helper()
	for _, one := range alarms(t, m) {
		_, err := m.maintenance().Alarm(context.Background(), &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: one.MemberID, Alarm: one.Alarm})
		require.NoError(t, err)
	}
}

func alarms(t *testing.T, m *member) []*pb.AlarmMember {
	t.Helper()
	list, err := m.maintenance().Alarm(context.Background(), &pb.AlarmRequest{})
	require.NoError(t, err)
	return list.Alarms
}

// After a deletion, a compaction and the end of the alarm every member takes writes again
// at once, however much the compaction has to release.
func TestWritesGoOnAfterCompaction(t *testing.T) {
	run(t, etcdapi.Config{Quota: 1 << 20}, func(c *cluster) {
		ctx := context.Background()
		f := c.follower()
		var err error
		for i := 0; err == nil; i++ {
			_, err = putMany(f, fmt.Sprintf("%02d-", i))
		}
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoSpace)
		var last int64
		for _, from := range []string{"30", "0"} { // the tombstones of the last revision stay
			r, err := f.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(from), RangeEnd: []byte{0}})
			require.NoError(t, err)
			last = r.Header.Revision
		}
		_, err = f.kv.Compact(ctx, &pb.CompactionRequest{Revision: last})
		require.NoError(t, err)
		disarm(t, f)
		for _, m := range c.members {
			m.put(t, "a", "1")
		}
		require.Empty(t, alarms(t, f))
	})
}

// A wait for the release of compacted versions ends when all are released.
func TestReleased(t *testing.T) {
	m := etcdapi.NewMachine(1)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, etcdapi.Released(ended, m), "nothing is compacted")
	for range 500 {
		m.Apply([]node.Command{{Data: etcdapi.PutEntry("k", "v")}})
	}
	m.Apply([]node.Command{{Data: etcdapi.CompactEntry(501)}})
	require.ErrorIs(t, etcdapi.Released(ended, m), context.Canceled)
	ctx, cancel := context.WithCancel(context.Background())
	var releasing sync.WaitGroup
	releasing.Go(func() { etcdapi.Release(ctx, m) })
	require.NoError(t, etcdapi.Released(ctx, m))
	cancel()
	releasing.Wait()
	require.NoError(t, etcdapi.Released(ended, m))
	require.Equal(t, 1, etcdapi.Versions(m))
}

// A physical compaction and a defragmentation return when the member has released the
// memory of the compacted versions.
func TestCompactedVersionsAreReleased(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.follower()
		var last int64
		size := func(m *member) int64 {
			st, err := m.maintenance().Status(ctx, &pb.StatusRequest{})
			require.NoError(t, err)
			return st.DbSize
		}
		for physical := range 2 {
			for range 30 {
				r, err := putMany(m, "k")
				require.NoError(t, err)
				last = r.Header.Revision
			}
			require.Greater(t, size(m), int64(3000*160))
			_, err := m.kv.Compact(ctx, &pb.CompactionRequest{Revision: last, Physical: physical == 1})
			require.NoError(t, err)
			if physical == 0 {
				_, err := m.maintenance().Defragment(ctx, &pb.DefragmentRequest{})
				require.NoError(t, err)
			}
			require.Less(t, size(m), int64(200*170))
		}
		settle()
		for _, m := range c.members {
			require.Less(t, size(m), int64(200*170))
		}
	})
}

// With a bound on the history the history never costs the quota: a key is written again
// and again, however small the quota, and keys get the whole quota.
func TestHistoryBelowQuota(t *testing.T) {
	const quota = 64 << 10
	run(t, etcdapi.Config{Quota: quota, BoundHistory: true}, func(c *cluster) {
		m := c.follower()
		value := bytes.Repeat([]byte("v"), 1000)
		for i := range 300 {
			m.put(t, fmt.Sprint(i%2), string(value))
			require.Less(t, m.server.Stats().Bytes, int64(quota+2000))
		}
		require.Empty(t, alarms(t, m))
		keys := fill(t, m, value)
		require.InDelta(t, quota, (keys+2)*len(value), quota/4, "%d keys", keys)
		require.Len(t, alarms(t, m), 1)
		_, err := m.kv.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte("key 000000")})
		require.NoError(t, err)
		disarm(t, m)
		m.put(t, "key 000000", string(value))
	})
}

// The tombstones of a deletion of all keys do not cost the quota.
func TestTombstonesBelowQuota(t *testing.T) {
	const quota = 64 << 10
	run(t, etcdapi.Config{Quota: quota, BoundHistory: true}, func(c *cluster) {
		m := c.follower()
		require.Greater(t, fill(t, m, nil), 300)
		_, err := m.kv.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		require.NoError(t, err)
		disarm(t, m)
		require.Greater(t, fill(t, m, nil), 300)
	})
}

// Beside a small quota the history of the last seconds stays for slow watches, and older
// history goes before it takes an eighth of the quota.
func TestRecentHistoryBelowQuota(t *testing.T) {
	const quota = 1 << 20
	run(t, etcdapi.Config{Quota: quota, BoundHistory: true}, func(c *cluster) {
		m := c.follower()
		value := string(bytes.Repeat([]byte("v"), 1000))
		var revisions []int64 // ten in a second
		for range 600 {
			revisions = append(revisions, m.put(t, "k", value).Header.Revision)
			time.Sleep(100 * time.Millisecond)
			if seen := len(revisions); seen > 40 {
				_, err := m.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("k"), Revision: revisions[seen-40]})
				require.NoError(t, err, "4 s ago")
			}
			require.Less(t, m.server.Stats().Bytes, int64(quota/8+60*1200))
		}
	})
}
