// Package kvraft has the interface of kvraft1, and nothing behind.
package kvraft

import (
	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

type KVServer struct{ rsm *rsm.RSM }

func (kv *KVServer) DoOp(req any) any                           { return nil }
func (kv *KVServer) Snapshot() []byte                           { return nil }
func (kv *KVServer) Restore(data []byte)                        {}
func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {}
func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {}
func (kv *KVServer) Kill()                                      {}

func StartKVServer(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	labgob.Register(rsm.Op{})
	kv := &KVServer{}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}

type Clerk struct{}

func MakeClerk(clnt *tester.Clnt, servers []string) kvtest.IKVClerk   { return &Clerk{} }
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err)      { return "", 0, "" }
func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err { return "" }
