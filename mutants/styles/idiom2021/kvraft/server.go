// Package kvraft has one lock, a channel for each log index that a handler waits for,
// and an applier goroutine.
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

const executeTimeout = 500 * time.Millisecond

// Op is a command in the log.
type Op struct {
	Type      string
	Key       string
	Value     string
	ClientId  int64
	CommandId int
}

type notification struct {
	clientId  int64
	commandId int
	err       Err
	value     string
}

// KVServer is a replica of the key/value service.
type KVServer struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         int32
	maxraftstate int
	persister    *raft.Persister

	data        map[string]string
	lastCommand map[int64]int // the newest command of each client
	lastApplied int
	notifyChs   map[int]chan notification
}

// Get handles a Get.
func (kv *KVServer) Get(args *GetArgs, reply *GetReply) {
	op := Op{Type: "Get", Key: args.Key, ClientId: args.ClientId, CommandId: args.CommandId}
	n := kv.execute(op)
	reply.Err, reply.Value = n.err, n.value
}

// PutAppend handles a Put or an Append.
func (kv *KVServer) PutAppend(args *PutAppendArgs, reply *PutAppendReply) {
	op := Op{Type: args.Op, Key: args.Key, Value: args.Value, ClientId: args.ClientId, CommandId: args.CommandId}
	reply.Err = kv.execute(op).err
}

// execute puts a command into the log, and waits for the result.
func (kv *KVServer) execute(op Op) notification {
	kv.mu.Lock()
	if op.Type != "Get" && kv.isDuplicate(op.ClientId, op.CommandId) {
		kv.mu.Unlock()
		return notification{err: OK}
	}
	index, _, isLeader := kv.rf.Start(op)
	if !isLeader {
		kv.mu.Unlock()
		return notification{err: ErrWrongLeader}
	}
	ch := make(chan notification, 1)
	kv.notifyChs[index] = ch
	kv.mu.Unlock()

	defer func() {
		kv.mu.Lock()
		if kv.notifyChs[index] == ch {
			delete(kv.notifyChs, index)
		}
		kv.mu.Unlock()
	}()
	select {
	case n := <-ch:
		if n.clientId != op.ClientId || n.commandId != op.CommandId {
			return notification{err: ErrWrongLeader}
		}
		return n
	case <-time.After(executeTimeout):
		return notification{err: ErrTimeout}
	}
}

func (kv *KVServer) isDuplicate(clientId int64, commandId int) bool {
	return kv.lastCommand[clientId] >= commandId
}

// applier applies what Raft has committed.
func (kv *KVServer) applier() {
	for !kv.killed() {
		msg := <-kv.applyCh
		kv.mu.Lock()
		switch {
		case msg.SnapshotValid:
			if kv.rf.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
				kv.readSnapshot(msg.Snapshot)
				kv.lastApplied = msg.SnapshotIndex
			}
		case msg.CommandValid && msg.CommandIndex > kv.lastApplied:
			kv.lastApplied = msg.CommandIndex
			kv.notify(msg.CommandIndex, kv.apply(msg.Command.(Op)))
			if kv.needSnapshot() {
				kv.rf.Snapshot(msg.CommandIndex, kv.snapshot())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *KVServer) apply(op Op) notification {
	n := notification{clientId: op.ClientId, commandId: op.CommandId, err: OK}
	if op.Type == "Get" {
		value, ok := kv.data[op.Key]
		if !ok {
			n.err = ErrNoKey
		}
		n.value = value
		return n
	}
	if kv.isDuplicate(op.ClientId, op.CommandId) {
		DPrintf("[%d] has seen %d of %d", kv.me, op.CommandId, op.ClientId)
		return n
	}
	kv.lastCommand[op.ClientId] = op.CommandId
	if op.Type == "Put" {
		kv.data[op.Key] = op.Value
	} else {
		kv.data[op.Key] += op.Value
	}
	return n
}

func (kv *KVServer) notify(index int, n notification) {
	if ch, ok := kv.notifyChs[index]; ok {
		ch <- n
		delete(kv.notifyChs, index)
	}
}

func (kv *KVServer) needSnapshot() bool {
	return kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate
}

func (kv *KVServer) snapshot() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(kv.data)
	e.Encode(kv.lastCommand)
	return w.Bytes()
}

func (kv *KVServer) readSnapshot(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewBuffer(snapshot))
	var data map[string]string
	var lastCommand map[int64]int
	if d.Decode(&data) != nil || d.Decode(&lastCommand) != nil {
		panic("the snapshot cannot be read")
	}
	kv.data, kv.lastCommand = data, lastCommand
}

// Kill stops the server.
func (kv *KVServer) Kill() {
	atomic.StoreInt32(&kv.dead, 1)
	kv.rf.Kill()
}

func (kv *KVServer) killed() bool {
	return atomic.LoadInt32(&kv.dead) == 1
}

// StartKVServer starts a replica.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Op{})
	kv := new(KVServer)
	kv.me = me
	kv.maxraftstate = maxraftstate
	kv.persister = persister
	kv.data = make(map[string]string)
	kv.lastCommand = make(map[int64]int)
	kv.notifyChs = make(map[int]chan notification)
	kv.readSnapshot(persister.ReadSnapshot())
	kv.applyCh = make(chan raft.ApplyMsg)
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applier()
	return kv
}
