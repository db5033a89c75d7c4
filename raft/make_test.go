package raft_test

import (
	"fmt"
	"strings"
	"testing"

	"raftlab/labrpc"
	"raftlab/raft"
)

func TestMakeNamesWhatIsWrong(t *testing.T) {
	peers, applyCh := make([]*labrpc.ClientEnd, 3), make(chan raft.ApplyMsg)
	corrupt := raft.MakePersister()
	corrupt.Save([]byte("no state of Raft"), nil)
	for want, start := range map[string]func(){
		"server 3 is not one of 3 peers":                     func() { raft.Make(peers, 3, raft.MakePersister(), applyCh) },
		"server -1 is not one of 3 peers":                    func() { raft.Make(peers, -1, raft.MakePersister(), applyCh) },
		"server 0 is not one of 0 peers":                     func() { raft.Make(nil, 0, raft.MakePersister(), applyCh) },
		"server 1: the persister is nil":                     func() { raft.Make(peers, 1, nil, applyCh) },
		"applyCh is nil":                                     func() { raft.Make(peers, 1, raft.MakePersister(), nil) },
		"the persisted Raft state (16 bytes) cannot be read": func() { raft.Make(peers, 1, corrupt, applyCh) },
	} {
		if got := panicOf(start); !strings.Contains(got, want) {
			t.Errorf("panic %q, want it to contain %q", got, want)
		}
	}
	if string(corrupt.ReadRaftState()) != "no state of Raft" {
		t.Error("a state that could not be read was overwritten")
	}
}

// panicOf returns what f panics with; "<nil>" if it returns.
func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}
