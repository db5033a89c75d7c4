// Package raft has the interface of raft1, and nothing behind.
package raft

import (
	"raftlab/labrpc"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

type Raft struct{}

func Make(peers []*labrpc.ClientEnd, me int, persister *tester.Persister, applyCh chan raftapi.ApplyMsg) raftapi.Raft {
	return &Raft{}
}

func (rf *Raft) Start(command any) (int, int, bool)  { return -1, -1, true }
func (rf *Raft) GetState() (int, bool)               { return 0, false }
func (rf *Raft) Snapshot(index int, snapshot []byte) {}
func (rf *Raft) PersistBytes() int                   { return 0 }
func (rf *Raft) Kill()                               {}
