// Package shardkv asks the controller for the configuration after each refusal.
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

type Clerk struct {
	clnt *tester.Clnt
	sck  *shardctrler.ShardCtrler
	cfg  *shardcfg.ShardConfig
}

func MakeClerk(clnt *tester.Clnt, sck *shardctrler.ShardCtrler) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, sck: sck, cfg: sck.Query()}
}

// group returns a clerk for the group of key, or nil.
func (ck *Clerk) group(key string) *shardgrp.Clerk {
	_, servers, ok := ck.cfg.GidServers(shardcfg.Key2Shard(key))
	if !ok {
		return nil
	}
	return shardgrp.MakeClerk(ck.clnt, servers)
}

func (ck *Clerk) refresh() {
	time.Sleep(50 * time.Millisecond)
	ck.cfg = ck.sck.Query()
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for ; ; ck.refresh() {
		if grp := ck.group(key); grp != nil {
			value, version, err := grp.Get(key)
			if err == rpc.OK || err == rpc.ErrNoKey {
				return value, version, err
			}
		}
	}
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	asked := false
	for ; ; ck.refresh() {
		grp := ck.group(key)
		if grp == nil {
			continue
		}
		err := grp.Put(key, value, version)
		switch {
		case err == rpc.ErrVersion && asked:
			return rpc.ErrMaybe
		case err != rpc.ErrWrongGroup && err != rpc.ErrWrongLeader:
			return err
		}
		asked = true
	}
}
