package core_test

import (
	"testing"

	"raftlab/raft/core"
)

// Thesis 4.1: a server that joins receives the configurations from before it was
// added. They do not remove it. One that comes after it was a member does.
func TestThesis4_1_JoiningServerIsNotRemovedByOlderConfigurations(t *testing.T) {
	c, err := core.New(core.Config{ID: 4, ElectionTicks: 10, HeartbeatTicks: 1, Rand: fixedRand{}}, core.Persistent{})
	if err != nil {
		t.Fatal(err)
	}
	configurations := []struct {
		voters  []core.NodeID
		removed bool
	}{
		{[]core.NodeID{1, 2, 3}, false},
		{[]core.NodeID{1, 2}, false},
		{[]core.NodeID{1, 2, 4}, false},
		{[]core.NodeID{1, 2, 3}, true},
	}
	prevTerm := uint64(0)
	for i, tt := range configurations {
		index := uint64(i) + 1
		cfg := core.Configuration{Voters: tt.voters}
		err := c.Step(core.Message{From: 1, To: 4, Body: &core.AppendEntries{
			Term: 1, LeaderID: 1, PrevLogIndex: index - 1, PrevLogTerm: prevTerm, LeaderCommit: index,
			Entries: []core.Entry{{Index: index, Term: 1, Type: core.ConfigurationEntry, Data: cfg.Encode()}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Saved(c.Ready())
		if got := c.Status().Removed; got != tt.removed {
			t.Errorf("behind the configuration %v: Removed is %t; want %t", cfg, got, tt.removed)
		}
		prevTerm = 1
	}
}

type fixedRand struct{}

func (fixedRand) IntN(int) int { return 0 }
