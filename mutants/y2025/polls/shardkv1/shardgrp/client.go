package shardgrp

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

// rounds is how often a clerk asks each server before it gives up.
const rounds = 5

type Clerk struct {
	clnt    *tester.Clnt
	servers []string
	leader  int
}

func MakeClerk(clnt *tester.Clnt, servers []string) *Clerk {
	return &Clerk{clnt: clnt, servers: servers}
}

// ask calls f with servers until f returns true, and gives up after some rounds.
func (ck *Clerk) ask(f func(server string) bool) bool {
	for i := 0; i < rounds*len(ck.servers); i++ {
		if f(ck.servers[ck.leader]) {
			return true
		}
		ck.leader = (ck.leader + 1) % len(ck.servers)
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	var reply rpc.GetReply
	ok := ck.ask(func(server string) bool {
		reply = rpc.GetReply{}
		return ck.clnt.Call(server, "KVServer.Get", &rpc.GetArgs{Key: key}, &reply) && reply.Err != rpc.ErrWrongLeader
	})
	if !ok {
		return "", 0, rpc.ErrWrongLeader
	}
	return reply.Value, reply.Version, reply.Err
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	var reply rpc.PutReply
	tries := 0
	ok := ck.ask(func(server string) bool {
		tries++
		reply = rpc.PutReply{}
		args := rpc.PutArgs{Key: key, Value: value, Version: version}
		return ck.clnt.Call(server, "KVServer.Put", &args, &reply) && reply.Err != rpc.ErrWrongLeader
	})
	if !ok {
		return rpc.ErrWrongLeader
	}
	if reply.Err == rpc.ErrVersion && tries > 1 {
		return rpc.ErrMaybe
	}
	return reply.Err
}

func (ck *Clerk) FreezeShard(s shardcfg.Tshid, num shardcfg.Tnum) ([]byte, rpc.Err) {
	var reply shardrpc.FreezeShardReply
	ok := ck.ask(func(server string) bool {
		reply = shardrpc.FreezeShardReply{}
		return ck.clnt.Call(server, "KVServer.FreezeShard", &shardrpc.FreezeShardArgs{Shard: s, Num: num}, &reply) && reply.Err != rpc.ErrWrongLeader
	})
	if !ok {
		return nil, rpc.ErrWrongLeader
	}
	return reply.State, reply.Err
}

func (ck *Clerk) InstallShard(s shardcfg.Tshid, state []byte, num shardcfg.Tnum) rpc.Err {
	var reply shardrpc.InstallShardReply
	ok := ck.ask(func(server string) bool {
		reply = shardrpc.InstallShardReply{}
		return ck.clnt.Call(server, "KVServer.InstallShard", &shardrpc.InstallShardArgs{Shard: s, State: state, Num: num}, &reply) && reply.Err != rpc.ErrWrongLeader
	})
	if !ok {
		return rpc.ErrWrongLeader
	}
	return reply.Err
}

func (ck *Clerk) DeleteShard(s shardcfg.Tshid, num shardcfg.Tnum) rpc.Err {
	var reply shardrpc.DeleteShardReply
	ok := ck.ask(func(server string) bool {
		reply = shardrpc.DeleteShardReply{}
		return ck.clnt.Call(server, "KVServer.DeleteShard", &shardrpc.DeleteShardArgs{Shard: s, Num: num}, &reply) && reply.Err != rpc.ErrWrongLeader
	})
	if !ok {
		return rpc.ErrWrongLeader
	}
	return reply.Err
}
