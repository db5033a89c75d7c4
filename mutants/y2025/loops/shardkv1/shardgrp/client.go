package shardgrp

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

// patience is how long a clerk looks for a leader.
const patience = 2 * time.Second

// Clerk is a client of one group.
type Clerk struct {
	clnt    *tester.Clnt
	servers []string
}

func MakeClerk(clnt *tester.Clnt, servers []string) *Clerk {
	return &Clerk{clnt, servers}
}

// find calls a method of each server until a leader answers. open reports whether an
// earlier call may have taken effect.
func find[A, R any](ck *Clerk, method string, args A, err func(*R) rpc.Err) (reply R, ok, open bool) {
	for start := time.Now(); time.Since(start) < patience; time.Sleep(40 * time.Millisecond) {
		for _, server := range ck.servers {
			var r R
			if ck.clnt.Call(server, method, &args, &r) && err(&r) != rpc.ErrWrongLeader {
				return r, true, open
			}
			open = true
		}
	}
	return reply, false, open
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	r, ok, _ := find(ck, "KVServer.Get", rpc.GetArgs{Key: key}, func(r *rpc.GetReply) rpc.Err { return r.Err })
	if !ok {
		return "", 0, rpc.ErrWrongLeader
	}
	return r.Value, r.Version, r.Err
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	args := rpc.PutArgs{Key: key, Value: value, Version: version}
	r, ok, open := find(ck, "KVServer.Put", args, func(r *rpc.PutReply) rpc.Err { return r.Err })
	if !ok {
		return rpc.ErrWrongLeader
	}
	if r.Err == rpc.ErrVersion && open {
		return rpc.ErrMaybe
	}
	return r.Err
}

func (ck *Clerk) FreezeShard(s shardcfg.Tshid, num shardcfg.Tnum) ([]byte, rpc.Err) {
	args := shardrpc.FreezeShardArgs{Shard: s, Num: num}
	r, ok, _ := find(ck, "KVServer.FreezeShard", args, func(r *shardrpc.FreezeShardReply) rpc.Err { return r.Err })
	if !ok {
		return nil, rpc.ErrWrongLeader
	}
	return r.State, r.Err
}

func (ck *Clerk) InstallShard(s shardcfg.Tshid, state []byte, num shardcfg.Tnum) rpc.Err {
	args := shardrpc.InstallShardArgs{Shard: s, State: state, Num: num}
	r, ok, _ := find(ck, "KVServer.InstallShard", args, func(r *shardrpc.InstallShardReply) rpc.Err { return r.Err })
	if !ok {
		return rpc.ErrWrongLeader
	}
	return r.Err
}

func (ck *Clerk) DeleteShard(s shardcfg.Tshid, num shardcfg.Tnum) rpc.Err {
	args := shardrpc.DeleteShardArgs{Shard: s, Num: num}
	r, ok, _ := find(ck, "KVServer.DeleteShard", args, func(r *shardrpc.DeleteShardReply) rpc.Err { return r.Err })
	if !ok {
		return rpc.ErrWrongLeader
	}
	return r.Err
}
