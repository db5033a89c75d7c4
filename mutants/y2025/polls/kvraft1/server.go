// Package kvraft is the server of lab 2 over rsm.
package kvraft

import (
	"bytes"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

type Entry struct {
	Value   string
	Version rpc.Tversion
}

type KVServer struct {
	rsm  *rsm.RSM
	data map[string]Entry // rsm calls DoOp, Snapshot and Restore one at a time
}

func (kv *KVServer) DoOp(req any) any {
	switch args := req.(type) {
	case rpc.GetArgs:
		if e, ok := kv.data[args.Key]; ok {
			return rpc.GetReply{Value: e.Value, Version: e.Version, Err: rpc.OK}
		}
		return rpc.GetReply{Err: rpc.ErrNoKey}
	case rpc.PutArgs:
		e, ok := kv.data[args.Key]
		if !ok && args.Version != 0 {
			return rpc.PutReply{Err: rpc.ErrNoKey}
		}
		if e.Version != args.Version {
			return rpc.PutReply{Err: rpc.ErrVersion}
		}
		kv.data[args.Key] = Entry{args.Value, args.Version + 1}
		return rpc.PutReply{Err: rpc.OK}
	}
	return nil
}

func (kv *KVServer) Snapshot() []byte {
	w := new(bytes.Buffer)
	labgob.NewEncoder(w).Encode(kv.data)
	return w.Bytes()
}

func (kv *KVServer) Restore(data []byte) {
	restored := make(map[string]Entry)
	if labgob.NewDecoder(bytes.NewBuffer(data)).Decode(&restored) != nil {
		panic("a bad snapshot")
	}
	kv.data = restored
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(rpc.GetReply)
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	err, value := kv.rsm.Submit(*args)
	if err != rpc.OK {
		reply.Err = err
		return
	}
	*reply = value.(rpc.PutReply)
}

func (kv *KVServer) Kill() {}

func StartKVServer(servers []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	labgob.Register(rsm.Op{})
	labgob.Register(rpc.PutArgs{})
	labgob.Register(rpc.GetArgs{})
	kv := &KVServer{data: make(map[string]Entry)}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}
