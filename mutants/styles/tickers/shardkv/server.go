// Package shardkv has a condition variable and a state for each shard. A goroutine each
// polls for configurations, for missing shards and for shards to delete at the last
// owner.
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

const patience = time.Second

// The commands in the log beside the clients' Args.
type (
	ConfigOp struct{ Config shardctrler.Config }
	InsertOp struct {
		Num     int
		Content map[int]Shard
	}
	ForgetOp struct {
		Num    int
		Shards []int
	}
	BeginOp     struct{} // the first entry of a leader's term, which commits the older ones
	CollectedOp struct {
		Num    int
		Shards []int
	}
)

type ShardKV struct {
	mu           sync.Mutex
	applied      *sync.Cond
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         atomic.Bool
	makeEnd      func(string) *labrpc.ClientEnd
	ctrler       *shardctrler.Clerk
	gid          int
	maxraftstate int
	persister    *raft.Persister

	config shardctrler.Config
	last   shardctrler.Config
	shards [shardctrler.NShards]Shard
	index  int
}

func (kv *ShardKV) serves(shard int) bool {
	status := kv.shards[shard].Status
	return status == Serving || status == Collecting
}

func (kv *ShardKV) Do(args *Args, reply *Reply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	shard := key2shard(args.Key)
	if !kv.serves(shard) {
		reply.Err = ErrWrongGroup
		return
	}
	done := func() bool {
		last, ok := kv.shards[shard].Table[args.Client]
		if ok && last.Seq == args.Seq && kv.serves(shard) {
			reply.Err, reply.Value = OK, last.Value
			return true
		}
		return false
	}
	if !done() {
		reply.Err = kv.submit(*args, done)
	}
}

// submit puts a command into the log, and waits for done. The caller holds the lock.
func (kv *ShardKV) submit(command any, done func() bool) Err {
	index, term, leads := kv.rf.Start(command)
	if !leads {
		return ErrWrongLeader
	}
	for begin := time.Now(); !done(); kv.applied.Wait() {
		now, leads := kv.rf.GetState()
		switch {
		case kv.dead.Load() || !leads || now != term || kv.index >= index:
			return ErrWrongLeader
		case time.Since(begin) > patience:
			return ErrTimeout
		}
	}
	return OK
}

func (kv *ShardKV) apply(command any) {
	switch op := command.(type) {
	case Args:
		kv.applyArgs(op)
	case ConfigOp:
		kv.applyConfig(op.Config)
	case InsertOp:
		kv.applyInsert(op)
	case ForgetOp:
		kv.applyForget(op)
	case CollectedOp:
		kv.applyCollected(op)
	}
}

func (kv *ShardKV) applyArgs(args Args) {
	shard := key2shard(args.Key)
	if !kv.serves(shard) {
		return
	}
	s := &kv.shards[shard]
	if s.Table[args.Client].Seq >= args.Seq {
		return
	}
	last := LastOp{Seq: args.Seq}
	switch args.Op {
	case "Get":
		last.Value = s.Data[args.Key]
	case "Put":
		s.Data[args.Key] = args.Value
	case "Append":
		s.Data[args.Key] += args.Value
	}
	s.Table[args.Client] = last
}

func (kv *ShardKV) follow() {
	for msg := range kv.applyCh {
		kv.mu.Lock()
		switch {
		case msg.SnapshotValid && msg.SnapshotIndex > kv.index:
			kv.load(msg.Snapshot)
			kv.index = msg.SnapshotIndex
		case msg.CommandValid && msg.CommandIndex > kv.index:
			kv.apply(msg.Command)
			kv.index = msg.CommandIndex
			if kv.maxraftstate > 0 && kv.persister.RaftStateSize() > kv.maxraftstate*4/5 {
				kv.rf.Snapshot(kv.index, kv.dump())
			}
		}
		kv.applied.Broadcast()
		kv.mu.Unlock()
	}
}

func (kv *ShardKV) dump() []byte {
	var buf bytes.Buffer
	e := labgob.NewEncoder(&buf)
	e.Encode(kv.config)
	e.Encode(kv.last)
	e.Encode(kv.shards)
	return buf.Bytes()
}

func (kv *ShardKV) load(data []byte) {
	if len(data) == 0 {
		return
	}
	var config, last shardctrler.Config
	var shards [shardctrler.NShards]Shard
	d := labgob.NewDecoder(bytes.NewReader(data))
	if d.Decode(&config) != nil || d.Decode(&last) != nil || d.Decode(&shards) != nil {
		panic("a broken snapshot")
	}
	for i := range shards {
		shards[i] = shards[i].clone() // labgob decodes an empty map as nil
	}
	kv.config, kv.last, kv.shards = config, last, shards
}

func (kv *ShardKV) Kill() {
	kv.dead.Store(true)
	kv.rf.Kill()
}

// every calls f at each tick of a leader.
func (kv *ShardKV) every(interval time.Duration, f func()) {
	for !kv.dead.Load() {
		time.Sleep(interval)
		if _, leads := kv.rf.GetState(); leads {
			f()
		}
	}
}

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int, ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(Args{})
	labgob.Register(ConfigOp{})
	labgob.Register(InsertOp{})
	labgob.Register(ForgetOp{})
	labgob.Register(CollectedOp{})
	labgob.Register(BeginOp{})
	kv := &ShardKV{
		applyCh:      make(chan raft.ApplyMsg),
		makeEnd:      make_end,
		ctrler:       shardctrler.MakeClerk(ctrlers),
		gid:          gid,
		maxraftstate: maxraftstate,
		persister:    persister,
	}
	for i := range kv.shards {
		kv.shards[i] = emptyShard(Elsewhere)
	}
	kv.applied = sync.NewCond(&kv.mu)
	kv.load(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.follow()
	begun := 0
	go kv.every(50*time.Millisecond, func() {
		if term, _ := kv.rf.GetState(); term != begun {
			if _, started, ok := kv.rf.Start(BeginOp{}); ok {
				begun = started
			}
		}
	})
	go kv.every(80*time.Millisecond, kv.pollConfig)
	go kv.every(50*time.Millisecond, kv.pollMissing)
	go kv.every(100*time.Millisecond, kv.pollCollecting)
	go func() {
		for !kv.dead.Load() {
			time.Sleep(100 * time.Millisecond)
			kv.applied.Broadcast()
		}
	}()
	return kv
}
