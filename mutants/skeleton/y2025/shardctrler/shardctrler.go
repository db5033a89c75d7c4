// Package shardctrler has the interface of the shard controller, and nothing behind.
package shardctrler

import (
	kvsrv "raftlab/y2025/kvsrv1"
	kvtest "raftlab/y2025/kvtest1"
	"raftlab/y2025/shardkv1/shardcfg"
	tester "raftlab/y2025/tester1"
)

type ShardCtrler struct{ kvtest.IKVClerk }

func MakeShardCtrler(clnt *tester.Clnt) *ShardCtrler {
	return &ShardCtrler{kvsrv.MakeClerk(clnt, tester.ServerName(tester.GRP0, 0))}
}

func (sck *ShardCtrler) InitController()                          {}
func (sck *ShardCtrler) InitConfig(cfg *shardcfg.ShardConfig)     {}
func (sck *ShardCtrler) ChangeConfigTo(new *shardcfg.ShardConfig) {}
func (sck *ShardCtrler) Query() *shardcfg.ShardConfig             { return nil }
