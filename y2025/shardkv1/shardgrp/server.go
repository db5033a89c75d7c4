package shardgrp

import (
	"fmt"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/internal/group"
	"raftlab/y2025/internal/versions"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

// KVServer is one server of a group.
type KVServer struct {
	rsm    *rsm.RSM
	shards [shardcfg.NShards]shard // used by the rsm alone
}

var _ rsm.StateMachine = (*KVServer)(nil)

// StartServerShardGrp starts the server me of a group from the contents of persister,
// and returns without waiting. The group [shardcfg.Gid1] begins with all shards, and any
// other group without a shard. With a positive maxraftstate a snapshot replaces the log
// when the log reaches so many bytes.
func StartServerShardGrp(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	for _, request := range []any{rpc.GetArgs{}, rpc.PutArgs{}, shardrpc.FreezeShardArgs{}, shardrpc.InstallShardArgs{}, shardrpc.DeleteShardArgs{}} {
		labgob.Register(request)
	}
	kv := &KVServer{}
	if gid == shardcfg.Gid1 {
		for s := range kv.shards {
			kv.shards[s] = shard{Phase: serving, Store: make(versions.Store)}
		}
	}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}

// DoOp implements rsm.StateMachine.
func (kv *KVServer) DoOp(req any) any {
	switch args := req.(type) {
	case rpc.GetArgs:
		s := &kv.shards[shardcfg.Key2Shard(args.Key)]
		if s.Phase != serving {
			return rpc.GetReply{Err: rpc.ErrWrongGroup}
		}
		return s.Store.Get(args)
	case rpc.PutArgs:
		s := &kv.shards[shardcfg.Key2Shard(args.Key)]
		if s.Phase != serving {
			return rpc.PutReply{Err: rpc.ErrWrongGroup}
		}
		return s.Store.Put(args)
	case shardrpc.FreezeShardArgs:
		s := &kv.shards[args.Shard]
		state, err := s.freeze(args.Num)
		return shardrpc.FreezeShardReply{State: state, Num: s.Num, Err: err}
	case shardrpc.InstallShardArgs:
		return shardrpc.InstallShardReply{Err: kv.shards[args.Shard].install(args.State, args.Num)}
	case shardrpc.DeleteShardArgs:
		return shardrpc.DeleteShardReply{Err: kv.shards[args.Shard].remove(args.Num)}
	}
	panic(fmt.Sprintf("shardgrp: a request of type %T", req))
}

// Snapshot implements rsm.StateMachine.
func (kv *KVServer) Snapshot() []byte { return versions.Encode(kv.shards[:]) }

// Restore implements rsm.StateMachine.
func (kv *KVServer) Restore(data []byte) {
	var shards []shard
	if err := versions.Decode(data, &shards); err != nil || len(shards) != len(kv.shards) {
		panic(fmt.Sprintf("shardgrp: restoring a snapshot of %d bytes with %d shards: %v", len(data), len(shards), err))
	}
	for i := range shards {
		if shards[i].Store == nil { // an empty map does not travel
			shards[i].Store = make(versions.Store)
		}
	}
	copy(kv.shards[:], shards)
}

// execute submits a request and copies the result into the reply.
func execute[R any](kv *KVServer, req any, reply *R) rpc.Err {
	result, err := group.Submit(kv.rsm, req)
	if err == rpc.OK {
		*reply = result.(R)
	}
	return err
}

// Get is the RPC handler that reads a key.
func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	if err := execute(kv, *args, reply); err != rpc.OK {
		reply.Err = rpc.ErrWrongLeader // a Get without an answer has no effect
	}
}

// Put is the RPC handler that sets a key's value if the key has the expected version.
func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	if err := execute(kv, *args, reply); err != rpc.OK {
		reply.Err = err
	}
}

// FreezeShard is the RPC handler that freezes a shard and returns the state.
func (kv *KVServer) FreezeShard(args *shardrpc.FreezeShardArgs, reply *shardrpc.FreezeShardReply) {
	if err := execute(kv, *args, reply); err != rpc.OK {
		reply.Err = err
	}
}

// InstallShard is the RPC handler that makes the group serve a shard.
func (kv *KVServer) InstallShard(args *shardrpc.InstallShardArgs, reply *shardrpc.InstallShardReply) {
	if err := execute(kv, *args, reply); err != rpc.OK {
		reply.Err = err
	}
}

// DeleteShard is the RPC handler that deletes a frozen shard.
func (kv *KVServer) DeleteShard(args *shardrpc.DeleteShardArgs, reply *shardrpc.DeleteShardReply) {
	if err := execute(kv, *args, reply); err != rpc.OK {
		reply.Err = err
	}
}

// Kill stops the server, and returns without waiting.
func (kv *KVServer) Kill() { group.Kill(kv.rsm) }
