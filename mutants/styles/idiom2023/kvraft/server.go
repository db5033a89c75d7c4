// Package kvraft is lab 3 in the idiom of 2023: a channel for each waiting handler, and
// a table of the last command of each client.
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

const commandTimeout = 400 * time.Millisecond

// Op is a command in the log.
type Op struct {
	Type     string // "Get", "Put" or "Append"
	Key      string
	Value    string
	ClientID int64
	Seq      int64
}

// result is what the applier tells a handler.
type result struct {
	clientID int64
	seq      int64
	err      Err
	value    string
}

// KVServer is a replica of the store.
type KVServer struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         atomic.Bool
	persister    *raft.Persister
	maxraftstate int

	data    map[string]string
	lastSeq map[int64]int64
	waiting map[int]chan result
}

// Get handles a read. Reads go through the log.
func (kv *KVServer) Get(args *GetArgs, reply *GetReply) {
	op := Op{Type: "Get", Key: args.Key, ClientID: args.ClientID, Seq: args.Seq}
	reply.Value, reply.Err = kv.propose(op)
}

// PutAppend handles a write.
func (kv *KVServer) PutAppend(args *PutAppendArgs, reply *PutAppendReply) {
	kv.mu.Lock()
	done := args.Seq <= kv.lastSeq[args.ClientID]
	kv.mu.Unlock()
	if done {
		reply.Err = OK
		return
	}
	_, reply.Err = kv.propose(Op{args.Op, args.Key, args.Value, args.ClientID, args.Seq})
}

// propose puts a command into the log, and waits until its index is applied.
func (kv *KVServer) propose(op Op) (string, Err) {
	kv.mu.Lock()
	index, _, isLeader := kv.rf.Start(op)
	if !isLeader || kv.killed() {
		kv.mu.Unlock()
		return "", ErrWrongLeader
	}
	ch := make(chan result, 1)
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
	case r := <-ch:
		if r.clientID != op.ClientID || r.seq != op.Seq {
			return "", ErrWrongLeader
		}
		return r.value, r.err
	case <-time.After(commandTimeout):
		return "", ErrTimeout
	}
}

// applier executes what Raft has committed.
func (kv *KVServer) applier() {
	for msg := range kv.applyCh {
		if kv.killed() {
			return
		}
		kv.mu.Lock()
		if msg.SnapshotValid {
			kv.restore(msg.Snapshot)
		} else if op, ok := msg.Command.(Op); ok && msg.CommandValid {
			r := kv.execute(op)
			if ch, ok := kv.waiting[msg.CommandIndex]; ok {
				ch <- r
				delete(kv.waiting, msg.CommandIndex)
			}
			if kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {
				kv.rf.Snapshot(msg.CommandIndex, kv.snapshot())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *KVServer) execute(op Op) result {
	r := result{clientID: op.ClientID, seq: op.Seq, err: OK}
	if op.Type == "Get" {
		value, ok := kv.data[op.Key]
		if !ok {
			r.err = ErrNoKey
		}
		r.value = value
		return r
	}
	if op.Seq <= kv.lastSeq[op.ClientID] {
		return r
	}
	kv.lastSeq[op.ClientID] = op.Seq
	if op.Type == "Put" {
		kv.data[op.Key] = op.Value
	} else {
		kv.data[op.Key] += op.Value
	}
	return r
}

func (kv *KVServer) snapshot() []byte {
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
	var data map[string]string
	var lastSeq map[int64]int64
	d := labgob.NewDecoder(bytes.NewBuffer(snapshot))
	if d.Decode(&data) != nil || d.Decode(&lastSeq) != nil {
		panic("kvraft: snapshot is damaged")
	}
	kv.data, kv.lastSeq = data, lastSeq
}

// Kill ends the server.
func (kv *KVServer) Kill() {
	kv.dead.Store(true)
	kv.rf.Kill()
}

func (kv *KVServer) killed() bool { return kv.dead.Load() }

// StartKVServer starts a replica.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Op{})
	kv := &KVServer{
		me:           me,
		applyCh:      make(chan raft.ApplyMsg),
		persister:    persister,
		maxraftstate: maxraftstate,
		data:         make(map[string]string),
		lastSeq:      make(map[int64]int64),
		waiting:      make(map[int]chan result),
	}
	kv.restore(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applier()
	return kv
}
