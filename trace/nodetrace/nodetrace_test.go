package nodetrace_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/trace"
	"raftlab/trace/nodetrace"
)

// The page of a healthy cluster accuses nobody, and knows where each command is stored. A
// reply therefore belongs to its request.
func TestHealthyCluster(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rec := trace.NewRecorder(trace.Options{})
		tracer := nodetrace.New(rec, 1)
		net := memnet.New(memnet.Options{})
		var members []node.Member
		for id := core.NodeID(1); id <= 3; id++ {
			members = append(members, node.Member{ID: id, Address: fmt.Sprint(id)})
		}
		var nodes []*node.Node
		for _, m := range members {
			host := node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "healthy", Host: m.ID}), Transport: net.Join(m.ID), Trace: tracer.Hooks(), Observe: tracer.Observe(m.ID)}
			n, err := node.Start(host, node.Config{Members: members, StateMachine: nothing{}})
			require.NoError(t, err)
			defer n.Close()
			nodes = append(nodes, n)
		}
		_, err := nodes[0].ReadIndex(t.Context()) // waits for a leader
		require.NoError(t, err)
		leader, _ := nodes[0].Leader()
		for i := range 20 {
			_, err := nodes[leader-1].Propose(t.Context(), fmt.Append(nil, "command ", i))
			require.NoError(t, err)
		}
		run := rec.Recording()
		require.Empty(t, trace.Explain(run))
		stored := 0
		for _, l := range trace.Lives(run) {
			if len(l.Entries) > 0 && l.Entries[0].Committed {
				stored++
			}
		}
		require.Greater(t, stored, 18)
	})
}
