// Package shardgrp has a table of shards, each with a phase and a map of its own.
package shardgrp

import (
	"bytes"
	"encoding/gob"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

// Phase is the phase of a shard in a group.
type Phase int

const (
	Absent Phase = iota
	Active
	Frozen
)

// Record is a value with a version.
type Record struct {
	Value   string
	Version rpc.Tversion
}

// Shard is a shard.
type Shard struct {
	Phase   Phase
	Num     shardcfg.Tnum // of the last change
	Records map[string]Record
}

// KVServer is a server of a group.
type KVServer struct {
	rsm    *rsm.RSM
	shards map[shardcfg.Tshid]*Shard
}

// DoOp applies a request.
func (kv *KVServer) DoOp(req any) any {
	switch args := req.(type) {
	case rpc.GetArgs:
		return kv.get(args)
	case rpc.PutArgs:
		return kv.put(args)
	case shardrpc.FreezeShardArgs:
		s := kv.shards[args.Shard]
		if args.Num < s.Num {
			return shardrpc.FreezeShardReply{Err: rpc.ErrVersion, Num: s.Num}
		}
		if s.Phase == Active {
			s.Phase = Frozen
		}
		s.Num = args.Num
		return shardrpc.FreezeShardReply{State: encode(s.Records), Num: args.Num, Err: rpc.OK}
	case shardrpc.InstallShardArgs:
		s := kv.shards[args.Shard]
		if args.Num < s.Num {
			return shardrpc.InstallShardReply{Err: rpc.ErrVersion}
		}
		if args.Num > s.Num {
			records := make(map[string]Record)
			if len(args.State) > 0 {
				decode(args.State, &records)
			}
			kv.shards[args.Shard] = &Shard{Active, args.Num, records}
		}
		return shardrpc.InstallShardReply{Err: rpc.OK}
	case shardrpc.DeleteShardArgs:
		s := kv.shards[args.Shard]
		if args.Num < s.Num {
			return shardrpc.DeleteShardReply{Err: rpc.ErrVersion}
		}
		kv.shards[args.Shard] = &Shard{Absent, args.Num, make(map[string]Record)}
		return shardrpc.DeleteShardReply{Err: rpc.OK}
	}
	panic("an unknown request")
}

func (kv *KVServer) get(args rpc.GetArgs) rpc.GetReply {
	s := kv.shards[shardcfg.Key2Shard(args.Key)]
	if s.Phase != Active {
		return rpc.GetReply{Err: rpc.ErrWrongGroup}
	}
	r, ok := s.Records[args.Key]
	if !ok {
		return rpc.GetReply{Err: rpc.ErrNoKey}
	}
	return rpc.GetReply{Value: r.Value, Version: r.Version, Err: rpc.OK}
}

func (kv *KVServer) put(args rpc.PutArgs) rpc.PutReply {
	s := kv.shards[shardcfg.Key2Shard(args.Key)]
	if s.Phase != Active {
		return rpc.PutReply{Err: rpc.ErrWrongGroup}
	}
	switch r, ok := s.Records[args.Key]; {
	case r.Version == args.Version:
		s.Records[args.Key] = Record{args.Value, r.Version + 1}
		return rpc.PutReply{Err: rpc.OK}
	case ok:
		return rpc.PutReply{Err: rpc.ErrVersion}
	}
	return rpc.PutReply{Err: rpc.ErrNoKey}
}

func encode(value any) []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(value); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func decode(data []byte, value any) {
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(value); err != nil {
		panic(err)
	}
}

func (kv *KVServer) Snapshot() []byte { return encode(kv.shards) }

func (kv *KVServer) Restore(data []byte) {
	shards := make(map[shardcfg.Tshid]*Shard)
	decode(data, &shards)
	for _, s := range shards {
		if s.Records == nil {
			s.Records = make(map[string]Record)
		}
	}
	kv.shards = shards
}

// submit stores the reply to a request, or the error.
func submit[R any](kv *KVServer, req any, reply *R, failed func(rpc.Err)) {
	err, value := kv.rsm.Submit(req)
	if err != rpc.OK {
		failed(err)
		return
	}
	*reply = value.(R)
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	submit(kv, *args, reply, func(err rpc.Err) { reply.Err = err })
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	submit(kv, *args, reply, func(err rpc.Err) { reply.Err = err })
}

func (kv *KVServer) FreezeShard(args *shardrpc.FreezeShardArgs, reply *shardrpc.FreezeShardReply) {
	submit(kv, *args, reply, func(err rpc.Err) { reply.Err = err })
}

func (kv *KVServer) InstallShard(args *shardrpc.InstallShardArgs, reply *shardrpc.InstallShardReply) {
	submit(kv, *args, reply, func(err rpc.Err) { reply.Err = err })
}

func (kv *KVServer) DeleteShard(args *shardrpc.DeleteShardArgs, reply *shardrpc.DeleteShardReply) {
	submit(kv, *args, reply, func(err rpc.Err) { reply.Err = err })
}

func (kv *KVServer) Kill() {}

func StartServerShardGrp(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	for _, args := range []any{rpc.GetArgs{}, rpc.PutArgs{}, shardrpc.FreezeShardArgs{}, shardrpc.InstallShardArgs{}, shardrpc.DeleteShardArgs{}} {
		labgob.Register(args)
	}
	kv := &KVServer{shards: make(map[shardcfg.Tshid]*Shard)}
	for s := range shardcfg.Tshid(shardcfg.NShards) {
		kv.shards[s] = &Shard{Records: make(map[string]Record)}
		if gid == shardcfg.Gid1 {
			kv.shards[s].Phase = Active
		}
	}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}
