// Package shardgrp has one map for all keys, and an array with the state of each shard.
package shardgrp

import (
	"bytes"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

type Entry struct {
	Value   string
	Version rpc.Tversion
}

type Shard struct {
	Owned  bool
	Frozen bool
	Num    shardcfg.Tnum // of the last change of the shard
}

type KVServer struct {
	rsm    *rsm.RSM
	data   map[string]Entry
	shards [shardcfg.NShards]Shard
}

func (kv *KVServer) serves(key string) bool {
	s := kv.shards[shardcfg.Key2Shard(key)]
	return s.Owned && !s.Frozen
}

func (kv *KVServer) DoOp(req any) any {
	switch args := req.(type) {
	case rpc.GetArgs:
		if !kv.serves(args.Key) {
			return rpc.GetReply{Err: rpc.ErrWrongGroup}
		}
		if e, ok := kv.data[args.Key]; ok {
			return rpc.GetReply{Value: e.Value, Version: e.Version, Err: rpc.OK}
		}
		return rpc.GetReply{Err: rpc.ErrNoKey}
	case rpc.PutArgs:
		if !kv.serves(args.Key) {
			return rpc.PutReply{Err: rpc.ErrWrongGroup}
		}
		e, ok := kv.data[args.Key]
		if !ok && args.Version != 0 {
			return rpc.PutReply{Err: rpc.ErrNoKey}
		}
		if e.Version != args.Version {
			return rpc.PutReply{Err: rpc.ErrVersion}
		}
		kv.data[args.Key] = Entry{args.Value, args.Version + 1}
		return rpc.PutReply{Err: rpc.OK}
	case shardrpc.FreezeShardArgs:
		return kv.freeze(args)
	case shardrpc.InstallShardArgs:
		s := &kv.shards[args.Shard]
		if args.Num < s.Num {
			return shardrpc.InstallShardReply{Err: rpc.ErrWrongGroup}
		}
		if args.Num > s.Num {
			*s = Shard{Owned: true, Num: args.Num}
			for key, e := range decode(args.State) {
				kv.data[key] = e
			}
		}
		return shardrpc.InstallShardReply{Err: rpc.OK}
	case shardrpc.DeleteShardArgs:
		s := &kv.shards[args.Shard]
		if args.Num < s.Num {
			return shardrpc.DeleteShardReply{Err: rpc.ErrWrongGroup}
		}
		*s = Shard{Num: args.Num}
		for key := range kv.data {
			if shardcfg.Key2Shard(key) == args.Shard {
				delete(kv.data, key)
			}
		}
		return shardrpc.DeleteShardReply{Err: rpc.OK}
	}
	return nil
}

func (kv *KVServer) freeze(args shardrpc.FreezeShardArgs) shardrpc.FreezeShardReply {
	s := &kv.shards[args.Shard]
	if args.Num < s.Num {
		return shardrpc.FreezeShardReply{Err: rpc.ErrWrongGroup, Num: s.Num}
	}
	s.Num, s.Frozen = args.Num, s.Owned
	content := make(map[string]Entry)
	for key, e := range kv.data {
		if shardcfg.Key2Shard(key) == args.Shard {
			content[key] = e
		}
	}
	return shardrpc.FreezeShardReply{State: encode(content), Num: args.Num, Err: rpc.OK}
}

func encode(content map[string]Entry) []byte {
	w := new(bytes.Buffer)
	labgob.NewEncoder(w).Encode(content)
	return w.Bytes()
}

func decode(data []byte) map[string]Entry {
	content := make(map[string]Entry)
	if len(data) > 0 && labgob.NewDecoder(bytes.NewBuffer(data)).Decode(&content) != nil {
		panic("a bad shard")
	}
	return content
}

func (kv *KVServer) Snapshot() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(kv.data)
	e.Encode(kv.shards)
	return w.Bytes()
}

func (kv *KVServer) Restore(data []byte) {
	d := labgob.NewDecoder(bytes.NewBuffer(data))
	content := make(map[string]Entry)
	var shards [shardcfg.NShards]Shard
	if d.Decode(&content) != nil || d.Decode(&shards) != nil {
		panic("a bad snapshot")
	}
	kv.data, kv.shards = content, shards
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(rpc.GetReply)
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(rpc.PutReply)
}

func (kv *KVServer) FreezeShard(args *shardrpc.FreezeShardArgs, reply *shardrpc.FreezeShardReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(shardrpc.FreezeShardReply)
}

func (kv *KVServer) InstallShard(args *shardrpc.InstallShardArgs, reply *shardrpc.InstallShardReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(shardrpc.InstallShardReply)
}

func (kv *KVServer) DeleteShard(args *shardrpc.DeleteShardArgs, reply *shardrpc.DeleteShardReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(shardrpc.DeleteShardReply)
}

func (kv *KVServer) Kill() {}

func StartServerShardGrp(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	labgob.Register(rpc.PutArgs{})
	labgob.Register(rpc.GetArgs{})
	labgob.Register(shardrpc.FreezeShardArgs{})
	labgob.Register(shardrpc.InstallShardArgs{})
	labgob.Register(shardrpc.DeleteShardArgs{})
	labgob.Register(rsm.Op{})
	kv := &KVServer{data: make(map[string]Entry)}
	for i := range kv.shards {
		kv.shards[i].Owned = gid == shardcfg.Gid1
	}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}
