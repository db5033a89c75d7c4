package shardkv

import "raftlab/raft"

// RaftOf returns the Raft server beside kv, which a harness adds to its network.
func RaftOf(kv *ShardKV) *raft.Raft { return kv.rf }
