// Package kvsrv has a mutex and a map.
package kvsrv

import (
	"sync"

	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

type entry struct {
	value   string
	version rpc.Tversion
}

type KVServer struct {
	mu   sync.Mutex
	data map[string]entry
}

func MakeKVServer() *KVServer {
	return &KVServer{data: make(map[string]entry)}
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.data[args.Key]
	if !ok {
		reply.Err = rpc.ErrNoKey
		return
	}
	reply.Value, reply.Version, reply.Err = e.value, e.version, rpc.OK
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.data[args.Key]
	if !ok && args.Version != 0 {
		reply.Err = rpc.ErrNoKey
	} else if e.version != args.Version {
		reply.Err = rpc.ErrVersion
	} else {
		kv.data[args.Key] = entry{args.Value, args.Version + 1}
		reply.Err = rpc.OK
	}
}

func (kv *KVServer) Kill() {}

func StartKVServer(ends []*labrpc.ClientEnd, gid tester.Tgid, srv int, persister *tester.Persister) []tester.IService {
	return []tester.IService{MakeKVServer()}
}
