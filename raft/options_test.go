package raft_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/raft"
)

// TestOpenRefusesBadOptions gives Open what makes no sense: the error names it.
func TestOpenRefusesBadOptions(t *testing.T) {
	peers := []*labrpc.ClientEnd{labrpc.MakeNetwork().MakeEnd(0)}
	applyCh := make(chan raft.ApplyMsg)
	for _, tc := range []struct {
		name    string
		me      int
		applyCh chan raft.ApplyMsg
		opts    raft.Options
		want    string
	}{
		{"me", 1, applyCh, raft.Options{}, "server 1"},
		{"negative me", -1, applyCh, raft.Options{}, "server -1"},
		{"no channel", 0, nil, raft.Options{}, "applyCh"},
		{"tick", 0, applyCh, raft.Options{TickInterval: -time.Second}, "TickInterval is -1s"},
		{"heartbeat", 0, applyCh, raft.Options{HeartbeatTicks: 40}, "HeartbeatTicks (40)"},
		{"election", 0, applyCh, raft.Options{ElectionTicks: -3}, "ElectionTicks is -3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			storage, err := raft.OpenPersister(raft.MakePersister())
			require.NoError(t, err)
			rf, err := raft.Open(peers, tc.me, storage, tc.applyCh, tc.opts)
			if err == nil {
				rf.Kill()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %q; want it to name %q", err, tc.want)
			}
		})
	}
}
