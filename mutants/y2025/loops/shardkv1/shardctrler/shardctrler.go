// Package shardctrler has a key for the current configuration and a key for the next
// one. All shards are frozen at once, then installed at once, then deleted at once.
package shardctrler

import (
	"sync"
	"sync/atomic"
	"time"

	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

// ShardCtrler is a controller.
type ShardCtrler struct {
	kvtest.IKVClerk
	clnt *tester.Clnt
}

func MakeShardCtrler(clnt *tester.Clnt) *ShardCtrler {
	return &ShardCtrler{kvsrv.MakeClerk(clnt, tester.ServerName(tester.GRP0, 0)), clnt}
}

func (sck *ShardCtrler) fetch(key string) (*shardcfg.ShardConfig, rpc.Tversion) {
	text, version, err := sck.Get(key)
	if err != rpc.OK {
		return shardcfg.MakeShardConfig(), 0
	}
	return shardcfg.FromString(text), version
}

func (sck *ShardCtrler) InitConfig(cfg *shardcfg.ShardConfig) {
	sck.Put("next", cfg.String(), 0)
	sck.Put("cur", cfg.String(), 0)
}

func (sck *ShardCtrler) Query() *shardcfg.ShardConfig {
	cfg, _ := sck.fetch("cur")
	return cfg
}

// InitController ends what another controller has begun.
func (sck *ShardCtrler) InitController() { sck.settle() }

// settle carries out the next configuration if it is newer than the current one, and
// returns the current one, and the version of the next one.
func (sck *ShardCtrler) settle() (*shardcfg.ShardConfig, rpc.Tversion) {
	for {
		next, nextVersion := sck.fetch("next")
		cur, curVersion := sck.fetch("cur")
		if next.Num <= cur.Num {
			return cur, nextVersion
		}
		if sck.shift(cur, next) {
			sck.Put("cur", next.String(), curVersion)
		}
	}
}

func (sck *ShardCtrler) ChangeConfigTo(new *shardcfg.ShardConfig) {
	for {
		cur, version := sck.settle()
		if cur.Num >= new.Num {
			return
		}
		sck.Put("next", new.String(), version)
	}
}

// shift moves all shards, and returns false if another controller is ahead.
func (sck *ShardCtrler) shift(cur, next *shardcfg.ShardConfig) bool {
	var states [shardcfg.NShards][]byte
	freeze := func(grp *shardgrp.Clerk, s shardcfg.Tshid) (err rpc.Err) {
		states[s], err = grp.FreezeShard(s, next.Num)
		return err
	}
	install := func(grp *shardgrp.Clerk, s shardcfg.Tshid) rpc.Err {
		return grp.InstallShard(s, states[s], next.Num)
	}
	remove := func(grp *shardgrp.Clerk, s shardcfg.Tshid) rpc.Err { return grp.DeleteShard(s, next.Num) }
	return sck.all(cur, next, cur, freeze) && sck.all(cur, next, next, install) && sck.all(cur, next, cur, remove)
}

// all calls f for each shard that moves, with its group in configuration at.
func (sck *ShardCtrler) all(cur, next, at *shardcfg.ShardConfig, f func(*shardgrp.Clerk, shardcfg.Tshid) rpc.Err) bool {
	var wg sync.WaitGroup
	var behind atomic.Bool
	for s := range shardcfg.Tshid(shardcfg.NShards) {
		if cur.Shards[s] == next.Shards[s] {
			continue
		}
		_, servers, ok := at.GidServers(s)
		if !ok {
			continue
		}
		wg.Go(func() {
			grp := shardgrp.MakeClerk(sck.clnt, servers)
			for {
				err := f(grp, s)
				if err == rpc.OK {
					return
				}
				if err != rpc.ErrWrongLeader || sck.Query().Num >= next.Num {
					behind.Store(true)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return !behind.Load()
}
