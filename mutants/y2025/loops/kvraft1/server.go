// Package kvraft has commands of its own in the log.
package kvraft

import (
	"bytes"
	"encoding/gob"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// The commands in the log.
type (
	Read  struct{ Key string }
	Write struct {
		Key, Value string
		Version    rpc.Tversion
	}
)

// KVServer is a server. The maps belong to the goroutine of rsm.
type KVServer struct {
	rsm      *rsm.RSM
	Values   map[string]string
	Versions map[string]rpc.Tversion
}

// DoOp applies a command.
func (kv *KVServer) DoOp(req any) any {
	switch c := req.(type) {
	case Read:
		version := kv.Versions[c.Key]
		if version == 0 {
			return rpc.GetReply{Err: rpc.ErrNoKey}
		}
		return rpc.GetReply{Value: kv.Values[c.Key], Version: version, Err: rpc.OK}
	case Write:
		switch version := kv.Versions[c.Key]; {
		case version == c.Version:
			kv.Values[c.Key] = c.Value
			kv.Versions[c.Key]++
			return rpc.Err(rpc.OK)
		case version == 0:
			return rpc.Err(rpc.ErrNoKey)
		}
		return rpc.Err(rpc.ErrVersion)
	}
	panic("an unknown command")
}

func (kv *KVServer) Snapshot() []byte {
	var b bytes.Buffer
	e := gob.NewEncoder(&b)
	if e.Encode(kv.Values) != nil || e.Encode(kv.Versions) != nil {
		panic("no snapshot")
	}
	return b.Bytes()
}

func (kv *KVServer) Restore(data []byte) {
	kv.Values, kv.Versions = make(map[string]string), make(map[string]rpc.Tversion)
	d := gob.NewDecoder(bytes.NewReader(data))
	if d.Decode(&kv.Values) != nil || d.Decode(&kv.Versions) != nil {
		panic("a broken snapshot")
	}
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	err, value := kv.rsm.Submit(Read{args.Key})
	if reply.Err = err; err == rpc.OK {
		*reply = value.(rpc.GetReply)
	}
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	err, value := kv.rsm.Submit(Write{args.Key, args.Value, args.Version})
	if reply.Err = err; err == rpc.OK {
		reply.Err = value.(rpc.Err)
	}
}

func (kv *KVServer) Kill() {}

func StartKVServer(servers []*labrpc.ClientEnd, _ tester.Tgid, me int, persister *tester.Persister, maxraftstate int) []tester.IService {
	labgob.Register(Read{})
	labgob.Register(Write{})
	kv := &KVServer{Values: make(map[string]string), Versions: make(map[string]rpc.Tversion)}
	kv.rsm = rsm.MakeRSM(servers, me, persister, maxraftstate, kv)
	return []tester.IService{kv, kv.rsm.Raft()}
}
