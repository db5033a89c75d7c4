package broadcast_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/protocols/broadcast"
	"raftlab/protocols/clocks"
	"raftlab/protocols/harness"
)

const size = 4

func start(c *harness.Cluster, g broadcast.Guarantee) []*broadcast.Node {
	nodes := make([]*broadcast.Node, size)
	for i := range nodes {
		nodes[i] = broadcast.New(g, c.Ends(i), i)
		c.Serve(i, nodes[i])
	}
	return nodes
}

func bodies(n *broadcast.Node) (all []string) {
	for _, m := range n.Delivered() {
		all = append(all, m.Body)
	}
	return all
}

// chatter broadcasts from random nodes, and returns for each message the messages
// delivered at the sender before, and the sender's own earlier messages.
func chatter(t *testing.T, c *harness.Cluster, nodes []*broadcast.Node) map[string][]string {
	const messages = 60
	causes := make(map[string][]string)
	own := make([][]string, size)
	for i := range messages {
		from := c.Rand.IntN(size)
		body := fmt.Sprint("m", i)
		causes[body] = append(bodies(nodes[from]), own[from]...)
		own[from] = append(own[from], body)
		nodes[from].Broadcast(body)
		time.Sleep(time.Duration(c.Rand.IntN(40)) * time.Millisecond)
	}
	for i, n := range nodes {
		harness.WaitFor(t, time.Minute, fmt.Sprint("all messages at node ", i), func() bool { return len(n.Delivered()) == messages })
		require.Len(t, causes, messages)
	}
	return causes
}

// disorder counts the deliveries of a message before one of its causes.
func disorder(nodes []*broadcast.Node, causes map[string][]string) (count int) {
	for _, n := range nodes {
		had := make(map[string]bool)
		for _, body := range bodies(n) {
			for _, cause := range causes[body] {
				if !had[cause] {
					count++
				}
			}
			had[body] = true
		}
	}
	return count
}

// A message of a crashed sender reaches all others or none. Best effort leaves the message
// at one node.
func TestAgreementAfterCrash(t *testing.T) {
	for g, want := range map[broadcast.Guarantee]int{broadcast.BestEffort: 0, broadcast.Reliable: 1, broadcast.Causal: 1} {
		harness.Run(t, size, func(t *testing.T, c *harness.Cluster) {
			c.SetFaults(harness.Lossy)
			nodes := start(c, g)
			c.Partition([]int{0, 1}, []int{2, 3})
			nodes[0].Broadcast("last words")
			harness.WaitFor(t, time.Minute, "delivery", func() bool { return len(nodes[1].Delivered()) == 1 })
			c.Crash(0)
			c.Heal()
			time.Sleep(time.Minute)
			require.Len(t, nodes[1].Delivered(), 1)
			require.Len(t, nodes[2].Delivered(), want)
			require.Len(t, nodes[3].Delivered(), want)
		})
	}
}

// Causal order holds with the guarantees Causal and Total. Best effort breaks the order.
func TestCausalOrder(t *testing.T) {
	for _, g := range []broadcast.Guarantee{broadcast.BestEffort, broadcast.Causal, broadcast.Total} {
		harness.Run(t, size, func(t *testing.T, c *harness.Cluster) {
			c.SetFaults(harness.Lossy)
			nodes := start(c, g)
			wrong := disorder(nodes, chatter(t, c, nodes))
			require.Equal(t, g == broadcast.BestEffort, wrong > 0, "guarantee %d: %d messages before a cause", g, wrong)
		})
	}
}

// An answer that overtakes its question waits for the question. Reliable broadcast does not wait.
func TestAnswerWaits(t *testing.T) {
	for g, want := range map[broadcast.Guarantee][]string{
		broadcast.Reliable: {"answer", "question"}, broadcast.Causal: {"question", "answer"},
	} {
		harness.Run(t, size, func(t *testing.T, c *harness.Cluster) {
			node := start(c, g)[3]
			question := broadcast.Message{From: 0, Number: 1, Body: "question", Clock: clocks.Vector{1, 0, 0, 0}}
			answer := broadcast.Message{From: 1, Number: 1, Body: "answer", Clock: clocks.Vector{1, 1, 0, 0}}
			for _, m := range []broadcast.Message{answer, question, answer} {
				node.Receive(broadcast.Packet{Via: m.From, Message: m}, new(bool))
			}
			require.Equal(t, want, bodies(node))
		})
	}
}

// Total order is one order on all nodes. Causal order leaves concurrent messages in
// different orders.
func TestTotalOrder(t *testing.T) {
	for _, g := range []broadcast.Guarantee{broadcast.Causal, broadcast.Total} {
		harness.Run(t, size, func(t *testing.T, c *harness.Cluster) {
			c.SetFaults(harness.Lossy)
			nodes := start(c, g)
			chatter(t, c, nodes)
			equal := true
			for _, n := range nodes[1:] {
				equal = equal && reflect.DeepEqual(bodies(n), bodies(nodes[0]))
			}
			require.Equal(t, g == broadcast.Total, equal)
		})
	}
}

// Total order without consensus stops at the first crash.
func TestTotalOrderBlocks(t *testing.T) {
	harness.Run(t, size, func(t *testing.T, c *harness.Cluster) {
		nodes := start(c, broadcast.Total)
		c.Crash(3)
		nodes[0].Broadcast("hello")
		time.Sleep(time.Minute)
		require.Empty(t, nodes[0].Delivered())
		require.Empty(t, nodes[1].Delivered())
	})
}
