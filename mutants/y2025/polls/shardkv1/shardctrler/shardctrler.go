// Package shardctrler keeps the configuration and the change in progress in one key,
// and moves shards one after the other.
package shardctrler

import (
	"encoding/json"
	"time"

	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

const key = "shard configuration"

// record is the value of the key. Next is empty between changes.
type record struct {
	Current string
	Next    string
}

type ShardCtrler struct {
	kvtest.IKVClerk
	clnt *tester.Clnt
}

func MakeShardCtrler(clnt *tester.Clnt) *ShardCtrler {
	return &ShardCtrler{kvsrv.MakeClerk(clnt, tester.ServerName(tester.GRP0, 0)), clnt}
}

func (sck *ShardCtrler) read() (record, rpc.Tversion) {
	text, version, err := sck.Get(key)
	r := record{Current: shardcfg.MakeShardConfig().String()}
	if err == rpc.OK {
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			panic(err)
		}
	}
	return r, version
}

func (sck *ShardCtrler) write(r record, version rpc.Tversion) {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	sck.Put(key, string(text), version) // the caller reads the outcome
}

func (sck *ShardCtrler) InitController() {
	if r, version := sck.read(); r.Next != "" {
		sck.finish(r, version)
	}
}

func (sck *ShardCtrler) InitConfig(cfg *shardcfg.ShardConfig) {
	sck.write(record{Current: cfg.String()}, 0)
}

func (sck *ShardCtrler) Query() *shardcfg.ShardConfig {
	r, _ := sck.read()
	return shardcfg.FromString(r.Current)
}

func (sck *ShardCtrler) ChangeConfigTo(new *shardcfg.ShardConfig) {
	for {
		r, version := sck.read()
		if shardcfg.FromString(r.Current).Num >= new.Num {
			return
		}
		if r.Next != "" {
			sck.finish(r, version)
		} else {
			sck.write(record{Current: r.Current, Next: new.String()}, version)
		}
	}
}

// finish moves the shards, and then ends the change.
func (sck *ShardCtrler) finish(r record, version rpc.Tversion) {
	old, new := shardcfg.FromString(r.Current), shardcfg.FromString(r.Next)
	for s := shardcfg.Tshid(0); s < shardcfg.NShards; s++ {
		if old.Shards[s] != new.Shards[s] && !sck.move(s, old, new) {
			return
		}
	}
	sck.write(record{Current: r.Next}, version)
}

// move returns false if the change is over.
func (sck *ShardCtrler) move(s shardcfg.Tshid, old, new *shardcfg.ShardConfig) bool {
	var state []byte
	_, from, given := old.GidServers(s)
	if given {
		grp := shardgrp.MakeClerk(sck.clnt, from)
		if !sck.retry(new.Num, func() (err rpc.Err) { state, err = grp.FreezeShard(s, new.Num); return err }) {
			return false
		}
	}
	if _, to, ok := new.GidServers(s); ok {
		grp := shardgrp.MakeClerk(sck.clnt, to)
		if !sck.retry(new.Num, func() rpc.Err { return grp.InstallShard(s, state, new.Num) }) {
			return false
		}
	}
	if given {
		grp := shardgrp.MakeClerk(sck.clnt, from)
		return sck.retry(new.Num, func() rpc.Err { return grp.DeleteShard(s, new.Num) })
	}
	return true
}

func (sck *ShardCtrler) retry(num shardcfg.Tnum, f func() rpc.Err) bool {
	for {
		switch f() {
		case rpc.OK:
			return true
		case rpc.ErrWrongGroup:
			return false
		}
		if sck.Query().Num >= num {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}
