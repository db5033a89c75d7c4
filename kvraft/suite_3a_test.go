package kvraft_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// TestBasic3A uses Get, Put and Append with two clerks, missing keys, empty keys and
// values, and a long value.
func TestBasic3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k, other := c.clerk(), c.clerk()
		c.want(k, "a", "")
		k.append("a", "x")
		c.want(other, "a", "x")
		other.append("a", "y")
		c.want(k, "a", "xy")
		k.put("a", "z")
		c.want(other, "a", "z")
		k.put("a", "")
		c.want(k, "a", "")
		k.append("", "the empty key")
		c.want(other, "", "the empty key")
		long := strings.Repeat("0123456789", 10_000)
		k.put("long", long)
		c.want(other, "long", long)
		c.want(other, "b", "")
		c.check()
	})
}

// speed runs operations one after another; each must take less than the third
// part of a usual heartbeat interval.
func speed(t *testing.T, maxraftstate int) {
	labtest.Run(t, func(t *testing.T) {
		const operations = 400
		c := newCluster(t, 3, maxraftstate)
		k := c.clerk()
		k.get("x") // elects a leader
		var want strings.Builder
		begin := time.Now()
		for i := range operations {
			value := fmt.Sprintf("x 0 %d y", i)
			k.append("x", value)
			want.WriteString(value)
		}
		took := time.Since(begin)
		c.want(k, "x", want.String())
		if took > operations*33*time.Millisecond {
			t.Fatalf("%d operations took %v; want at most 33 ms each", operations, took)
		}
	})
}

// TestSpeed3A runs operations one after another. Each must end well before the next
// heartbeat, so a command may not wait for a heartbeat.
func TestSpeed3A(t *testing.T) { speed(t, -1) }

// TestOneClerk3A runs one clerk on a good network, and checks that the history is
// linearizable.
func TestOneClerk3A(t *testing.T) { load{servers: 5, clerks: 1}.run(t) }

// TestManyClerks3A runs five clerks, each on a key of its own, and checks that the
// history is linearizable.
func TestManyClerks3A(t *testing.T) { load{servers: 5, clerks: 5}.run(t) }

// TestManyClerksSharedKeys3A runs five clerks on shared keys, and checks that the
// history is linearizable.
func TestManyClerksSharedKeys3A(t *testing.T) { load{servers: 5, clerks: 5, shared: true}.run(t) }

// TestUnreliableManyClerks3A runs five clerks on a network that loses and delays
// messages.
func TestUnreliableManyClerks3A(t *testing.T) {
	load{servers: 5, clerks: 5, unreliable: true}.run(t)
}

// TestReorderedManyClerks3A runs five clerks on shared keys while replies are lost
// and overtake each other.
func TestReorderedManyClerks3A(t *testing.T) {
	load{servers: 5, clerks: 5, unreliable: true, reordering: true, shared: true}.run(t)
}

// TestManyPartitionsOneClerk3A runs one clerk while partitions between the servers
// come and go.
func TestManyPartitionsOneClerk3A(t *testing.T) {
	load{servers: 5, clerks: 1, partition: true}.run(t)
}

// TestManyPartitionsManyClerks3A runs five clerks on shared keys while partitions
// between the servers come and go.
func TestManyPartitionsManyClerks3A(t *testing.T) {
	load{servers: 5, clerks: 5, partition: true, shared: true}.run(t)
}

// TestOneWayPartitions3A runs five clerks while servers hear some servers that do
// not hear them.
func TestOneWayPartitions3A(t *testing.T) {
	load{servers: 5, clerks: 5, oneWay: true, shared: true}.run(t)
}

// TestPersistOneWayUnreliable3A adds restarts of all servers and loss of messages to
// cuts in one direction.
func TestPersistOneWayUnreliable3A(t *testing.T) {
	load{servers: 5, clerks: 5, oneWay: true, crash: true, unreliable: true}.run(t)
}

// TestPersistOneClerk3A restarts all servers under one clerk. No acknowledged
// operation is lost.
func TestPersistOneClerk3A(t *testing.T) { load{servers: 5, clerks: 1, crash: true}.run(t) }

// TestPersistManyClerks3A restarts all servers under five clerks on shared keys. No
// acknowledged operation is lost.
func TestPersistManyClerks3A(t *testing.T) {
	load{servers: 5, clerks: 5, crash: true, shared: true}.run(t)
}

// TestPersistUnreliable3A restarts all servers under five clerks on a network that
// loses messages.
func TestPersistUnreliable3A(t *testing.T) {
	load{servers: 5, clerks: 5, crash: true, unreliable: true}.run(t)
}

// TestPersistPartition3A restarts all servers while partitions come and go.
func TestPersistPartition3A(t *testing.T) {
	load{servers: 5, clerks: 5, crash: true, partition: true}.run(t)
}

// TestPersistPartitionUnreliable3A restarts all servers while partitions come and go
// and messages are lost.
func TestPersistPartitionUnreliable3A(t *testing.T) {
	load{servers: 5, clerks: 5, crash: true, partition: true, unreliable: true}.run(t)
}

// TestLinearizable3A runs fifteen clerks on seven servers with restarts, partitions
// and loss together, and checks that the history is linearizable.
func TestLinearizable3A(t *testing.T) {
	load{servers: 7, clerks: 15, crash: true, partition: true, unreliable: true, shared: true}.run(t)
}

// TestUnreliableOneKey3A lets clerks append to one key at the same time. Each value
// is there once, and the values of each clerk are in order.
func TestUnreliableOneKey3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		c.Net.Reliable(false)
		const clerks, each = 5, 10
		first := c.clerk()
		var working []chan struct{}
		for i := range clerks {
			k := c.clerk()
			working = append(working, background(func() {
				for j := range each {
					k.append("k", fmt.Sprintf("x %d %d y", i, j))
				}
			}))
		}
		c.ends("the appends", 3*operationLimit, working...)
		value := first.get("k")
		for i := range clerks {
			last := -1
			for j := range each {
				piece := fmt.Sprintf("x %d %d y", i, j)
				at := strings.Index(value, piece)
				switch {
				case at < 0:
					t.Fatalf("%q is missing in %q", piece, value)
				case strings.LastIndex(value, piece) != at:
					t.Fatalf("%q is twice in %q", piece, value)
				case at < last:
					t.Fatalf("%q is out of order in %q", piece, value)
				}
				last = at
			}
		}
		c.check()
	})
}

// TestOnePartition3A splits the servers. The majority serves, the minority does not,
// and waiting requests to the minority end after the partition.
func TestOnePartition3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 5, -1)
		all := c.clerk()
		all.put("1", "13")
		old := c.Leader()
		others := c.Others(old)
		minority, majority := []int{old, others[0]}, others[1:]
		c.Partition(majority, minority)
		here, there, reader := c.clerk(majority...), c.clerk(minority...), c.clerk(minority...)
		here.put("1", "14")
		c.want(here, "1", "14")

		put := background(func() { there.put("1", "15") })
		get := background(func() { reader.get("1") })
		c.pending("a put was done in a minority", time.Second, put)
		c.pending("a get was done in a minority", time.Second, get)
		here.put("1", "16")
		c.want(here, "1", "16")

		c.Heal()
		there.Reach()
		reader.Reach()
		c.ends("what was asked of the minority", operationLimit, put, get)
		c.want(all, "1", "15")
		c.check()
	})
}

// TestStaleReadAtDeposedLeader3A asks a leader that does not know its successor yet.
// The old leader must not answer from its own state.
func TestStaleReadAtDeposedLeader3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for range 5 {
			c := newCluster(t, 3, -1)
			writer := c.clerk()
			writer.put("k", "old")
			old := c.Leader()
			reader := c.clerk(old)
			c.want(reader, "k", "old") // it knows the leader
			c.Partition(c.Others(old), []int{old})
			writer.Reach(c.Others(old)...)
			late := c.clerk(old)
			get := background(func() { reader.get("k") })
			writer.put("k", "new")
			again := background(func() { late.get("k") })
			c.pending("a deposed leader answered a get", 2*time.Second, get)
			c.pending("a deposed leader answered a get", 0, again)
			c.Heal()
			reader.Reach()
			late.Reach()
			c.ends("the gets", operationLimit, get, again)
			c.check()
			c.Shutdown()
		}
	})
}

// answersNothing breaks the network around a leader that two clerks know, and
// fails the test if it then answers them before the network is mended.
func answersNothing(t *testing.T, n int, broken func(c *cluster, leader int)) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, n, -1)
		first := c.clerk()
		first.put("k", "1")
		leader := c.Leader()
		reader, writer := c.clerk(leader), c.clerk(leader)
		c.want(reader, "k", "1")
		c.want(writer, "k", "1")
		broken(c, leader)
		get := background(func() { reader.get("k") })
		put := background(func() { writer.append("k", "2") })
		c.pending("a leader without a majority answered a get", 2*time.Second, get)
		c.pending("a leader without a majority answered an append", 0, put)
		c.Heal()
		reader.Reach()
		writer.Reach()
		c.ends("the operations", operationLimit, get, put)
		c.want(first, "k", "12")
		c.check()
	})
}

// TestNothingWithoutQuorum3A cuts a leader off from the majority. The leader must
// answer nothing, neither at once nor later.
func TestNothingWithoutQuorum3A(t *testing.T) {
	answersNothing(t, 5, func(c *cluster, leader int) {
		c.Partition([]int{leader, c.Others(leader)[0]})
	})
}

// TestLeaderHearsNobody3A lets the messages of a leader arrive, and drops all
// replies to the leader. The leader must answer nothing.
func TestLeaderHearsNobody3A(t *testing.T) {
	answersNothing(t, 3, func(c *cluster, leader int) {
		for _, i := range c.Others(leader) {
			c.CutOneWay(i, leader, true)
		}
	})
}

// TestLeaderFails3A crashes leaders and measures how long the clerk waits.
func TestLeaderFails3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		for i := range 5 {
			k.append("k", fmt.Sprint(i))
			leader := c.Leader()
			c.Crash(leader)
			begin := time.Now()
			c.Leader(c.Others(leader)...)
			elected := time.Since(begin)
			k.append("k", "x")
			if took := time.Since(begin) - elected; took > time.Second {
				t.Fatalf("the first operation took %v after the election, which took %v", took, elected)
			}
			c.Restart(leader)
		}
		c.want(k, "k", "0x1x2x3x4x")
		c.check()
	})
}

// TestRestartWithNothingToSay3A restarts all servers several times without a write
// between the restarts. Acknowledged values must be readable each time.
func TestRestartWithNothingToSay3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		k.put("k", "v")
		for range 5 {
			c.Restart(c.All()...)
			get := background(func() { c.want(k, "k", "v") })
			c.ends("a get after the restart of all", operationLimit, get)
		}
		c.check()
	})
}

// lostReplies is a rule by which requests arrive, and replies do not come back
// while lose says so.
func lostReplies(lose func() bool) func(labrpc.Message) labrpc.Decision {
	return func(m labrpc.Message) labrpc.Decision {
		if m.Reply && lose() {
			return labrpc.Never()
		}
		return labrpc.Usual()
	}
}

// TestRetriesTakeEffectOnce3A loses two of three replies to a clerk. Each request
// arrives, and each retry must have no second effect.
func TestRetriesTakeEffectOnce3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		var replies atomic.Int64
		k.Direct(lostReplies(func() bool { return replies.Add(1)%7%3 != 0 }))
		want := ""
		for i := range 30 {
			piece := fmt.Sprintf("(%d)", i)
			k.append("k", piece)
			want += piece
		}
		c.want(k, "k", want)
		c.check()
	})
}

// TestDuplicatedRequests3A delivers each request of a clerk twice, at once or after
// the reply. The second delivery must have no effect.
func TestDuplicatedRequests3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		k.Direct(func(m labrpc.Message) labrpc.Decision { return labrpc.Twice() })
		want := ""
		for i := range 30 {
			piece := fmt.Sprintf("(%d)", i)
			k.append("k", piece)
			want += piece
		}
		c.want(k, "k", want)
		// And copies that arrive late, after later operations of the clerk.
		c.Net.SetScheduler(nil)
		c.Net.SetFaults(labrpc.Faults{Duplicate: 0.5, MaxDelay: 50 * time.Millisecond})
		for i := range 30 {
			piece := fmt.Sprintf("[%d]", i)
			k.append("k", piece)
			want += piece
		}
		time.Sleep(time.Second)
		c.want(k, "k", want)
		c.check()
	})
}

// unanswered lets a clerk append to a key so that the append commits and no
// reply reaches the clerk until answer is called.
func unanswered(c *cluster, k *clerk, key, piece string) (done chan struct{}, answer func()) {
	c.t.Helper()
	var lose atomic.Bool
	lose.Store(true)
	k.Direct(lostReplies(lose.Load))
	done = background(func() { k.append(key, piece) })
	witness := c.clerk()
	for begin := time.Now(); !strings.Contains(witness.get(key), piece); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > operationLimit {
			c.t.Fatalf("append of %q to %q: not done within %v", piece, key, operationLimit)
		}
	}
	return done, func() { lose.Store(false) }
}

// TestRetryAtAnotherLeader3A loses a reply, and lets the clerk retry at the next
// leader. The command takes effect once.
func TestRetryAtAnotherLeader3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		k.append("k", "a")
		done, answer := unanswered(c, k, "k", "b")
		old := c.Leader()
		c.Partition(c.Others(old))
		k.Reach(c.Others(old)...)
		answer()
		c.ends("the append", operationLimit, done)
		c.want(k, "k", "ab")
		c.check()
	})
}

// TestRetryAfterRestart3A loses a reply and restarts all servers before the retry.
// The command takes effect once.
func TestRetryAfterRestart3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) { retryAfterRestart(t, -1) })
}

func retryAfterRestart(t *testing.T, maxraftstate int) {
	c := newCluster(t, 3, maxraftstate)
	k, other := c.clerk(), c.clerk()
	k.append("k", "a")
	done, answer := unanswered(c, k, "k", "b")
	for i := range 20 {
		other.put("other", fmt.Sprint(i))
	}
	c.Restart(c.All()...)
	answer()
	c.ends("the append", operationLimit, done)
	c.want(k, "k", "ab")
	k.append("k", "c")
	c.want(k, "k", "abc")
	c.check()
}

// TestRetryBeforeTheFirstCommits3A lets the clerk retry while the first copy of the
// command is in the log without a commit. The log then has the command twice, and
// the command takes effect once.
func TestRetryBeforeTheFirstCommits3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, -1)
		k := c.clerk()
		k.append("k", "a")
		old := c.Leader()
		const twice = "twice in the log"
		var holding atomic.Bool
		var replicates atomic.Value // the method whose requests carry entries, whatever its name is
		c.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			if !m.Reply && strings.HasPrefix(m.Method, "Raft.") && bytes.Contains(m.Bytes(), []byte(twice)) {
				replicates.Store(m.Method)
			}
			if holding.Load() && m.Reply && m.Method == replicates.Load() {
				return labrpc.Never() // leaders commit nothing
			}
			return labrpc.Usual()
		})
		holding.Store(true)
		done := background(func() { k.append("k", twice) })
		time.Sleep(60 * time.Millisecond)
		c.Partition(c.Others(old))
		k.Reach(c.Others(old)...)
		c.Leader(c.Others(old)...)
		time.Sleep(100 * time.Millisecond) // the clerk has found it
		holding.Store(false)
		c.ends("the append", operationLimit, done)
		c.want(k, "k", "a"+twice)
		c.check()
		if replicates.Load() == nil {
			t.Skip("not applicable: no request between the servers carries the command")
		}
	})
}

// TestAnotherCommandAtTheIndex3A lets an old leader log a command, and its successor
// commit another command at the same index. The old leader then applies the other
// command, and must not take it for the one of its client.
func TestAnotherCommandAtTheIndex3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for range 4 {
			c := newCluster(t, 3, -1)
			first := c.clerk()
			first.append("k", "a")
			first.put("other", "b")
			old := c.Leader()
			lost, reader := c.clerk(old), c.clerk(old)
			c.want(lost, "other", "b") // they know the leader
			c.want(reader, "other", "b")
			c.Partition(c.Others(old))
			next := c.clerk(c.Leader(c.Others(old)...))
			put := background(func() { lost.append("k", "c") })
			time.Sleep(time.Millisecond)
			get := background(func() { c.want(reader, "other", "b") })
			time.Sleep(time.Millisecond)
			next.append("k", "d")
			next.append("k", "e")
			c.Heal() // and the old leader hears of its successor before its handlers give up
			time.Sleep(300 * time.Millisecond)
			lost.Reach()
			reader.Reach()
			c.ends("the operations", operationLimit, put, get)
			value := first.get("k")
			for _, piece := range []string{"a", "c", "d", "e"} {
				if strings.Count(value, piece) != 1 {
					t.Fatalf("the key has the value %q, and %q was appended once and acknowledged", value, piece)
				}
			}
			c.check()
			c.Shutdown()
		}
	})
}
