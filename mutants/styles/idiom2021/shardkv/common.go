package shardkv

import "raftlab/shardctrler"

// Err is the outcome of an RPC.
type Err string

// The outcomes of RPCs.
const (
	OK             Err = "OK"
	ErrNoKey       Err = "ErrNoKey"
	ErrWrongGroup  Err = "ErrWrongGroup"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
	ErrNotReady    Err = "ErrNotReady"
)

// PutAppendArgs are the arguments of Put and Append.
type PutAppendArgs struct {
	Key       string
	Value     string
	Op        string // "Put" or "Append"
	ClientId  int64
	CommandId int
}

// PutAppendReply is the answer to Put and Append.
type PutAppendReply struct {
	Err Err
}

// GetArgs are the arguments of Get.
type GetArgs struct {
	Key       string
	ClientId  int64
	CommandId int
}

// GetReply is the answer to Get.
type GetReply struct {
	Err   Err
	Value string
}

// MigrateArgs ask the owner in configuration ConfigNum for a shard that the group has
// lost since.
type MigrateArgs struct {
	Shard     int
	ConfigNum int
}

// MigrateReply has the shard. It goes into the log of the new owner.
type MigrateReply struct {
	Err         Err
	Shard       int
	ConfigNum   int
	Data        map[string]string
	LastCommand map[int64]int
}

// CleanArgs tell the owner in configuration ConfigNum that the next one has the shard.
type CleanArgs struct {
	Shard     int
	ConfigNum int
}

// CleanReply is the answer to CleanArgs.
type CleanReply struct {
	Err Err
}

func key2shard(key string) int {
	shard := 0
	if len(key) > 0 {
		shard = int(key[0])
	}
	return shard % shardctrler.NShards
}
