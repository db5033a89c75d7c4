// Package kvraft is a key/value server in which a handler waits on a channel of the
// index that Start returned.
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

const waitTimeout = 500 * time.Millisecond

type Op struct {
	Kind     string // Get, Put or Append
	Key      string
	Value    string
	ClientId int64
	Seq      int
}

// applied is what a handler hears of the command that was applied at its index.
type applied struct {
	clientId int64
	seq      int
	value    string
}

type KVServer struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         int32
	persister    *raft.Persister
	maxraftstate int

	data    map[string]string
	lastSeq map[int64]int // of each client, the last command applied
	waiting map[int]chan applied
}

func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Op{})
	kv := &KVServer{
		me:           me,
		persister:    persister,
		maxraftstate: maxraftstate,
		applyCh:      make(chan raft.ApplyMsg),
		data:         make(map[string]string),
		lastSeq:      make(map[int64]int),
		waiting:      make(map[int]chan applied),
	}
	kv.restore(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applier()
	return kv
}

func (kv *KVServer) Get(args *GetArgs, reply *GetReply) {
	op := Op{Kind: "Get", Key: args.Key, ClientId: args.ClientId, Seq: args.Seq}
	reply.Value, reply.Err = kv.execute(op)
}

func (kv *KVServer) PutAppend(args *PutAppendArgs, reply *PutAppendReply) {
	op := Op{Kind: args.Op, Key: args.Key, Value: args.Value, ClientId: args.ClientId, Seq: args.Seq}
	_, reply.Err = kv.execute(op)
}

// execute brings op into the log and waits until something is applied at its index.
func (kv *KVServer) execute(op Op) (string, Err) {
	kv.mu.Lock()
	index, _, isLeader := kv.rf.Start(op)
	if !isLeader {
		kv.mu.Unlock()
		return "", ErrWrongLeader
	}
	ch := make(chan applied, 1)
	kv.waiting[index] = ch
	kv.mu.Unlock()

	defer func() {
		kv.mu.Lock()
		if kv.waiting[index] == ch {
			delete(kv.waiting, index)
		}
		kv.mu.Unlock()
	}()
	select {
	case a := <-ch:
		if a.clientId != op.ClientId || a.seq != op.Seq {
			return "", ErrWrongLeader // another leader's command took the index
		}
		return a.value, OK
	case <-time.After(waitTimeout):
		return "", ErrTimeout
	}
}

func (kv *KVServer) applier() {
	for msg := range kv.applyCh {
		if kv.killed() {
			return
		}
		kv.mu.Lock()
		if msg.SnapshotValid {
			if kv.rf.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
				kv.restore(msg.Snapshot)
			}
		} else if msg.CommandValid {
			op := msg.Command.(Op)
			value := kv.apply(op)
			if ch, ok := kv.waiting[msg.CommandIndex]; ok {
				ch <- applied{op.ClientId, op.Seq, value}
				delete(kv.waiting, msg.CommandIndex)
			}
			if kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {
				kv.rf.Snapshot(msg.CommandIndex, kv.encode())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *KVServer) apply(op Op) string {
	if op.Kind == "Get" {
		return kv.data[op.Key]
	}
	if op.Seq <= kv.lastSeq[op.ClientId] {
		return "" // a retry of something that was applied
	}
	kv.lastSeq[op.ClientId] = op.Seq
	if op.Kind == "Put" {
		kv.data[op.Key] = op.Value
	} else {
		kv.data[op.Key] += op.Value
	}
	return ""
}

func (kv *KVServer) encode() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(kv.data)
	e.Encode(kv.lastSeq)
	return w.Bytes()
}

func (kv *KVServer) restore(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewBuffer(snapshot))
	var data map[string]string
	var lastSeq map[int64]int
	if d.Decode(&data) != nil || d.Decode(&lastSeq) != nil {
		panic("cannot read the snapshot")
	}
	kv.data, kv.lastSeq = data, lastSeq
}

func (kv *KVServer) Kill() {
	atomic.StoreInt32(&kv.dead, 1)
	kv.rf.Kill()
}

func (kv *KVServer) killed() bool {
	return atomic.LoadInt32(&kv.dead) == 1
}
