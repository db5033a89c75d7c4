package kvraft_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	kvraft "raftlab/y2025/kvraft1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// The suite uses what the course gives to students and nothing more, so another
// implementation can take the place of package kvraft.

func TestMain(m *testing.M) { labrun.Main(m) }

// A cluster is a group of servers of the service.
type cluster struct {
	*shardlab.Group
	l *lab.Lab
}

// run runs a test with a group of n servers.
func run(t *testing.T, n, maxraftstate int, body func(t *testing.T, c *cluster)) {
	t.Helper()
	lab.Run(t, func(t *testing.T, l *lab.Lab) {
		start := func(ends []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister) []tester.IService {
			return kvraft.StartKVServer(ends, gid, me, persister, maxraftstate)
		}
		body(t, &cluster{l.StartGroup(tester.GRP0, n, start), l})
	})
}

// clerk returns a clerk with connections of its own.
func (c *cluster) clerk() (*lab.Clerk, *lab.Client) {
	client := c.l.NewClient()
	return c.l.Clerk(client, kvraft.MakeClerk(client.Clnt, c.Names())), client
}

func (c *cluster) others(but int) (ids []int) {
	for i := range c.N() {
		if i != but {
			ids = append(ids, i)
		}
	}
	return ids
}

// TestVersions4B makes Puts with right and wrong versions through two clerks.
func TestVersions4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		other, client := c.clerk()
		k.Want("a", "", 0)
		other.Want("a", "", 0) // finds the leader
		var requests atomic.Int32
		c.l.Direct(client, func(m labrpc.Message) labrpc.Decision {
			if !m.Reply {
				requests.Add(1)
			}
			return labrpc.Usual()
		})
		// A clerk that calls a second server after ErrWrongLeader may take the outcome for
		// open. After one request with a reply the outcome is not open.
		refused := func(version rpc.Tversion, want rpc.Err) {
			t.Helper()
			requests.Store(0)
			if err := other.Put("a", "wrong", version); err != want && (err != rpc.ErrMaybe || requests.Load() == 1) {
				t.Fatalf("Put with version %d is %q after %d requests; want %q", version, err, requests.Load(), want)
			}
		}
		refused(3, rpc.ErrNoKey)
		k.Write("a", "x", 0)
		other.Want("a", "x", 1)
		refused(0, rpc.ErrVersion)
		refused(2, rpc.ErrVersion)
		k.Want("a", "x", 1)
		other.Write("a", "y", 1)
		k.Want("a", "y", 2)
		k.Write("a", "", 2)
		other.Want("a", "", 3)
		k.Write("", "the empty key", 0)
		other.Want("", "the empty key", 1)
		long := strings.Repeat("0123456789", 10_000)
		k.Write("long", long, 0)
		other.Want("long", long, 1)
	})
}

// speed makes operations one after another. Each ends well before the next heartbeat of
// a leader, so a request waits for no heartbeat.
func speed(t *testing.T, maxraftstate int) {
	run(t, 3, maxraftstate, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		k.Get("x") // elects a leader
		const operations = 300
		start := time.Now()
		for version := range rpc.Tversion(operations) {
			k.Write("x", fmt.Sprint(version), version)
		}
		if took := time.Since(start); took > operations*33*time.Millisecond {
			t.Fatalf("%d operations took %v; want at most 33 ms each", operations, took)
		}
	})
}

// TestSpeed4B makes Puts one after another. Each ends before the next heartbeat.
func TestSpeed4B(t *testing.T) { speed(t, -1) }

// TestSpeed4C is TestSpeed4B with snapshots.
func TestSpeed4C(t *testing.T) { speed(t, 1000) }

// A load is what clerks do while things happen to the servers.
type load struct {
	servers, clerks int
	maxraftstate    int
	unreliable      bool
	reordering      bool
	crash           bool // all servers
	partition       bool
}

// run runs the load for two rounds.
func (o load) run(t *testing.T) {
	if o.maxraftstate == 0 {
		o.maxraftstate = -1
	}
	run(t, o.servers, o.maxraftstate, func(t *testing.T, c *cluster) {
		c.l.Net.Reliable(!o.unreliable)
		c.l.Net.LongReordering(o.reordering)
		w := c.l.Start(lab.Load{Clerks: o.clerks, Pause: 30 * time.Millisecond, Clerk: func(client *lab.Client) kvtest.IKVClerk {
			return kvraft.MakeClerk(client.Clnt, c.Names())
		}})
		for range 2 {
			o.round(c)
		}
		w.Stop()
		for i := range c.N() {
			switch disk := c.Disk(i); {
			case o.maxraftstate < 0 && disk.SnapshotSize() > 0:
				t.Errorf("server %d has a snapshot of %d bytes with maxraftstate -1", i, disk.SnapshotSize())
			case o.maxraftstate > 0 && disk.RaftStateSize() > 8*o.maxraftstate:
				t.Errorf("when every operation is done, the Raft state of server %d has %d bytes with maxraftstate %d", i, disk.RaftStateSize(), o.maxraftstate)
			}
		}
	})
}

// round is what happens to the servers in a round.
func (o load) round(c *cluster) {
	rng := testkit.Rand(c.l.T)
	if o.partition {
		for range 3 {
			sides := make([]int, c.N())
			for i := range sides {
				sides[i] = rng.IntN(2)
			}
			c.Partition(sides...)
			time.Sleep(time.Duration(200+rng.IntN(1200)) * time.Millisecond)
		}
		c.Heal()
	} else if o.reordering {
		time.Sleep(6 * time.Second) // replies take up to 2.2 s
	} else {
		time.Sleep(600 * time.Millisecond)
	}
	if o.crash {
		c.CrashAll()
		time.Sleep(300 * time.Millisecond)
		c.StartAll()
		time.Sleep(300 * time.Millisecond)
	}
}

// TestOneClerk4B runs one clerk on a good network.
func TestOneClerk4B(t *testing.T) { load{servers: 5, clerks: 1}.run(t) }

// TestManyClerks4B runs five clerks on a good network. The history is linearizable.
func TestManyClerks4B(t *testing.T) { load{servers: 5, clerks: 5}.run(t) }

// TestUnreliable4B runs five clerks on a network that loses messages and delays replies.
func TestUnreliable4B(t *testing.T) {
	load{servers: 5, clerks: 5, unreliable: true, reordering: true}.run(t)
}

// TestPartitions4B runs clerks while partitions between the servers come and go.
func TestPartitions4B(t *testing.T) { load{servers: 5, clerks: 5, partition: true}.run(t) }

// TestRestarts4B restarts all servers under the clerks. No acknowledged Put is lost.
func TestRestarts4B(t *testing.T) { load{servers: 5, clerks: 5, crash: true}.run(t) }

// TestEverything4B adds restarts, partitions and loss of messages.
func TestEverything4B(t *testing.T) {
	load{servers: 5, clerks: 5, unreliable: true, partition: true, crash: true}.run(t)
}

// TestManyClerks4C runs clerks while servers take snapshots. The Raft state stays small.
func TestManyClerks4C(t *testing.T) { load{servers: 3, clerks: 5, maxraftstate: 1000}.run(t) }

// TestRestarts4C restarts all servers, which restore their snapshots.
func TestRestarts4C(t *testing.T) {
	load{servers: 3, clerks: 5, maxraftstate: 1000, crash: true}.run(t)
}

// TestEverything4C adds restarts, partitions and loss of messages to snapshots.
func TestEverything4C(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, unreliable: true, partition: true, crash: true}.run(t)
}

// lost decides by a condition whether replies to a client are lost.
func lost(lose func() bool) func(labrpc.Message) labrpc.Decision {
	return func(m labrpc.Message) labrpc.Decision {
		if m.Reply && lose() {
			return labrpc.Never()
		}
		return labrpc.Usual()
	}
}

// TestLostReply4B loses the replies to a Put until the Put has taken effect. The clerk
// cannot know the outcome, which is ErrMaybe.
func TestLostReply4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		k, client := c.clerk()
		witness, _ := c.clerk()
		k.Write("k", "a", 0)
		var lose atomic.Bool
		lose.Store(true)
		c.l.Direct(client, lost(lose.Load))
		put := lab.Go(func() { k.WantPut("k", "b", 1, rpc.ErrMaybe) })
		c.awaitValue(witness, "k", "b")
		time.Sleep(100 * time.Millisecond) // for the reply, which may be later than the effect
		lose.Store(false)
		c.l.Await("the Put", lab.OperationLimit, put)
		k.Want("k", "b", 2)
		k.Write("k", "c", 2)
	})
}

// awaitValue waits until a key has a value.
func (c *cluster) awaitValue(k *lab.Clerk, key, value string) {
	c.l.T.Helper()
	found := lab.Go(func() {
		for {
			if got, _, _ := k.Get(key); got == value {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	c.l.Await(fmt.Sprintf("a Get of %q", value), lab.OperationLimit, found)
}

// TestRetryAtTheNextLeader4B loses the reply to a Put, and lets the clerk retry at the
// next leader, which has the Put in its log. The outcome is ErrMaybe, and the Put takes
// effect once.
func TestRetryAtTheNextLeader4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		k, client := c.clerk()
		witness, _ := c.clerk()
		k.Write("k", "a", 0)
		var lose atomic.Bool
		lose.Store(true)
		c.l.Direct(client, lost(lose.Load))
		put := lab.Go(func() { k.WantPut("k", "b", 1, rpc.ErrMaybe) })
		c.awaitValue(witness, "k", "b")
		leader, term := c.l.AwaitLeader(c.Group), c.Term()
		lab.Isolate(c.Group, leader)
		c.l.NewLeader(c.Group, leader, term)
		lose.Store(false)
		c.l.Await("the Put", lab.OperationLimit, put)
		k.Want("k", "b", 2)
	})
}

// TestPutOfADeposedLeader4B deposes a leader whose followers have a Put in their logs. The
// leader cannot know whether the Put commits, and the next leader commits it. So the
// outcome is ErrMaybe.
func TestPutOfADeposedLeader4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		k.Write("k", "a", 0)
		old := c.l.AwaitLeader(c.Group)
		var carried atomic.Int32
		c.l.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			ofOld := strings.HasPrefix(fmt.Sprint(m.End), c.Names()[old]+">")
			switch {
			case !ofOld:
				return labrpc.Usual()
			case m.Reply || carried.Load() >= 2: // the leader commits nothing, and then falls silent
				return labrpc.Never()
			case strings.Contains(string(m.Bytes()), "the new value"):
				carried.Add(1)
			}
			return labrpc.Usual()
		})
		var err rpc.Err
		put := lab.Go(func() { err = k.Put("k", "the new value", 1) })
		c.l.Await("the Put", lab.OperationLimit, put)
		c.l.Net.SetScheduler(nil)
		switch err {
		case rpc.ErrMaybe:
		case rpc.OK:
			t.Skip("not applicable: the Put reached no log of a follower, or the clerk called no other leader")
		default:
			t.Fatalf("Put is %q, and it may have taken effect; want %q", err, rpc.ErrMaybe)
		}
		k.Want("k", "the new value", 2)
	})
}

// TestRetryAfterARestart4C loses the reply to a Put, and restarts all servers, which
// restore snapshots. The outcome is ErrMaybe, and the Put takes effect once.
func TestRetryAfterARestart4C(t *testing.T) {
	run(t, 3, 500, func(t *testing.T, c *cluster) {
		k, client := c.clerk()
		witness, _ := c.clerk()
		k.Write("k", "a", 0)
		var lose atomic.Bool
		lose.Store(true)
		c.l.Direct(client, lost(lose.Load))
		put := lab.Go(func() { k.WantPut("k", "b", 1, rpc.ErrMaybe) })
		c.awaitValue(witness, "k", "b")
		for version := range rpc.Tversion(40) {
			witness.Put("other", fmt.Sprint(version), version)
		}
		time.Sleep(time.Second)
		if c.Disk(0).SnapshotSize() == 0 {
			t.Fatal("no snapshot was taken")
		}
		c.CrashAll()
		c.StartAll()
		lose.Store(false)
		c.l.Await("the Put", lab.OperationLimit, put)
		k.Want("k", "b", 2)
		k.Want("other", "39", 40)
	})
}

// TestNothingWithoutAMajority4B isolates the leader with a clerk. No operation ends
// there, and the clerk finds the new leader after the partition.
func TestNothingWithoutAMajority4B(t *testing.T) {
	run(t, 5, -1, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		k.Write("k", "a", 0)
		leader, term := c.l.AwaitLeader(c.Group), c.Term()
		friend := c.others(leader)[0]
		minority, _ := c.clerk()
		lab.Sides(c.Group, 0, leader, friend) // clients reach the minority
		put := lab.Go(func() { minority.Put("k", "b", 1) })
		get := lab.Go(func() { minority.Get("k") })
		c.l.Pending("a Put ended in a minority", 2*time.Second, put)
		c.l.Pending("a Get ended in a minority", time.Second, get)
		if c.Term() == term {
			t.Fatal("the majority has elected no leader")
		}
		c.Heal()
		c.l.Await("the operations, after the partition", lab.OperationLimit, put, get)
		after := lab.Go(func() { k.Get("k") })
		c.l.Await("a Get", lab.OperationLimit, after)
	})
}

// TestNoStaleRead4B isolates the leader, and writes at the next leader. A Get at the old
// leader does not return the old value.
func TestNoStaleRead4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		k.Write("k", "old", 0)
		leader, term := c.l.AwaitLeader(c.Group), c.Term()
		stale, _ := c.clerk()
		lab.Isolate(c.Group, leader)
		c.l.NewLeader(c.Group, leader, term)
		put := lab.Go(func() { k.Put("k", "new", 1) })
		c.l.Await("a Put in the majority", lab.OperationLimit, put)
		lab.Sides(c.Group, 0, leader) // clients reach the old leader alone
		get := lab.Go(func() { stale.Get("k") })
		time.Sleep(time.Second)
		c.Heal()
		c.l.Await("the Get, after the partition", lab.OperationLimit, get)
	})
}

// TestSnapshotSize4C writes one small key many times. A snapshot has the key once.
func TestSnapshotSize4C(t *testing.T) {
	run(t, 3, 1000, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		for version := range rpc.Tversion(200) {
			k.Put("x", fmt.Sprint(version), version)
		}
		time.Sleep(time.Second)
		for i := range c.N() {
			if size := c.Disk(i).SnapshotSize(); size == 0 || size > 500 {
				t.Errorf("server %d has a snapshot of %d bytes for one small key; want 1 to 500", i, size)
			}
		}
	})
}

// TestSnapshotOfTheLeader4C cuts a follower off until the log that the follower lacks is
// gone. Later the follower must answer with the state of the leader's snapshot.
func TestSnapshotOfTheLeader4C(t *testing.T) {
	run(t, 3, 1000, func(t *testing.T, c *cluster) {
		k, _ := c.clerk()
		k.Write("k", "a", 0)
		leader := c.l.AwaitLeader(c.Group)
		slow := c.others(leader)[0]
		lab.Isolate(c.Group, slow)
		for version := range rpc.Tversion(60) {
			k.Put("x", fmt.Sprint(version), version)
		}
		time.Sleep(time.Second)
		c.Heal()
		time.Sleep(2 * time.Second)
		leader = c.l.AwaitLeader(c.Group)
		for _, i := range c.others(slow) {
			if i != leader {
				lab.Isolate(c.Group, i) // the majority needs the slow server
			}
		}
		get := lab.Go(func() { k.Want("x", "59", 60); k.Write("x", "60", 60) })
		c.l.Await("operations with the slow server", lab.OperationLimit, get)
		c.CrashAll()
		c.Heal()
		c.StartAll()
		again := lab.Go(func() { k.Want("x", "60", 61); k.Want("k", "a", 1) })
		c.l.Await("Gets after a restart", lab.OperationLimit, again)
	})
}
