package kvraft

import (
	"fmt"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/internal/group"
	"raftlab/y2025/internal/versions"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// KVServer is one server of the service.
type KVServer struct {
	rsm   *rsm.RSM
	store versions.Store // used by the rsm alone
}

var _ rsm.StateMachine = (*KVServer)(nil)

// StartKVServer starts the server me of servers from the contents of persister, and
// returns without waiting. With a positive maxraftstate a snapshot replaces the log when
// the log reaches so many bytes.
func StartKVServer(servers []*labrpc.ClientEnd, _ tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	labgob.Register(rpc.GetArgs{})
	labgob.Register(rpc.PutArgs{})
	kv := &KVServer{store: make(versions.Store)}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}

// Get is the RPC handler that reads a key. A read goes through the log, so a deposed
// leader returns no old value.
func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	if result, err := group.Submit(kv.rsm, *args); err == rpc.OK {
		*reply = result.(rpc.GetReply)
	} else {
		reply.Err = rpc.ErrWrongLeader // a Get without an answer has no effect
	}
}

// Put is the RPC handler that sets a key's value if the key has the expected version.
func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	if result, err := group.Submit(kv.rsm, *args); err == rpc.OK {
		*reply = result.(rpc.PutReply)
	} else {
		reply.Err = err
	}
}

// DoOp implements rsm.StateMachine.
func (kv *KVServer) DoOp(req any) any {
	switch args := req.(type) {
	case rpc.GetArgs:
		return kv.store.Get(args)
	case rpc.PutArgs:
		return kv.store.Put(args)
	}
	panic(fmt.Sprintf("kvraft: a request of type %T", req))
}

// Snapshot implements rsm.StateMachine.
func (kv *KVServer) Snapshot() []byte { return versions.Encode(kv.store) }

// Restore implements rsm.StateMachine.
func (kv *KVServer) Restore(data []byte) {
	store := make(versions.Store)
	if err := versions.Decode(data, &store); err != nil {
		panic(fmt.Sprintf("kvraft: restoring a snapshot of %d bytes: %v", len(data), err))
	}
	kv.store = store
}

// Kill stops the server, and returns without waiting.
func (kv *KVServer) Kill() { group.Kill(kv.rsm) }
