// Package shardkv asks the controller before each request.
package shardkv

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardctrler"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

// Clerk is a client.
type Clerk struct {
	clnt *tester.Clnt
	sck  *shardctrler.ShardCtrler
}

func MakeClerk(clnt *tester.Clnt, sck *shardctrler.ShardCtrler) kvtest.IKVClerk {
	return &Clerk{clnt, sck}
}

// at calls f with the group of a key until f returns true.
func (ck *Clerk) at(key string, f func(*shardgrp.Clerk) bool) {
	for {
		cfg := ck.sck.Query()
		if _, servers, ok := cfg.GidServers(shardcfg.Key2Shard(key)); ok && f(shardgrp.MakeClerk(ck.clnt, servers)) {
			return
		}
		time.Sleep(80 * time.Millisecond)
	}
}

func (ck *Clerk) Get(key string) (value string, version rpc.Tversion, err rpc.Err) {
	ck.at(key, func(grp *shardgrp.Clerk) bool {
		value, version, err = grp.Get(key)
		return err != rpc.ErrWrongGroup && err != rpc.ErrWrongLeader
	})
	return value, version, err
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) (err rpc.Err) {
	groups := 0
	ck.at(key, func(grp *shardgrp.Clerk) bool {
		groups++
		err = grp.Put(key, value, version)
		return err != rpc.ErrWrongGroup && err != rpc.ErrWrongLeader
	})
	if err == rpc.ErrVersion && groups > 1 {
		return rpc.ErrMaybe
	}
	return err
}
