package etcdapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/internal/etcdapi"
	"raftlab/mvcc"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

func (m *member) maintenance() pb.MaintenanceClient { return pb.NewMaintenanceClient(m.conn) }
func (m *member) cluster() pb.ClusterClient         { return pb.NewClusterClient(m.conn) }

func TestStatusAndMembers(t *testing.T) {
	run(t, etcdapi.Config{Quota: 1 << 20}, func(c *cluster) {
		leader := c.leader()
		leader.put(t, "a", "1")
		settle()
		ctx := context.Background()
		c.watches(leader).create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2})
		leader.grant(t, 100)
		settle()
		require.Equal(t, etcdapi.Stats{
			Revision: 2, Compacted: -1, Keys: 1, Versions: 1, Bytes: 162, QuotaBytes: 1 << 20, Leases: 1,
			Watches: 1, WatchStreams: 1, EventsSent: 1,
			Applied: mvcc.Counts{Puts: 1, PutBytes: 2, Grants: 1},
		}, leader.server.Stats())
		for id, m := range c.members {
			st, err := m.maintenance().Status(ctx, &pb.StatusRequest{})
			require.NoError(t, err)
			require.EqualValues(t, leader.id, st.Leader)
			require.EqualValues(t, id, st.Header.MemberId)
			require.EqualValues(t, 2, st.Header.Revision)
			require.Equal(t, "3.7.3", st.Version)
			require.Positive(t, st.DbSize)
			require.EqualValues(t, 1<<20, st.DbSizeQuota)
			require.Equal(t, st.RaftIndex, st.RaftAppliedIndex)
			require.Empty(t, st.Errors)
			list, err := m.cluster().MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
			require.NoError(t, err)
			require.Len(t, list.Members, 3)
			for i, one := range list.Members {
				requirePB(t, &pb.Member{
					ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i+1),
					PeerURLs: []string{fmt.Sprintf("http://peer%d", i+1)}, ClientURLs: []string{url(core.NodeID(i + 1))},
				}, one)
			}
		}
	})
}

// All members have the same hash, whether or not a member began with a snapshot.
func TestHashKV(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.leader()
		for i := range 30 {
			m.put(t, fmt.Sprint(i%7), fmt.Sprint(i))
		}
		_, err := m.kv.Compact(ctx, &pb.CompactionRequest{Revision: 20})
		require.NoError(t, err)
		for id := core.NodeID(1); id <= 3; id++ {
			require.NoError(t, c.members[id].node.Snapshot(ctx))
		}
		restarted := c.follower().id
		c.stop(restarted)
		c.start(restarted)
		settle()
		list, err := c.members[restarted].cluster().MemberList(ctx, &pb.MemberListRequest{})
		require.NoError(t, err)
		for _, one := range list.Members {
			require.NotEmpty(t, one.Name, "what members have published is in the snapshot")
		}
		want, err := c.leader().maintenance().HashKV(ctx, &pb.HashKVRequest{Revision: 25})
		require.NoError(t, err)
		require.EqualValues(t, 20, want.CompactRevision)
		require.EqualValues(t, 25, want.HashRevision)
		for _, m := range c.members {
			got, err := m.maintenance().HashKV(ctx, &pb.HashKVRequest{Revision: 25})
			require.NoError(t, err)
			require.Equal(t, want.Hash, got.Hash)
		}
		_, err = c.leader().maintenance().HashKV(ctx, &pb.HashKVRequest{Revision: 19})
		require.ErrorIs(t, err, rpctypes.ErrGRPCCompacted)
	})
}

func TestAlarms(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.follower()
		raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 2, Alarm: pb.AlarmType_NOSPACE}
		_, err := m.maintenance().Alarm(ctx, raise)
		require.NoError(t, err)
		_, err = m.kv.Put(ctx, &pb.PutRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNoSpace)
		list, err := c.leader().maintenance().Alarm(ctx, &pb.AlarmRequest{})
		require.NoError(t, err)
		require.Len(t, list.Alarms, 1)
		st, err := c.leader().maintenance().Status(ctx, &pb.StatusRequest{})
		require.NoError(t, err)
		require.Len(t, st.Errors, 1)
		raise.Action = pb.AlarmRequest_DEACTIVATE
		_, err = m.maintenance().Alarm(ctx, raise)
		require.NoError(t, err)
		m.put(t, "a", "1")
		_, err = m.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 2, Alarm: pb.AlarmType_CORRUPT})
		require.NoError(t, err)
		_, err = m.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCCorrupt)
		_, err = m.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
		require.ErrorIs(t, err, rpctypes.ErrGRPCCorrupt)
	})
}

// The leader notices a member whose state differs.
func TestCorruptMemberIsNoticed(t *testing.T) {
	run(t, etcdapi.Config{CompareInterval: 20 * time.Second}, func(c *cluster) {
		ctx := context.Background()
		c.leader().put(t, "a", "1")
		settle()
		f := c.follower()
		f.server.Machine().Apply([]node.Command{{Data: etcdapi.PutEntry("alien", "1")}}) // one member alone applies a write
		c.leader().put(t, "b", "1")
		time.Sleep(time.Minute)
		list, err := c.leader().maintenance().Alarm(ctx, &pb.AlarmRequest{})
		require.NoError(t, err)
		require.Len(t, list.Alarms, 1)
		require.EqualValues(t, f.id, list.Alarms[0].MemberID)
		require.Equal(t, pb.AlarmType_CORRUPT, list.Alarms[0].Alarm)
	})
}

func TestSnapshotStream(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		for i := range 20 {
			m.put(t, fmt.Sprint(i), string(bytes.Repeat([]byte("v"), 50<<10)))
		}
		stream, err := m.maintenance().Snapshot(context.Background(), &pb.SnapshotRequest{})
		require.NoError(t, err)
		var data []byte
		var rest []uint64 // bytes that are to come, after each piece
		for {
			r, err := stream.Recv()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			data = append(data, r.Blob...)
			rest = append(rest, r.RemainingBytes)
		}
		require.EqualValues(t, sha256.Size, len(data)%512, "etcdctl looks for the checksum there")
		require.Zero(t, rest[len(rest)-1])
		require.Zero(t, rest[len(rest)-2], "the digest comes alone, and does not count")
		require.Positive(t, rest[len(rest)-3])
		body := data[:len(data)-sha256.Size]
		sum := sha256.Sum256(body)
		require.Equal(t, sum[:], data[len(body):])
		path := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		fresh, _, err := etcdapi.ReadBackup(file)
		require.NoError(t, err)
		require.Equal(t, 20, fresh.View().Keys())
	})
}

func TestMoveLeader(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		leader, f := c.leader(), c.follower()
		_, err := f.maintenance().MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: uint64(f.id)})
		require.ErrorIs(t, err, rpctypes.ErrGRPCNotLeader)
		_, err = leader.maintenance().MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 77})
		require.ErrorIs(t, err, rpctypes.ErrGRPCBadLeaderTransferee)
		_, err = leader.maintenance().MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: uint64(f.id)})
		require.NoError(t, err)
		settle()
		require.Equal(t, f, c.leader())
	})
}

// Members come and go through any member.
func TestMemberChanges(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx := context.Background()
		m := c.follower()
		m.put(t, "a", "1")
		for _, urls := range [][]string{nil, {"peer9:1"}, {"ftp://x:1"}, {"http://x"}, {"http://x:1", "http://y:1"}, {"http://x:1/path"}} {
			_, err := m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls})
			require.ErrorIs(t, err, rpctypes.ErrGRPCMemberBadURLs, "%q", urls)
		}
		peerURL := []string{"http://peer4:2380"}
		added, err := m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: peerURL})
		require.NoError(t, err)
		require.Len(t, added.Members, 4)
		id := core.NodeID(added.Member.ID)
		_, err = m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: peerURL})
		require.ErrorIs(t, err, rpctypes.ErrGRPCPeerURLExist)
		_, err = m.cluster().MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
		require.ErrorIs(t, err, rpctypes.ErrGRPCLearnerNotReady, "the member has not started")
		// The member starts, catches up and becomes a voter.
		c.stores[id] = memstore.New(node.Identity{Cluster: "test", Host: id})
		c.config.Node.Members, c.config.Node.Join = nil, true
		joined := c.start(id)
		settle()
		settle()
		settle()
		list, err := joined.cluster().MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		require.NoError(t, err)
		require.Len(t, list.Members, 4)
		for _, one := range list.Members {
			require.False(t, one.IsLearner, "%v", one)
			require.NotEmpty(t, one.Name)
		}
		joined.put(t, "b", "2")
		require.Len(t, joined.get(t, "a").Kvs, 1)
		_, err = m.cluster().MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
		require.ErrorIs(t, err, rpctypes.ErrGRPCMemberNotLearner)
		updated, err := m.cluster().MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"http://peer5:1"}})
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(updated.Members), "http://peer5:1")
		_, err = m.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 99})
		require.ErrorIs(t, err, rpctypes.ErrGRPCMemberNotFound)
		removed, err := m.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: added.Member.ID})
		require.NoError(t, err)
		require.Len(t, removed.Members, 3)
		m.put(t, "c", "3")
		// A new member at a former address has a new id, so the data of the removed member
		// is not taken for that of the new one.
		again, err := m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: peerURL})
		require.NoError(t, err)
		require.NotEqual(t, added.Member.ID, again.Member.ID)
	})
}

// No version of etcd can take the data over, so downgrades are refused with etcd's errors.
func TestDowngrade(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := pb.NewMaintenanceClient(c.follower().conn)
		for version, want := range map[string]error{
			"3.6":     rpctypes.ErrGRPCInvalidDowngradeTargetVersion,
			"3.6.0":   rpctypes.ErrGRPCInvalidDowngradeTargetVersion,
			"3.7.3":   rpctypes.ErrGRPCInvalidDowngradeTargetVersion,
			"v3.6":    rpctypes.ErrGRPCWrongDowngradeVersionFormat,
			"3.6.0.0": rpctypes.ErrGRPCWrongDowngradeVersionFormat,
			"":        rpctypes.ErrGRPCWrongDowngradeVersionFormat,
		} {
			for _, action := range []pb.DowngradeRequest_DowngradeAction{pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE} {
				_, err := m.Downgrade(context.Background(), &pb.DowngradeRequest{Action: action, Version: version})
				require.ErrorIs(t, err, want, "%q", version)
			}
		}
		r, err := m.Downgrade(context.Background(), &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL})
		require.NoError(t, err)
		require.Equal(t, "3.7", r.Version)
		_, err = m.Downgrade(context.Background(), &pb.DowngradeRequest{Action: 9})
		require.Error(t, err)
		st, err := m.Status(context.Background(), &pb.StatusRequest{})
		require.NoError(t, err)
		require.False(t, st.DowngradeInfo.Enabled)
		require.Positive(t, st.DbSize, "of an empty store")
		hash, err := m.HashKV(context.Background(), &pb.HashKVRequest{})
		require.NoError(t, err)
		require.Positive(t, hash.Hash)
		require.Equal(t, "3.7.0", st.StorageVersion)
	})
}
