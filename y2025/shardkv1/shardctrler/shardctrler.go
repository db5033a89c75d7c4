// Package shardctrler moves shards between groups. A controller is a library in a
// client. Its state is in a key/value server, under two keys: the current
// configuration, and the next one while a change is in progress.
//
// A change has four steps. The controller announces the next configuration, moves the
// shards, and then makes the next configuration the current one. Every step may be
// repeated, by any controller:
//
//   - The versions of the keys let one announcement of a number succeed.
//   - The groups refuse requests of an older change, and repeat those of the same one
//     without an effect.
//
// So a controller that finds a change in progress completes it first.
package shardctrler

import (
	"sync"
	"time"

	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

const (
	currentKey = "config"
	nextKey    = "next config"
)

// retryPause is the time between two attempts to reach a group that is down.
const retryPause = 100 * time.Millisecond

// ShardCtrler is a controller, and a clerk of the server with the configurations. Any
// goroutine may call the methods.
type ShardCtrler struct {
	kvtest.IKVClerk
	clnt *tester.Clnt
}

// MakeShardCtrler returns a controller.
func MakeShardCtrler(clnt *tester.Clnt) *ShardCtrler {
	return &ShardCtrler{IKVClerk: kvsrv.MakeClerk(clnt, tester.ServerName(tester.GRP0, 0)), clnt: clnt}
}

// InitController completes a change that another controller has left unfinished. A
// controller calls InitController before the first change.
func (sck *ShardCtrler) InitController() {
	if current, next := sck.loadBoth(); next.Num > current.Num {
		sck.complete(current, next)
	}
}

// InitConfig stores the first configuration. InitConfig is called once.
func (sck *ShardCtrler) InitConfig(cfg *shardcfg.ShardConfig) {
	sck.Put(nextKey, cfg.String(), 0)
	sck.Put(currentKey, cfg.String(), 0)
}

// Query returns the current configuration.
func (sck *ShardCtrler) Query() *shardcfg.ShardConfig { return sck.load(currentKey).ShardConfig }

// stored is a configuration with the version of its key.
type stored struct {
	*shardcfg.ShardConfig
	version rpc.Tversion
}

// load reads a configuration. A missing one is configuration 0.
func (sck *ShardCtrler) load(key string) stored {
	text, version, err := sck.Get(key)
	if err != rpc.OK {
		return stored{shardcfg.MakeShardConfig(), 0}
	}
	return stored{shardcfg.FromString(text), version}
}

// loadBoth reads the current and the announced configuration. The announced one is read
// first. A configuration is announced when the one before is the current one, so the
// current one that is read later is at most one behind.
func (sck *ShardCtrler) loadBoth() (current, announced stored) {
	announced = sck.load(nextKey)
	return sck.load(currentKey), announced
}

// ChangeConfigTo makes next the current configuration, whose number is one below. If
// another controller announces a configuration with this number first, ChangeConfigTo
// completes that change instead. Query shows the winner.
func (sck *ShardCtrler) ChangeConfigTo(next *shardcfg.ShardConfig) {
	for {
		current, announced := sck.loadBoth()
		switch {
		case next.Num <= current.Num:
			return
		case announced.Num > current.Num:
			sck.complete(current, announced)
		default:
			// The loop looks at the outcome, which may be rpc.ErrMaybe.
			sck.Put(nextKey, next.String(), announced.version)
		}
	}
}

// complete moves the shards from the current to the next configuration, and makes the
// next one the current one. complete returns early if another controller has done so.
func (sck *ShardCtrler) complete(current, next stored) {
	var moves sync.WaitGroup
	for s := range shardcfg.Tshid(shardcfg.NShards) {
		if current.Shards[s] != next.Shards[s] {
			moves.Go(func() { sck.move(s, current.ShardConfig, next.ShardConfig) })
		}
	}
	moves.Wait()
	// Another version means that another controller was first.
	sck.Put(currentKey, next.String(), current.version)
}

// move moves one shard. The old group deletes the shard when the new group has it.
func (sck *ShardCtrler) move(s shardcfg.Tshid, current, next *shardcfg.ShardConfig) {
	var state []byte
	_, servers, found := current.GidServers(s)
	old := shardgrp.MakeClerk(sck.clnt, servers)
	if found && !sck.insist(next.Num, func() (err rpc.Err) { state, err = old.FreezeShard(s, next.Num); return err }) {
		return
	}
	if _, servers, ok := next.GidServers(s); ok {
		to := shardgrp.MakeClerk(sck.clnt, servers)
		if !sck.insist(next.Num, func() rpc.Err { return to.InstallShard(s, state, next.Num) }) {
			return
		}
	}
	if found {
		sck.insist(next.Num, func() rpc.Err { return old.DeleteShard(s, next.Num) })
	}
}

// insist repeats a request while the group is down. insist returns false if the group
// refuses the request, or if the change is complete meanwhile.
func (sck *ShardCtrler) insist(num shardcfg.Tnum, request func() rpc.Err) bool {
	for {
		err := request()
		if err != rpc.ErrWrongLeader {
			return err == rpc.OK
		}
		if sck.Query().Num >= num {
			return false
		}
		time.Sleep(retryPause)
	}
}
