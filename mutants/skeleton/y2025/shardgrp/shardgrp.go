// Package shardgrp has the interface of a shard group, and nothing behind.
package shardgrp

import (
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	tester "raftlab/y2025/tester1"
)

type KVServer struct{ rsm *rsm.RSM }

func (kv *KVServer) DoOp(req any) any    { return nil }
func (kv *KVServer) Snapshot() []byte    { return nil }
func (kv *KVServer) Restore(data []byte) {}
func (kv *KVServer) Kill()               {}

func StartServerShardGrp(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	kv := &KVServer{}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}

type Clerk struct{}

func MakeClerk(clnt *tester.Clnt, servers []string) *Clerk            { return &Clerk{} }
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err)      { return "", 0, "" }
func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err { return "" }

func (ck *Clerk) FreezeShard(s shardcfg.Tshid, num shardcfg.Tnum) ([]byte, rpc.Err)      { return nil, "" }
func (ck *Clerk) InstallShard(s shardcfg.Tshid, state []byte, num shardcfg.Tnum) rpc.Err { return "" }
func (ck *Clerk) DeleteShard(s shardcfg.Tshid, num shardcfg.Tnum) rpc.Err                { return "" }
