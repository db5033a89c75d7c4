package kvraft_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft"
	"raftlab/rsm"
	rsmclerk "raftlab/rsm/clerk"
	"raftlab/rsm/labraft"
)

// What the service offers beyond the lab.

// opened is a cluster of servers that were started with options of their own.
type opened struct {
	*labtest.Service
	servers []*kvraft.KVServer // the newest incarnation of each
}

func openCluster(t *testing.T, n int, opts kvraft.Options) *opened {
	t.Helper()
	o := &opened{servers: make([]*kvraft.KVServer, n)}
	launch := func(ends []*labrpc.ClientEnd, me int, persister *raft.Persister) labtest.Host {
		opts.Snapshot = persister.ReadSnapshot()
		rf, log := labraft.Start(func(applyCh chan raft.ApplyMsg) *raft.Raft {
			return raft.Make(ends, me, persister, applyCh)
		})
		server, err := kvraft.Open(log, opts)
		require.NoError(t, err)
		o.servers[me] = server
		return labtest.Host{Services: []any{server, rf}, Kill: server.Kill, State: rf.GetState}
	}
	o.Service = labtest.NewService(t, n, launch)
	return o
}

func TestClerkBeyondTheLab(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{Limits: kv.Limits{Key: 10, Value: 20}})
		ck := kvraft.MakeClerk(o.Client().Ends)
		ctx := t.Context()
		must := func(r kv.Result, err error) kv.Result {
			t.Helper()
			require.NoError(t, err)
			return r
		}
		if r := must(ck.PutIf(ctx, "k", "1", 0)); r.Code != kv.OK || r.Version == 0 {
			t.Fatalf("PutIf of a new key: %+v", r)
		}
		r := must(ck.Do(ctx, kv.Get("k")))
		if again := must(ck.PutIf(ctx, "k", "2", 0)); again.Code != kv.VersionMismatch || again.Version != r.Version {
			t.Fatalf("PutIf of a key that is there: %+v", again)
		}
		if next := must(ck.PutIf(ctx, "k", "2", r.Version)); next.Code != kv.OK || next.Version <= r.Version {
			t.Fatalf("PutIf of the right version: %+v", next)
		}
		must(ck.Do(ctx, kv.Put("l", "3")))
		if all := must(ck.Scan(ctx, "", "", 0)); len(all.Pairs) != 2 || all.Pairs[0].Value != "2" || all.Pairs[1].Key != "l" {
			t.Fatalf("Scan: %+v", all)
		}
		if r := must(ck.Delete(ctx, "k")); r.Code != kv.OK {
			t.Fatalf("Delete: %+v", r)
		}
		if r := must(ck.Delete(ctx, "k")); r.Code != kv.NotFound {
			t.Fatalf("Delete again: %+v", r)
		}
		if r := must(ck.Do(ctx, kv.Put("a key too long", ""))); r.Code != kv.TooLarge {
			t.Fatalf("Put over the limit: %+v", r)
		}
	})
}

func TestClerkContextEnds(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		client := o.Client()
		ck := kvraft.MakeClerk(client.Ends)
		ck.Put("k", "1")
		client.Cut()
		for _, op := range []kv.Op{kv.Append("k", "2"), kv.Get("k")} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begin := time.Now()
			_, err := ck.Do(ctx, op)
			cancel()
			if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 1100*time.Millisecond {
				t.Fatalf("%v without servers: %v after %v", op.Kind, err, took)
			}
		}
		client.Reach()
		if got := ck.Get("k"); got != "1" && got != "12" {
			t.Fatalf("the value is %q", got)
		}
		ck.Append("k", "3")
	})
}

// A clerk whose very first write was given up starts with a session that the
// servers know.
func TestFirstWriteGivenUp(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		client := o.Client(-1)
		ck := kvraft.MakeClerk(client.Ends)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := ck.Do(ctx, kv.Append("k", "1")); err == nil {
			t.Fatal("a write without servers was done")
		}
		client.Reach()
		ck.Append("k", "2")
		if got := ck.Get("k"); got != "2" {
			t.Fatalf("the value is %q", got)
		}
	})
}

// TestLateCopyOfAnEndedSessionsWrite: the network may keep a copy of a client's
// first write until the client has ended its session.
func TestLateCopyOfAnEndedSessionsWrite(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		ck := kvraft.MakeClerk(o.Client().Ends)
		ck.Get("k")
		leader, ctx := o.servers[o.Leader()], t.Context()
		const client = 77
		_, err := leader.Do(ctx, client, 1, kv.Append("k", "once"))
		require.NoError(t, err)
		require.NoError(t, leader.EndSession(ctx, client))
		if _, err := leader.Do(ctx, client, 1, kv.Append("k", "once")); !errors.Is(err, rsm.ErrSessionExpired) {
			t.Errorf("the late copy: %v; want %v", err, rsm.ErrSessionExpired)
		}
		if got := ck.Get("k"); got != "once" {
			t.Errorf("the value is %q", got)
		}
	})
}

func TestClerkCloseEndsItsSession(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		ck := kvraft.MakeClerk(o.Client().Ends)
		ck.Get("k")
		leader := o.servers[o.Leader()]
		if n := leader.Status().Sessions; n != 0 {
			t.Fatalf("%d sessions after a read", n)
		}
		ck.Put("k", "1")
		if n := leader.Status().Sessions; n != 1 {
			t.Fatalf("%d sessions after a write", n)
		}
		require.NoError(t, ck.Close(t.Context()))
		if _, err := ck.Do(t.Context(), kv.Put("k", "2")); !errors.Is(err, rsmclerk.ErrClosed) {
			t.Fatalf("a write after Close: %v", err)
		}
	})
}

// A clerk that was idle while its session ended goes on in a new one.
func TestClerkOutlivesItsSession(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{MaxSessions: 2, MaxRaftState: 500})
		idle := kvraft.MakeClerk(o.Client().Ends)
		idle.Append("k", "a")
		idle.Append("k", "b")
		for range 3 {
			kvraft.MakeClerk(o.Client().Ends).Append("k", "-")
		}
		if n := o.servers[o.Leader()].Status().Sessions; n != 2 {
			t.Fatalf("%d sessions, want 2", n)
		}
		idle.Append("k", "c")
		if got := idle.Get("k"); got != "ab---c" {
			t.Fatalf("the value is %q", got)
		}
	})
}

// A call to a dead server may take 7 s; a clerk must not.
func TestDeadServersDoNotStallAClerk(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 5, kvraft.Options{})
		ck := kvraft.MakeClerk(o.Client().Ends)
		ck.Put("k", "1")
		o.Net.LongDelays(true)
		old := o.Leader()
		o.Crash(old, o.Others(old)[0])
		o.Leader()
		for range 10 {
			for _, ck := range []*kvraft.Clerk{ck, kvraft.MakeClerk(o.Client().Ends)} {
				begin := time.Now()
				ck.Append("k", "x")
				if took := time.Since(begin); took > 500*time.Millisecond {
					t.Fatalf("an append took %v", took)
				}
			}
		}
	})
}

func TestDo(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		ck := kvraft.MakeClerk(o.Client().Ends)
		ck.Put("k", "")
		ctx := t.Context()
		leader := o.Leader()
		server, other := o.servers[leader], o.servers[o.Others(leader)[0]]
		cases := []struct {
			server      *kvraft.KVServer
			client, seq uint64
			op          kv.Op
			err         error
		}{
			{server, 7, 1, kv.Append("k", "a"), nil},
			{server, 7, 1, kv.Append("k", "a"), nil},
			{server, 7, 2, kv.Append("k", "b"), nil},
			{server, 7, 1, kv.Append("k", "a"), rsm.ErrStale},
			{server, 8, 2, kv.Append("k", "x"), rsm.ErrSessionExpired},
			{server, 8, 0, kv.Append("k", "x"), rsm.ErrInvalid},
			{server, 8, 0, kv.Get("k"), nil}, // reads have no session
			{other, 8, 1, kv.Append("k", "x"), rsm.ErrNotLeader},
			{other, 0, 0, kv.Get("k"), rsm.ErrNotLeader},
		}
		for i, c := range cases {
			if _, err := c.server.Do(ctx, c.client, c.seq, c.op); !errors.Is(err, c.err) {
				t.Errorf("case %d: %v, want %v", i, err, c.err)
			}
		}
		if got := ck.Get("k"); got != "ab" {
			t.Errorf("the value is %q", got)
		}
		require.NoError(t, server.EndSession(ctx, 7))
		if _, err := server.Do(ctx, 7, 3, kv.Append("k", "c")); !errors.Is(err, rsm.ErrSessionExpired) {
			t.Errorf("after EndSession: %v", err)
		}
		st := server.Status()
		if !st.IsLeader || st.Term < 1 || st.Applied < 4 || st.Keys != 1 || st.Err != nil {
			t.Errorf("Status: %+v", st)
		}
		server.Kill()
		server.Wait()
		if _, err := server.Do(ctx, 0, 0, kv.Get("k")); !errors.Is(err, rsm.ErrStopped) {
			t.Errorf("after Kill: %v", err)
		}
	})
}

// After a restart of all, what was committed is applied on every server though
// no client says anything (section 8).
func TestRestartAppliesWithoutAClient(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		o := openCluster(t, 3, kvraft.Options{})
		kvraft.MakeClerk(o.Client().Ends).Put("k", "1")
		o.Restart(o.All()...)
		testkit.WaitFor(t, 5*time.Second, "the key on every server", func() bool {
			for _, s := range o.servers {
				if s.Status().Keys != 1 {
					return false
				}
			}
			return true
		})
	})
}

// stoppedLog is a log that counts Stop.
type stoppedLog struct {
	rsm.Log
	stops int
}

func (l *stoppedLog) Stop() { l.stops++ }

// Open stops the log of a server that cannot start.
func TestOpenFails(t *testing.T) {
	for _, opts := range []kvraft.Options{
		{Snapshot: []byte("x")},
		{MaxInFlightBytes: -1},
	} {
		var log stoppedLog
		_, err := kvraft.Open(&log, opts)
		require.Error(t, err)
		require.Equal(t, 1, log.stops)
	}
}

// Clerks use everything that there is, while servers crash and messages are
// lost: what they see is what one store would answer.
func TestVersionsAreLinearizable(t *testing.T) {
	for _, scans := range []bool{false, true} {
		t.Run(fmt.Sprintf("scans=%v", scans), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) { versionsLinearizable(t, scans) })
		})
	}
}

func versionsLinearizable(t *testing.T, scans bool) {
	o := openCluster(t, 5, kvraft.Options{MaxRaftState: 1000})
	o.Net.Reliable(false)
	const clerks = 4
	each := 60
	if scans {
		each = 15 // such a history is checked as a whole
	}
	histories := make([][]porcupine.Operation, clerks)
	var working []chan struct{}
	start := time.Now()
	for i := range clerks {
		ck := kvraft.MakeClerk(o.Client().Ends)
		rng := rand.New(rand.NewPCG(uint64(testkit.Seed(t)), uint64(i)))
		working = append(working, background(func() {
			known := map[string]uint64{}
			for j := range each {
				histories[i] = append(histories[i], versionedOperation(t, ck, rng, start, i, j, known, scans))
			}
		}))
	}
	for range 3 {
		time.Sleep(time.Second)
		o.Restart(o.Leader())
	}
	for _, done := range working {
		<-done
	}
	var history []porcupine.Operation
	for _, h := range histories {
		history = append(history, h...)
	}
	if result, _ := porcupine.CheckOperationsVerbose(models.KVStore, history, 0); result != porcupine.Ok {
		t.Fatalf("the history of %d operations is %v", len(history), result)
	}
}

// versionedOperation carries out a random operation, and returns it as the model
// sees it.
func versionedOperation(t *testing.T, ck *kvraft.Clerk, rng *rand.Rand, start time.Time, client, n int, known map[string]uint64, scans bool) porcupine.Operation {
	key, value := fmt.Sprint("k", rng.IntN(2)), fmt.Sprintf("%d.%d ", client, n)
	in := models.VersionedInput{Key: key, Value: value}
	var op kv.Op
	switch choice := rng.IntN(10); {
	case scans && choice < 2:
		in, op = models.VersionedInput{Op: models.VersionedScan}, kv.Scan("", "", 0)
	case choice < 4:
		in, op = models.VersionedInput{Op: models.VersionedGet, Key: key}, kv.Get(key)
	case choice < 5:
		in.Op, op = models.VersionedPut, kv.Put(key, value)
	case choice < 7:
		in.Op, op = models.VersionedAppend, kv.Append(key, value)
	case choice < 8:
		in, op = models.VersionedInput{Op: models.VersionedDelete, Key: key}, kv.Delete(key)
	default:
		in.Op, in.Version, op = models.VersionedCAS, known[key], kv.Put(key, value).IfVersion(known[key])
	}
	call := int64(time.Since(start))
	r, err := ck.Do(context.Background(), op)
	if err != nil { // a goroutine of a clerk runs this
		t.Errorf("%v of %q: %v", op.Kind, key, err)
	}
	known[key] = r.Version
	out := models.VersionedOutput{Value: r.Value, Version: r.Version, OK: r.Code == kv.OK}
	if op.Kind == kv.KindScan {
		out = models.VersionedOutput{Scan: map[string]string{}}
		for _, p := range r.Pairs {
			out.Scan[p.Key] = p.Value
		}
	}
	return porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: int64(time.Since(start))}
}
