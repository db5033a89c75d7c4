// Package shardkv has one lock. A group that loses a shard parks the shard's content
// by the configuration number, and the new owner pulls the content.
package shardkv

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
)

const (
	executeTimeout = 500 * time.Millisecond
	configInterval = 80 * time.Millisecond
	pullInterval   = 50 * time.Millisecond
	cleanInterval  = 100 * time.Millisecond
)

// Op is a client's command in the log.
type Op struct {
	Type      string
	Key       string
	Value     string
	ClientId  int64
	CommandId int
}

// CleanOp drops a parked shard.
type CleanOp struct {
	Shard     int
	ConfigNum int
}

// CleanedOp says that the old owner has dropped its parked shard.
type CleanedOp struct {
	Shard     int
	ConfigNum int
}

// EmptyOp lets a new leader commit the entries of older terms.
type EmptyOp struct{}

type notification struct {
	clientId  int64
	commandId int
	err       Err
	value     string
}

// ShardKV is a replica of a group.
type ShardKV struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	make_end     func(string) *labrpc.ClientEnd
	gid          int
	maxraftstate int
	persister    *raft.Persister
	dead         int32

	configClerk *shardctrler.Clerk
	cleanClerk  *shardctrler.Clerk
	notifyChs   map[int]chan notification
	lastApplied int
	emptyTerm   int // the last term with an EmptyOp of this server

	// The replicated state.
	config      shardctrler.Config
	previous    shardctrler.Config
	db          map[string]string // of all shards that the group owns
	lastCommand map[int64]int
	myShards    map[int]bool
	incoming    map[int]int                       // shard to the number of its old owner's configuration
	parked      map[int]map[int]map[string]string // by the last configuration of the owner, and shard
	garbage     map[int]map[int]bool              // what old owners may drop
}

// Get handles a Get.
func (kv *ShardKV) Get(args *GetArgs, reply *GetReply) {
	op := Op{Type: "Get", Key: args.Key, ClientId: args.ClientId, CommandId: args.CommandId}
	n := kv.execute(op)
	reply.Err, reply.Value = n.err, n.value
}

// PutAppend handles a Put or an Append.
func (kv *ShardKV) PutAppend(args *PutAppendArgs, reply *PutAppendReply) {
	op := Op{Type: args.Op, Key: args.Key, Value: args.Value, ClientId: args.ClientId, CommandId: args.CommandId}
	reply.Err = kv.execute(op).err
}

func (kv *ShardKV) execute(op Op) notification {
	kv.mu.Lock()
	if !kv.myShards[key2shard(op.Key)] {
		kv.mu.Unlock()
		return notification{err: ErrWrongGroup}
	}
	index, _, isLeader := kv.rf.Start(op)
	if !isLeader {
		kv.mu.Unlock()
		return notification{err: ErrWrongLeader}
	}
	ch := kv.notifyChannel(index)
	kv.mu.Unlock()

	n := kv.await(index, ch)
	if n.err != ErrTimeout && (n.clientId != op.ClientId || n.commandId != op.CommandId) {
		n.err = ErrWrongLeader
	}
	return n
}

// notifyChannel makes the channel for an index. The caller has the lock.
func (kv *ShardKV) notifyChannel(index int) chan notification {
	ch := make(chan notification, 1)
	kv.notifyChs[index] = ch
	return ch
}

func (kv *ShardKV) await(index int, ch chan notification) notification {
	defer func() {
		kv.mu.Lock()
		if kv.notifyChs[index] == ch {
			delete(kv.notifyChs, index)
		}
		kv.mu.Unlock()
	}()
	select {
	case n := <-ch:
		return n
	case <-time.After(executeTimeout):
		return notification{err: ErrTimeout}
	}
}

func (kv *ShardKV) applier() {
	for !kv.killed() {
		msg := <-kv.applyCh
		kv.mu.Lock()
		if msg.SnapshotValid {
			if kv.rf.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
				kv.readSnapshot(msg.Snapshot)
				kv.lastApplied = msg.SnapshotIndex
			}
		} else if msg.CommandValid && msg.CommandIndex > kv.lastApplied {
			kv.lastApplied = msg.CommandIndex
			n := kv.apply(msg.Command)
			if ch, ok := kv.notifyChs[msg.CommandIndex]; ok {
				ch <- n
				delete(kv.notifyChs, msg.CommandIndex)
			}
			if kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {
				kv.rf.Snapshot(msg.CommandIndex, kv.snapshot())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *ShardKV) apply(command interface{}) notification {
	switch op := command.(type) {
	case Op:
		return kv.applyClient(op)
	case shardctrler.Config:
		kv.applyConfig(op)
	case MigrateReply:
		kv.applyShard(op)
	case CleanOp:
		delete(kv.parked[op.ConfigNum], op.Shard)
		if len(kv.parked[op.ConfigNum]) == 0 {
			delete(kv.parked, op.ConfigNum)
		}
	case CleanedOp:
		delete(kv.garbage[op.ConfigNum], op.Shard)
		if len(kv.garbage[op.ConfigNum]) == 0 {
			delete(kv.garbage, op.ConfigNum)
		}
	}
	return notification{err: OK}
}

func (kv *ShardKV) applyClient(op Op) notification {
	n := notification{clientId: op.ClientId, commandId: op.CommandId, err: OK}
	if !kv.myShards[key2shard(op.Key)] {
		n.err = ErrWrongGroup
		return n
	}
	if op.Type == "Get" {
		value, ok := kv.db[op.Key]
		if !ok {
			n.err = ErrNoKey
		}
		n.value = value
		return n
	}
	if kv.lastCommand[op.ClientId] >= op.CommandId {
		return n
	}
	kv.lastCommand[op.ClientId] = op.CommandId
	if op.Type == "Put" {
		kv.db[op.Key] = op.Value
	} else {
		kv.db[op.Key] += op.Value
	}
	return n
}

// Kill stops the server.
func (kv *ShardKV) Kill() {
	atomic.StoreInt32(&kv.dead, 1)
	kv.rf.Kill()
}

func (kv *ShardKV) killed() bool {
	return atomic.LoadInt32(&kv.dead) == 1
}

func (kv *ShardKV) snapshot() []byte {
	w := new(bytes.Buffer)
	e := labgob.NewEncoder(w)
	e.Encode(kv.config)
	e.Encode(kv.previous)
	e.Encode(kv.db)
	e.Encode(kv.lastCommand)
	e.Encode(kv.myShards)
	e.Encode(kv.incoming)
	e.Encode(kv.parked)
	e.Encode(kv.garbage)
	return w.Bytes()
}

func (kv *ShardKV) readSnapshot(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewBuffer(snapshot))
	var config, previous shardctrler.Config
	var db map[string]string
	var lastCommand map[int64]int
	var myShards map[int]bool
	var incoming map[int]int
	var parked map[int]map[int]map[string]string
	var garbage map[int]map[int]bool
	if d.Decode(&config) != nil || d.Decode(&previous) != nil || d.Decode(&db) != nil ||
		d.Decode(&lastCommand) != nil || d.Decode(&myShards) != nil || d.Decode(&incoming) != nil ||
		d.Decode(&parked) != nil || d.Decode(&garbage) != nil {
		panic("the snapshot cannot be read")
	}
	kv.config, kv.previous, kv.db, kv.lastCommand = config, previous, db, lastCommand
	kv.myShards, kv.incoming, kv.parked, kv.garbage = myShards, incoming, parked, garbage
}

// commitOldTerms proposes an entry in each term of this leader. Without the entry, a
// group that waits for nothing but the entries of older terms would wait for ever.
func (kv *ShardKV) commitOldTerms() {
	term, _ := kv.rf.GetState()
	if term == kv.emptyTerm {
		return
	}
	if _, started, ok := kv.rf.Start(EmptyOp{}); ok {
		kv.emptyTerm = started
	}
}

// daemon calls f at each interval while the server leads.
func (kv *ShardKV) daemon(interval time.Duration, f func()) {
	for !kv.killed() {
		if _, isLeader := kv.rf.GetState(); isLeader {
			f()
		}
		time.Sleep(interval)
	}
}

// StartServer starts a replica of group gid.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int, ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(Op{})
	labgob.Register(shardctrler.Config{})
	labgob.Register(MigrateReply{})
	labgob.Register(CleanOp{})
	labgob.Register(EmptyOp{})
	labgob.Register(CleanedOp{})

	kv := new(ShardKV)
	kv.me = me
	kv.maxraftstate = maxraftstate
	kv.persister = persister
	kv.make_end = make_end
	kv.gid = gid
	kv.configClerk = shardctrler.MakeClerk(ctrlers)
	kv.cleanClerk = shardctrler.MakeClerk(ctrlers)
	kv.notifyChs = make(map[int]chan notification)
	kv.db = make(map[string]string)
	kv.lastCommand = make(map[int64]int)
	kv.myShards = make(map[int]bool)
	kv.incoming = make(map[int]int)
	kv.parked = make(map[int]map[int]map[string]string)
	kv.garbage = make(map[int]map[int]bool)
	kv.readSnapshot(persister.ReadSnapshot())
	kv.applyCh = make(chan raft.ApplyMsg)
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)

	go kv.applier()
	go kv.daemon(configInterval, kv.pollConfig)
	go kv.daemon(configInterval, kv.commitOldTerms)
	go kv.daemon(pullInterval, kv.pullShards)
	go kv.daemon(cleanInterval, kv.cleanShards)
	return kv
}
