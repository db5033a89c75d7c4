// Package rsm has the interface of the replicated state machine, and nothing behind.
package rsm

import (
	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	raft "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

type Op struct{}

type StateMachine interface {
	DoOp(any) any
	Snapshot() []byte
	Restore([]byte)
}

type RSM struct{ rf raftapi.Raft }

func MakeRSM(servers []*labrpc.ClientEnd, me int, persister *tester.Persister, maxraftstate int, sm StateMachine) *RSM {
	return &RSM{raft.Make(servers, me, persister, make(chan raftapi.ApplyMsg))}
}

func (rsm *RSM) Raft() raftapi.Raft            { return rsm.rf }
func (rsm *RSM) Submit(req any) (rpc.Err, any) { return rpc.ErrWrongLeader, nil }
