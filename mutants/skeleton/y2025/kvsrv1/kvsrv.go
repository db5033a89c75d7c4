// Package kvsrv has the interface of kvsrv1, and nothing behind.
package kvsrv

import (
	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

type KVServer struct{}

func MakeKVServer() *KVServer                                   { return &KVServer{} }
func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {}
func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {}
func (kv *KVServer) Kill()                                      {}

func StartKVServer(ends []*labrpc.ClientEnd, gid tester.Tgid, srv int, persister *tester.Persister) []tester.IService {
	return []tester.IService{MakeKVServer()}
}

type Clerk struct{}

func MakeClerk(clnt *tester.Clnt, server string) kvtest.IKVClerk      { return &Clerk{} }
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err)      { return "", 0, rpc.ErrNoKey }
func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err { return rpc.ErrNoKey }
