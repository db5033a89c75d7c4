package nodetrace_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/trace"
	"raftlab/trace/nodetrace"
)

// The page of a healthy cluster accuses nobody, and knows where each command is stored. A
// reply therefore belongs to its request.
func TestHealthyCluster(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rec := trace.NewRecorder(trace.Options{})
		nodes, err := start(nodetrace.New(rec, 1))
		for _, n := range nodes {
			defer n.Close()
		}
		require.NoError(t, err)
		_, err = nodes[0].ReadIndex(t.Context()) // waits for a leader
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
