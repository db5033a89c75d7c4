// Package shardkv has the interface of shardkv1, and nothing behind.
package shardkv

import (
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardctrler"
	tester "raftlab/y2025/tester1"
)

type Clerk struct{}

func MakeClerk(clnt *tester.Clnt, sck *shardctrler.ShardCtrler) kvtest.IKVClerk { return &Clerk{} }
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err)                { return "", 0, "" }
func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err           { return "" }
