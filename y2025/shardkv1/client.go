// Package shardkv is a key/value service whose shards are spread over groups. The
// servers are those of package shardgrp.
package shardkv

import (
	"sync"
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardctrler"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

// queryPause is the time before a clerk asks for the configuration again. A shard is
// without a group for a while when it moves.
const queryPause = 50 * time.Millisecond

// Clerk is a client of the service. Any goroutine may call the methods.
type Clerk struct {
	clnt *tester.Clnt
	sck  *shardctrler.ShardCtrler

	mu     sync.Mutex
	config *shardcfg.ShardConfig // nil: to be asked for
	groups map[tester.Tgid]*shardgrp.Clerk
}

// MakeClerk returns a clerk that asks sck for the configuration.
func MakeClerk(clnt *tester.Clnt, sck *shardctrler.ShardCtrler) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, sck: sck, groups: make(map[tester.Tgid]*shardgrp.Clerk)}
}

// Get returns a key's value and version, or [rpc.ErrNoKey]. Get retries for ever.
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for {
		if group := ck.group(key); group != nil {
			if value, version, err := group.Get(key); err != rpc.ErrWrongGroup {
				return value, version, err
			}
		}
		ck.refresh()
	}
}

// Put sets a key's value if the key has this version. Put retries for ever. If an
// earlier attempt is open when a group refuses a later one, the error is
// [rpc.ErrMaybe]. A Put that was open may be tried again, because the version lets the
// Put take effect once.
func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	for open := false; ; ck.refresh() {
		group := ck.group(key)
		if group == nil {
			continue
		}
		switch err := group.Put(key, value, version); {
		case err == rpc.ErrWrongGroup:
		case err == rpc.ErrMaybe:
			open = true
		case open && err != rpc.OK:
			return rpc.ErrMaybe
		default:
			return err
		}
	}
}

// group returns a clerk of the group that serves a key, or nil if there is none.
func (ck *Clerk) group(key string) *shardgrp.Clerk {
	ck.mu.Lock()
	config := ck.config
	ck.mu.Unlock()
	if config == nil {
		config = ck.sck.Query()
	}
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.config = config
	gid, servers, found := config.GidServers(shardcfg.Key2Shard(key))
	if !found {
		return nil
	}
	if ck.groups[gid] == nil {
		ck.groups[gid] = shardgrp.MakeClerk(ck.clnt, servers)
	}
	return ck.groups[gid]
}

// refresh makes the next operation ask for the configuration, after a pause.
func (ck *Clerk) refresh() {
	time.Sleep(queryPause)
	ck.mu.Lock()
	defer ck.mu.Unlock()
	ck.config = nil
}
