// Package shardgrp is a replicated group of servers that serves some of the shards.
package shardgrp

import (
	"raftlab/y2025/internal/group"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp/shardrpc"
	tester "raftlab/y2025/tester1"
)

// maxRounds bounds the calls of one operation to each server. A group that has left may
// be down for good, and the caller then looks at the configuration.
const maxRounds = 20

// Clerk is a client of one group. Any goroutine may call the methods.
type Clerk struct{ servers *group.Servers }

// MakeClerk returns a clerk of the group at servers, in any order.
func MakeClerk(clnt *tester.Clnt, servers []string) *Clerk {
	return &Clerk{servers: group.New(clnt, servers)}
}

// Get returns a key's value and version, or [rpc.ErrNoKey]. The error is
// [rpc.ErrWrongGroup] if the group does not serve the key or is down.
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for range maxRounds {
		if a := ck.servers.Get(key); a.Answered {
			return a.Reply.Value, a.Reply.Version, a.Reply.Err
		}
	}
	return "", 0, rpc.ErrWrongGroup
}

// Put sets a key's value if the key has this version. The error is [rpc.ErrWrongGroup]
// if the group does not serve the key or is down, and [rpc.ErrMaybe] if an earlier attempt
// may have taken effect, or may yet.
func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	args := &rpc.PutArgs{Key: key, Value: value, Version: version}
	open := false
	for range maxRounds {
		a := ck.servers.Put(args)
		open = open || a.Open
		switch {
		case a.Answered && open && a.Reply.Err != rpc.OK:
			return rpc.ErrMaybe
		case a.Answered:
			return a.Reply.Err
		}
	}
	if open {
		return rpc.ErrMaybe
	}
	return rpc.ErrWrongGroup
}

// FreezeShard makes the group refuse the keys of a shard, and returns the state. num is
// the number of the configuration in which the shard has another group. The error is
// [rpc.ErrVersion] if the group knows a newer configuration, and [rpc.ErrWrongLeader] if
// the group is down.
func (ck *Clerk) FreezeShard(s shardcfg.Tshid, num shardcfg.Tnum) ([]byte, rpc.Err) {
	args := &shardrpc.FreezeShardArgs{Shard: s, Num: num}
	reply, err := ask(ck, "KVServer.FreezeShard", args, func(r *shardrpc.FreezeShardReply) rpc.Err { return r.Err })
	return reply.State, err
}

// InstallShard makes the group serve a shard. The errors are those of FreezeShard.
func (ck *Clerk) InstallShard(s shardcfg.Tshid, state []byte, num shardcfg.Tnum) rpc.Err {
	args := &shardrpc.InstallShardArgs{Shard: s, State: state, Num: num}
	_, err := ask(ck, "KVServer.InstallShard", args, func(r *shardrpc.InstallShardReply) rpc.Err { return r.Err })
	return err
}

// DeleteShard deletes a frozen shard. The errors are those of FreezeShard.
func (ck *Clerk) DeleteShard(s shardcfg.Tshid, num shardcfg.Tnum) rpc.Err {
	args := &shardrpc.DeleteShardArgs{Shard: s, Num: num}
	_, err := ask(ck, "KVServer.DeleteShard", args, func(r *shardrpc.DeleteShardReply) rpc.Err { return r.Err })
	return err
}

func ask[A, R any](ck *Clerk, method string, args *A, outcome func(*R) rpc.Err) (reply R, err rpc.Err) {
	for range maxRounds {
		if a := group.Try(ck.servers, method, args, outcome); a.Answered {
			return a.Reply, outcome(&a.Reply)
		}
	}
	return reply, rpc.ErrWrongLeader
}
