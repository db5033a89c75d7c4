package kvraft_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raftlab/internal/labtest"
)

// TestSnapshotRPC3B leaves a server behind until the missing log is gone. The server
// catches up with a snapshot.
func TestSnapshotRPC3B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const maxraftstate = 1000
		c := newCluster(t, 3, maxraftstate)
		defer c.watchState(maxraftstate)()
		k := c.clerk()
		k.put("a", "A")
		c.Leader()
		c.Partition([]int{0, 1})
		majority := c.clerk(0, 1)
		for i := range 50 {
			majority.put(fmt.Sprint(i), fmt.Sprint(i))
		}
		majority.put("b", "B")

		// Server 2 gets a snapshot; then it is in the majority.
		c.Heal()
		k.put("c", "C")
		time.Sleep(500 * time.Millisecond)
		c.Partition([]int{0, 2})
		other := c.clerk(0, 2)
		other.put("d", "D")
		for key, value := range map[string]string{"a": "A", "b": "B", "1": "1", "49": "49", "c": "C", "d": "D", "50": ""} {
			c.want(other, key, value)
		}
		c.Heal()
		k.put("e", "E")
		c.want(k, "c", "C")
		c.want(k, "e", "E")
		c.want(k, "1", "1")
		c.check()
	})
}

// TestSnapshotSize3B bounds the size of snapshots. A snapshot of one small key and
// one client stays small.
func TestSnapshotSize3B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const maxraftstate, maxsnapshot = 1000, 500
		c := newCluster(t, 3, maxraftstate)
		defer c.watchState(maxraftstate)()
		k := c.clerk()
		for range 200 {
			k.put("x", "0")
			c.want(k, "x", "0")
			k.put("x", "1")
			c.want(k, "x", "1")
		}
		switch size := c.SnapshotSize(); {
		case size == 0:
			t.Fatalf("no snapshot was taken with maxraftstate %d", maxraftstate)
		case size > maxsnapshot:
			t.Fatalf("a snapshot of one key and one client has %d bytes; want at most %d", size, maxsnapshot)
		}
	})
}

// TestSnapshotHoldsOneRecordAClient3B bounds the part of a client in a snapshot,
// whatever the number of its operations was.
func TestSnapshotHoldsOneRecordAClient3B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, 1000)
		const clerks = 20
		for range clerks {
			k := c.clerk()
			for range 10 {
				k.put("x", "a value that is not so short that it would not be noticed")
				k.get("x")
			}
		}
		if size := c.SnapshotSize(); size == 0 || size > 500+100*clerks {
			t.Fatalf("after %d clients a snapshot of one key has %d bytes", clerks, size)
		}
	})
}

// TestSpeed3B is TestSpeed3A with snapshots. Snapshots must not slow the operations
// down.
func TestSpeed3B(t *testing.T) { speed(t, 1000) }

// TestManyClerks3B runs five clerks on shared keys. The Raft state stays within
// eight times maxraftstate.
func TestManyClerks3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, shared: true}.run(t)
}

// TestUnreliable3B adds loss of messages to snapshots.
func TestUnreliable3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, unreliable: true}.run(t)
}

// TestRecoverOneClerk3B restarts all servers under one clerk. The servers recover
// from their snapshots.
func TestRecoverOneClerk3B(t *testing.T) {
	load{servers: 5, clerks: 1, maxraftstate: 1000, crash: true}.run(t)
}

// TestRecoverManyClerks3B restarts all servers under twenty clerks. The servers
// recover from their snapshots.
func TestRecoverManyClerks3B(t *testing.T) {
	load{servers: 5, clerks: 20, maxraftstate: 1000, crash: true}.run(t)
}

// TestUnreliableRecover3B restarts all servers from snapshots on a network that
// loses messages.
func TestUnreliableRecover3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, crash: true, unreliable: true}.run(t)
}

// TestOneWayRecover3B restarts all servers from snapshots while some servers hear
// others that do not hear them.
func TestOneWayRecover3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, crash: true, oneWay: true, unreliable: true}.run(t)
}

// TestUnreliableRecoverPartition3B restarts all servers from snapshots while
// partitions come and go and messages are lost.
func TestUnreliableRecoverPartition3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, crash: true, partition: true, unreliable: true}.run(t)
}

// TestLinearizable3B runs fifteen clerks on seven servers with snapshots, restarts,
// partitions and loss together, and checks that the history is linearizable.
func TestLinearizable3B(t *testing.T) {
	load{servers: 7, clerks: 15, maxraftstate: 1000, crash: true, partition: true, unreliable: true, shared: true}.run(t)
}

// TestReordered3B restarts all servers from snapshots while replies are lost and
// overtake each other.
func TestReordered3B(t *testing.T) {
	load{servers: 5, clerks: 5, maxraftstate: 1000, crash: true, unreliable: true, reordering: true, shared: true}.run(t)
}

// TestLogBound3B runs clerks without pauses, and crashes and restarts all servers.
// After the last operation the Raft state is within the bound of the course.
func TestLogBound3B(t *testing.T) {
	load{servers: 5, clerks: 20, maxraftstate: 1000, crash: true, busy: true}.run(t)
}

// TestEagerSnapshots3B sets bounds that each state exceeds, so that a service takes
// a snapshot at every chance. The service stays correct.
func TestEagerSnapshots3B(t *testing.T) {
	for _, maxraftstate := range []int{1, 100, 300} {
		t.Run(fmt.Sprint(maxraftstate), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				c := newCluster(t, 3, maxraftstate)
				k := c.clerk()
				var want strings.Builder
				for i := range 60 {
					if i%20 == 10 {
						c.Restart(c.All()...)
					}
					piece := fmt.Sprintf("(%d)", i)
					k.append("k", piece)
					want.WriteString(piece)
				}
				c.want(k, "k", want.String())
				time.Sleep(time.Second)
				if size := c.RaftStateSize(); size > 1000 {
					t.Fatalf("at rest the Raft state has %d bytes with maxraftstate %d", size, maxraftstate)
				}
				c.check()
			})
		})
	}
}

// TestRetryAfterRestoredSnapshot3B restarts all servers when the only record of a
// command is in a snapshot, and lets the clerk retry. The command takes effect once.
func TestRetryAfterRestoredSnapshot3B(t *testing.T) {
	for _, maxraftstate := range []int{1, 300} {
		t.Run(fmt.Sprint(maxraftstate), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) { retryAfterRestart(t, maxraftstate) })
		})
	}
}

// TestRetryAfterInstalledSnapshot3B makes a server the leader that knows a command
// only from an installed snapshot, and lets the clerk retry there. The command takes
// effect once.
func TestRetryAfterInstalledSnapshot3B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := newCluster(t, 3, 300)
		k, other := c.clerk(), c.clerk()
		k.append("k", "a")
		behind := c.Others(c.Leader())[0]
		ahead := c.Others(behind)
		c.Partition(ahead)
		done, answer := unanswered(c, k, "k", "b")
		for i := range 30 {
			other.put("other", fmt.Sprint(i))
		}
		c.Heal()
		other.put("other", "healed")
		time.Sleep(500 * time.Millisecond) // the snapshot is installed
		makeLeader(c, other, behind)
		k.Reach(behind)
		answer()
		c.ends("the append", operationLimit, done)
		c.want(k, "k", "ab")
		k.append("k", "c")
		c.want(k, "k", "abc")
		c.check()
	})
}

// makeLeader cuts off one leader after another until a server is the leader.
func makeLeader(c *cluster, k *clerk, want int) {
	c.t.Helper()
	for range 50 {
		leader := c.Leader()
		if leader == want {
			return
		}
		c.Partition(c.Others(leader))
		c.Leader(c.Others(leader)...)
		c.Heal()
		k.put("other", "a term")
	}
	c.t.Fatalf("server %d did not become the leader", want)
}
