package kvsrv

import (
	"sync"

	"raftlab/labrpc"
	"raftlab/y2025/internal/versions"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// KVServer is the server. Its state is lost with the process.
type KVServer struct {
	mu    sync.Mutex
	store versions.Store
}

// MakeKVServer returns a server without keys.
func MakeKVServer() *KVServer { return &KVServer{store: make(versions.Store)} }

// StartKVServer starts a server for the harness. The server needs neither ends nor a
// persister.
func StartKVServer(_ []*labrpc.ClientEnd, _ tester.Tgid, _ int, _ *tester.Persister) []tester.IService {
	return []tester.IService{MakeKVServer()}
}

// Get is the RPC handler that reads a key.
func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	*reply = kv.store.Get(*args)
}

// Put is the RPC handler that sets a key's value if the key has the expected version.
// A request that arrives twice takes effect once, because the first arrival raises
// the version.
func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	*reply = kv.store.Put(*args)
}

// Kill does nothing, because the server has no goroutines.
func (kv *KVServer) Kill() {}
