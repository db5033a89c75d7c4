package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtrace"
	"raftlab/labrpc"
	"raftlab/trace"
	"raftlab/y2025/kvraft1"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// In a recording the operations of a clerk stand on the lane of the clerk's messages, so
// the life of an operation leads from the call through the log to the answer.
func TestClerkHasOneLane(t *testing.T) {
	Run(t, func(t *testing.T, l *Lab) {
		g := l.StartGroup(tester.GRP0, 3, func(ends []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister) []tester.IService {
			return kvraft.StartKVServer(ends, gid, me, persister, -1)
		})
		client := l.NewClient()
		require.EqualValues(t, rpc.OK, l.Clerk(client, kvraft.MakeClerk(client.Clnt, g.Names())).Put("k", "v", 0))
		run := l.Recording.Recorder.Recording()
		labtrace.AddHistory(run, model, l.history.all(), l.start.Sub(l.Recording.Start()), l.history.lane)
		labtrace.Describe(run)
		var clients []string
		for _, lane := range run.Lanes {
			if lane.Kind == trace.Client {
				clients = append(clients, lane.Name)
			}
		}
		require.Equal(t, []string{client.Lane()}, clients)
		for _, life := range trace.Lives(run) {
			if life.Client == client.Lane() {
				require.Equal(t, `put("k", "v", version 0)`, life.Command)
				require.Len(t, life.Entries, 1)
				require.True(t, life.Entries[0].Committed)
				return
			}
		}
		t.Fatal("the operation has no life")
	})
}
