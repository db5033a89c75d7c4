package shardkv

import "raftlab/mutants/student/shardctrler"

// Err is the outcome of a request.
type Err string

// The outcomes.
const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader" // ask another server
	ErrWrongGroup  Err = "ErrWrongGroup"  // ask the controller for the group of the shard
	ErrNotReady    Err = "ErrNotReady"    // the shard, or the configuration, is not here yet
)

// OpArgs asks for one operation. Client and Seq identify the operation, so that a repeated
// request takes effect once.
type OpArgs struct {
	Kind   string // "Get", "Put" or "Append"
	Key    string
	Value  string
	Client int64
	Seq    int64
}

// OpReply answers a request.
type OpReply struct {
	Err   Err
	Value string
}

// key2shard returns the shard of a key.
func key2shard(key string) int {
	shard := 0
	if len(key) > 0 {
		shard = int(key[0])
	}
	return shard % shardctrler.NShards
}
