package etcdapi_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/etcdapi"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/rsm"
)

// copyOf returns a machine that was restored from a machine's snapshot.
func copyOf(t *testing.T, m *etcdapi.Machine) *etcdapi.Machine {
	t.Helper()
	view, err := m.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = view.WriteTo(&b)
	require.NoError(t, err)
	to := etcdapi.NewMachine(2)
	require.NoError(t, to.Restore(&b))
	return to
}

// Writes and scans have the results of package kv, versions included, also after
// snapshots.
func TestWritesAsInPackageKV(t *testing.T) {
	limits := kv.Limits{Key: 3, Value: 8}
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(t)), 0))
	model, m := kv.NewStore(limits), etcdapi.NewMachine(1)
	for n := range 3000 {
		key, value := fmt.Sprint(rng.IntN(12)), "abcd"[:rng.IntN(5)]
		op := []kv.Op{kv.Put(key, value), kv.Append(key, value), kv.Delete(key), kv.Scan(key, fmt.Sprint(rng.IntN(9)), rng.IntN(4)), kv.Scan("", "", 0), kv.Put("long", "")}[rng.IntN(6)]
		if rng.IntN(2) == 0 && !op.ReadOnly() {
			op = op.IfVersion(max(model.Version(), 3) - uint64(rng.IntN(4)))
		}
		op.Tag = uint64(n)
		got, err := etcdapi.Execute(m, etcdapi.Write{Op: op, Limits: limits})
		require.NoError(t, err)
		want := model.Apply(op)
		if op.ReadOnly() {
			want.Tag = 0
		}
		require.Equal(t, want, got, "write %d: %v", n, op)
		if n%500 == 0 {
			m = copyOf(t, m)
		}
	}
}

// A session's last write keeps its result, through snapshots. The session with the
// oldest write makes room.
func TestSessionsOfWrites(t *testing.T) {
	m := etcdapi.NewMachine(1)
	write := func(client, seq uint64) (kv.Result, error) {
		return etcdapi.Execute(m, etcdapi.Write{Client: client, Seq: seq, Op: kv.Append("k", "x")})
	}
	for range 2 {
		r, err := write(7, 1)
		require.NoError(t, err)
		require.Equal(t, uint64(1), r.Version)
		m = copyOf(t, m)
	}
	_, err := write(7, 3)
	require.NoError(t, err)
	_, err = write(7, 2)
	require.ErrorIs(t, err, rsm.ErrStale)
	for client := range uint64(etcdapi.MaxSessions - 1) {
		_, err := etcdapi.Execute(m, etcdapi.Write{Client: 100 + client, Seq: 1, Op: kv.Put("k", "")})
		require.NoError(t, err)
	}
	r, err := write(7, 3)
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Version)
	_, err = etcdapi.Execute(m, etcdapi.Write{Client: 99, Seq: 1, Op: kv.Put("k", "")})
	require.NoError(t, err)
	_, err = write(7, 4)
	require.ErrorIs(t, err, rsm.ErrSessionExpired)
}

// A snapshot of a newer format is refused by its number.
func TestNewerSnapshot(t *testing.T) {
	view, err := etcdapi.NewMachine(1).Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = view.WriteTo(&b)
	require.NoError(t, err)
	b.Bytes()[12] = 99
	require.ErrorContains(t, etcdapi.NewMachine(2).Restore(&b), "version 99; this version of raftlab reads versions 1 to 3")
}

// Every member executes operations, and the API of etcd sees them.
func TestExecute(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		for i, m := range []*member{c.leader(), c.follower()} {
			r, err := m.server.Execute(c.Context(), etcdapi.Write{Client: 1, Seq: uint64(i + 1), Op: kv.Append("k", "x")})
			require.NoError(t, err)
			require.Equal(t, kv.Result{Version: uint64(i + 1)}, r)
		}
		r, err := c.follower().server.Execute(c.Context(), etcdapi.Write{Op: kv.Get("k")})
		require.NoError(t, err)
		require.Equal(t, kv.Result{Value: "xx", Version: 2}, r)
		require.Equal(t, int64(3), c.leader().get(t, "k").Kvs[0].ModRevision)
	})
}

// An operation without a majority ends with an error that tells whether there may be an
// effect.
func TestExecuteWithoutMajority(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		leader := c.leader()
		for id := range c.members {
			if id != leader.id {
				c.stop(id)
			}
		}
		ctx, cancel := context.WithTimeout(c.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := leader.server.Execute(ctx, etcdapi.Write{Client: 1, Seq: 1, Op: kv.Put("k", "v")})
		require.ErrorIs(t, err, etcdapi.ErrOutcome)
		time.Sleep(time.Minute)
		for _, op := range []kv.Op{kv.Put("k", "v"), kv.Get("k")} {
			ctx, cancel := context.WithTimeout(c.Context(), time.Second)
			_, err = leader.server.Execute(ctx, etcdapi.Write{Op: op})
			cancel()
			require.ErrorIs(t, err, etcdapi.ErrNotAccepted)
		}
	})
}

// The alarm NOSPACE refuses writes that take space. A repeated write keeps its result.
func TestExecuteWithoutSpace(t *testing.T) {
	run(t, etcdapi.Config{Quota: 1000}, func(c *cluster) {
		m := c.leader()
		first := etcdapi.Write{Client: 1, Seq: 1, Op: kv.Put("k", string(make([]byte, 2000)))}
		_, err := m.server.Execute(c.Context(), first)
		require.NoError(t, err)
		_, err = m.server.Execute(c.Context(), etcdapi.Write{Client: 1, Seq: 2, Op: kv.Append("k", "x")})
		require.ErrorIs(t, err, etcdapi.ErrNoSpace)
		again, err := m.server.Execute(c.Context(), etcdapi.Write{Client: 1, Seq: 1, Op: first.Op})
		require.NoError(t, err)
		require.Equal(t, kv.Result{Version: 1}, again)
		_, err = m.server.Execute(c.Context(), etcdapi.Write{Client: 1, Seq: 2, Op: kv.Delete("k")})
		require.NoError(t, err)
		alarms, err := pb.NewMaintenanceClient(m.conn).Alarm(c.Context(), &pb.AlarmRequest{})
		require.NoError(t, err)
		require.Len(t, alarms.Alarms, 1)
	})
}
