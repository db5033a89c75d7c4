package paxos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/protocols/harness"
	"raftlab/protocols/paxos"
)

// start starts the nodes with new disks.
func start(c *harness.Cluster, forgetful bool) ([]*paxos.Node, []*paxos.Disk) {
	nodes, disks := make([]*paxos.Node, c.Size()), make([]*paxos.Disk, c.Size())
	for i := range nodes {
		disks[i] = &paxos.Disk{}
		nodes[i] = paxos.New(c.Ends(i), i, disks[i])
		nodes[i].Forgetful = forgetful
		c.Serve(i, nodes[i])
	}
	return nodes, disks
}

// disagreements counts the slots with two values.
func disagreements(nodes []*paxos.Node) (count int) {
	values := make(map[int]string)
	for _, n := range nodes {
		for slot, value := range n.Log() {
			if known, ok := values[slot]; ok && known != value {
				count++
			}
			values[slot] = value
		}
	}
	return count
}

// compete lets three nodes append at once on a lossy network, and reports the completed
// appends.
func compete(c *harness.Cluster, nodes []*paxos.Node) int {
	var mu sync.Mutex
	done := 0
	var wg sync.WaitGroup
	for i := range 3 {
		choose := rand.New(rand.NewPCG(uint64(c.Net.Seed()), uint64(i)))
		wg.Go(func() {
			for k := range 8 {
				if _, ok := nodes[i].AppendRetry(fmt.Sprintf("%d-%d", i, k), time.Minute, choose.IntN); ok {
					mu.Lock()
					done++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return done
}

// Proposers compete, messages get lost, and a node crashes and comes back with its disk. No
// slot gets two values, and every command is chosen.
func TestAgreement(t *testing.T) {
	harness.Run(t, 5, func(t *testing.T, c *harness.Cluster) {
		nodes, disks := start(c, false)
		c.SetFaults(harness.Lossy)
		require.Equal(t, 24, compete(c, nodes))
		c.Crash(4)
		old := nodes[4]
		nodes[4] = paxos.New(c.Ends(4), 4, disks[4])
		c.Serve(4, nodes[4])
		_, ok := nodes[4].AppendRetry("afterwards", time.Minute, c.Rand.IntN)
		require.True(t, ok)
		require.GreaterOrEqual(t, len(nodes[4].Log()), 25, "the new node has learned the log by proposing")
		require.Zero(t, disagreements(append(nodes, old)))
	})
}

// A proposer that ignores the votes in promises overwrites a chosen value.
func TestForgetfulProposerDisagrees(t *testing.T) {
	harness.Run(t, 5, func(t *testing.T, c *harness.Cluster) {
		nodes, _ := start(c, true)
		c.Partition([]int{0, 1, 2}, []int{3, 4})
		_, ok := nodes[0].Append("first")
		require.True(t, ok)
		c.Partition([]int{2, 3, 4}, []int{0, 1})
		nodes[4].AppendRetry("second", time.Second, c.Rand.IntN)
		require.Positive(t, disagreements(nodes))
	})
}

// The run of the forgetful proposer is harmless with a correct one. The value of slot 0
// survives in node 2, and the second command gets slot 1.
func TestChosenValueSurvives(t *testing.T) {
	harness.Run(t, 5, func(t *testing.T, c *harness.Cluster) {
		nodes, _ := start(c, false)
		c.Partition([]int{0, 1, 2}, []int{3, 4})
		_, ok := nodes[0].Append("first")
		require.True(t, ok)
		c.Partition([]int{2, 3, 4}, []int{0, 1})
		slot, ok := nodes[4].AppendRetry("second", time.Second, c.Rand.IntN)
		require.True(t, ok)
		require.Equal(t, 1, slot)
		require.Equal(t, map[int]string{0: "first", 1: "second"}, nodes[4].Log())
	})
}

// A leader needs one round a command. The first command needs two rounds.
func TestLeaderSkipsPhaseOne(t *testing.T) {
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		nodes, _ := start(c, false)
		calls := func(command string) int {
			before := c.Net.GetTotalCount()
			_, ok := nodes[0].Append(command)
			require.True(t, ok)
			time.Sleep(time.Second)
			return c.Net.GetTotalCount() - before
		}
		require.Equal(t, 3+3+2, calls("a"), "Prepare, Accept, Learn")
		require.Equal(t, 3+2, calls("b"), "Accept, Learn")
	})
}

// Two proposers without luck pre-empt each other. Each Prepare comes between the two phases of
// the other proposer, and nothing is chosen. Consensus terminates only with luck or timing
// (Fischer, Lynch and Paterson 1985).
func TestDuel(t *testing.T) {
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		nodes, _ := start(c, false)
		for round := 1; round <= 20; round++ {
			for i := range 2 {
				ballot := paxos.Ballot{Round: 2*round + i, Node: i}
				var promise paxos.PrepareReply
				require.True(t, c.Ends(i)[2].Call("Node.Prepare", paxos.PrepareArgs{Ballot: ballot}, &promise))
				require.True(t, promise.OK)
				var accept paxos.AcceptReply
				require.True(t, c.Ends(1 - i)[2].Call("Node.Accept", paxos.AcceptArgs{Ballot: paxos.Ballot{Round: 2*round + i - 1, Node: 1 - i}, Value: "x"}, &accept))
				require.False(t, accept.OK)
			}
		}
		require.Empty(t, nodes[2].Log())
		_, ok := nodes[0].AppendRetry("calm", time.Minute, c.Rand.IntN)
		require.True(t, ok)
	})
}

// A proposer that crashes and returns uses none of its earlier ballots again, although its own
// acceptor has seen none of them. With one ballot for two values, acceptors would
// report different values of the same ballot, and a later proposer would pick either.
func TestBallotsOutliveACrash(t *testing.T) {
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		nodes, disks := start(c, false)
		reach := func(prepare, accept []int) { // of the next command
			c.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
				allowed := map[string][]int{"Node.Prepare": prepare, "Node.Accept": accept}[m.Method]
				if m.Reply || slices.Contains(allowed, m.Server.(int)) {
					return labrpc.Usual()
				}
				return labrpc.Never()
			})
		}
		reach([]int{1, 2}, []int{1})
		_, ok := nodes[0].Append("first")
		require.False(t, ok, "one acceptor has accepted the command")
		c.Crash(0)
		nodes[0] = paxos.New(c.Ends(0), 0, disks[0])
		c.Serve(0, nodes[0])
		reach([]int{0, 2}, []int{0, 2})
		_, ok = nodes[0].AppendRetry("second", time.Minute, c.Rand.IntN)
		require.True(t, ok)
		reach([]int{1, 2}, []int{1, 2})
		for _, n := range nodes[1:] {
			_, ok = n.AppendRetry("third", time.Minute, c.Rand.IntN)
			require.True(t, ok)
		}
		require.Equal(t, "second", nodes[0].Log()[0])
		require.Zero(t, disagreements(nodes))
	})
}

// A crashed proposer sends nothing more and leaves the disk alone.
func TestClosedNodeProposesNothing(t *testing.T) {
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		nodes, _ := start(c, false)
		_, ok := nodes[0].Append("first")
		require.True(t, ok)
		nodes[0].Close()
		time.Sleep(time.Second)
		before := c.Net.GetTotalCount()
		_, ok = nodes[0].Append("second")
		require.False(t, ok)
		require.Equal(t, before, c.Net.GetTotalCount())
	})
}
