package kvraft

import "raftlab/raft"

// RaftOf returns the Raft server beside kv, which a harness adds to its network.
func RaftOf(kv *KVServer) *raft.Raft { return kv.rf }
