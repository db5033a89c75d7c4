// Package kvraft has a condition variable, and a table with the last operation of each
// client and its result. A ticker wakes handlers that wait in vain.
package kvraft

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const patience = time.Second

type LastOp struct {
	Seq   int64
	Value string
}

type KVServer struct {
	mu           sync.Mutex
	applied      *sync.Cond
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         atomic.Bool
	maxraftstate int
	persister    *raft.Persister

	store map[string]string
	table map[int64]LastOp
	index int // of the last applied command
}

func (kv *KVServer) Do(args *Args, reply *Reply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if last := kv.table[args.Client]; last.Seq == args.Seq {
		reply.Err, reply.Value = OK, last.Value
		return
	}
	index, term, leads := kv.rf.Start(*args)
	if !leads {
		reply.Err = ErrWrongLeader
		return
	}
	for begin := time.Now(); ; kv.applied.Wait() {
		if last := kv.table[args.Client]; last.Seq == args.Seq {
			reply.Err, reply.Value = OK, last.Value
			return
		}
		now, leads := kv.rf.GetState()
		switch {
		case kv.dead.Load() || !leads || now != term || kv.index >= index:
			reply.Err = ErrWrongLeader
			return
		case time.Since(begin) > patience:
			reply.Err = ErrTimeout
			return
		}
	}
}

func (kv *KVServer) apply(args Args) {
	if kv.table[args.Client].Seq >= args.Seq {
		return
	}
	switch args.Op {
	case "Put":
		kv.store[args.Key] = args.Value
	case "Append":
		kv.store[args.Key] += args.Value
	}
	last := LastOp{Seq: args.Seq}
	if args.Op == "Get" {
		last.Value = kv.store[args.Key]
	}
	kv.table[args.Client] = last
}

func (kv *KVServer) follow() {
	for msg := range kv.applyCh {
		kv.mu.Lock()
		if msg.SnapshotValid && msg.SnapshotIndex > kv.index {
			kv.load(msg.Snapshot)
			kv.index = msg.SnapshotIndex
		}
		if msg.CommandValid && msg.CommandIndex > kv.index {
			kv.index = msg.CommandIndex
			kv.apply(msg.Command.(Args))
			if kv.maxraftstate > 0 && kv.persister.RaftStateSize() > kv.maxraftstate*4/5 {
				kv.rf.Snapshot(kv.index, kv.dump())
			}
		}
		kv.applied.Broadcast()
		kv.mu.Unlock()
	}
}

func (kv *KVServer) tick() {
	for !kv.dead.Load() {
		time.Sleep(100 * time.Millisecond)
		kv.applied.Broadcast()
	}
}

func (kv *KVServer) dump() []byte {
	var buf bytes.Buffer
	e := labgob.NewEncoder(&buf)
	e.Encode(kv.store)
	e.Encode(kv.table)
	return buf.Bytes()
}

func (kv *KVServer) load(data []byte) {
	if len(data) == 0 {
		return
	}
	kv.store, kv.table = map[string]string{}, map[int64]LastOp{}
	d := labgob.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&kv.store); err != nil {
		panic(err)
	}
	if err := d.Decode(&kv.table); err != nil {
		panic(err)
	}
}

func (kv *KVServer) Kill() {
	kv.dead.Store(true)
	kv.rf.Kill()
	kv.applied.Broadcast()
}

func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Args{})
	kv := &KVServer{
		applyCh:      make(chan raft.ApplyMsg),
		maxraftstate: maxraftstate,
		persister:    persister,
		store:        map[string]string{},
		table:        map[int64]LastOp{},
	}
	kv.applied = sync.NewCond(&kv.mu)
	kv.load(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.follow()
	go kv.tick()
	return kv
}
