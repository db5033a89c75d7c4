// Package shardrpc has the requests and replies between a shard controller and a shard
// group. Num is the number of the configuration in which the shard gets another group.
package shardrpc

import (
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
)

// FreezeShardArgs asks the old group of a shard to refuse writes, and for the state.
type FreezeShardArgs struct {
	Shard shardcfg.Tshid
	Num   shardcfg.Tnum
}

// FreezeShardReply has the state of the shard.
type FreezeShardReply struct {
	State []byte
	Num   shardcfg.Tnum
	Err   rpc.Err
}

// InstallShardArgs gives a shard to its new group.
type InstallShardArgs struct {
	Shard shardcfg.Tshid
	State []byte
	Num   shardcfg.Tnum
}

// InstallShardReply is the reply of the new group.
type InstallShardReply struct {
	Err rpc.Err
}

// DeleteShardArgs asks the old group of a shard to delete the frozen shard.
type DeleteShardArgs struct {
	Shard shardcfg.Tshid
	Num   shardcfg.Tnum
}

// DeleteShardReply is the reply of the old group.
type DeleteShardReply struct {
	Err rpc.Err
}
