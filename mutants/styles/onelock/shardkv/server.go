// Package shardkv is a sharded key/value server in which a handler waits on a channel of
// the index that Start returned. New owners pull shards, and then let the old owners
// delete the copies.
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
	waitTimeout  = 500 * time.Millisecond
	pollInterval = 20 * time.Millisecond
)

// ShardState is the state of a shard in one group.
type ShardState int

const (
	Absent   ShardState = iota // another group's
	Serving                    // ours, complete
	Pulling                    // ours, still at the old owner
	Leaving                    // the new owner has not confirmed the arrival yet
	Cleaning                   // ours, complete, but the old owner keeps a copy
)

type Shard struct {
	State ShardState
	Data  map[string]string
}

// Op is a command of the log. Kind is a client's kind, or a kind from the list below.
type Op struct {
	Kind    string
	Client  OpArgs             // client operations
	Config  shardctrler.Config // configKind
	Num     int                // insertKind, deleteKind and cleanKind
	Shards  []int              // deleteKind and cleanKind
	Data    map[int]map[string]string
	LastSeq map[int64]int
}

const (
	configKind = "config" // the next config begins
	insertKind = "insert" // shards have been pulled
	deleteKind = "delete" // the new owner has the shards
	cleanKind  = "clean"  // the old owner has deleted its copy
	emptyKind  = "empty"  // commits the entries of earlier terms
)

type outcome struct {
	term  int
	err   Err
	value string
}

type ShardKV struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	dead         int32
	make_end     func(string) *labrpc.ClientEnd
	gid          int
	sm           *shardctrler.Clerk
	persister    *raft.Persister
	maxraftstate int

	config  shardctrler.Config
	last    shardctrler.Config // the one before config
	shards  [shardctrler.NShards]Shard
	lastSeq map[int64]int
	waiting map[int]chan outcome
}

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(Op{})
	kv := &ShardKV{
		me:           me,
		applyCh:      make(chan raft.ApplyMsg),
		make_end:     make_end,
		gid:          gid,
		sm:           shardctrler.MakeClerk(ctrlers),
		persister:    persister,
		maxraftstate: maxraftstate,
		lastSeq:      make(map[int64]int),
		waiting:      make(map[int]chan outcome),
	}
	kv.restore(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applier()
	go kv.whileLeader(kv.pollConfig)
	go kv.whileLeader(kv.pullShards)
	go kv.whileLeader(kv.cleanShards)
	go kv.commitOldTerms()
	return kv
}

// Operate serves the clerks.
func (kv *ShardKV) Operate(args *OpArgs, reply *OpReply) {
	kv.mu.Lock()
	serves := kv.serves(key2shard(args.Key))
	kv.mu.Unlock()
	if !serves {
		reply.Err = ErrWrongGroup
		return
	}
	out := kv.execute(Op{Kind: args.Kind, Client: *args})
	reply.Err, reply.Value = out.err, out.value
}

func (kv *ShardKV) serves(shard int) bool {
	state := kv.shards[shard].State
	return state == Serving || state == Cleaning
}

// execute brings op into the log and waits until a command is applied at the index of op.
// The applied command is op if the term has not changed since Start.
func (kv *ShardKV) execute(op Op) outcome {
	kv.mu.Lock()
	index, term, isLeader := kv.rf.Start(op)
	if !isLeader {
		kv.mu.Unlock()
		return outcome{err: ErrWrongLeader}
	}
	ch := make(chan outcome, 1)
	kv.waiting[index] = ch
	kv.mu.Unlock()

	select {
	case out := <-ch:
		if out.term == term {
			return out
		}
	case <-time.After(waitTimeout):
		kv.mu.Lock()
		if kv.waiting[index] == ch {
			delete(kv.waiting, index)
		}
		kv.mu.Unlock()
	}
	return outcome{err: ErrWrongLeader}
}

func (kv *ShardKV) applier() {
	for msg := range kv.applyCh {
		if kv.killed() {
			return
		}
		kv.mu.Lock()
		if msg.SnapshotValid {
			kv.restore(msg.Snapshot)
		} else if msg.CommandValid {
			out := kv.apply(msg.Command.(Op))
			if ch, ok := kv.waiting[msg.CommandIndex]; ok {
				// A server in the term of Start applies the command of that Start.
				out.term, _ = kv.rf.GetState()
				ch <- out
				delete(kv.waiting, msg.CommandIndex)
			}
			if kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {
				kv.rf.Snapshot(msg.CommandIndex, kv.encode())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *ShardKV) apply(op Op) outcome {
	switch op.Kind {
	case configKind:
		return kv.applyConfig(op.Config)
	case insertKind:
		return kv.applyInsert(op)
	case deleteKind:
		return kv.applyDelete(op)
	case cleanKind:
		return kv.applyClean(op)
	case emptyKind:
		return outcome{err: OK}
	}
	return kv.applyClient(op.Client)
}

func (kv *ShardKV) applyClient(args OpArgs) outcome {
	shard := key2shard(args.Key)
	if !kv.serves(shard) {
		return outcome{err: ErrWrongGroup}
	}
	data := kv.shards[shard].Data
	if args.Kind == "Get" {
		return outcome{err: OK, value: data[args.Key]}
	}
	if args.Seq <= kv.lastSeq[args.ClientId] {
		return outcome{err: OK}
	}
	kv.lastSeq[args.ClientId] = args.Seq
	if args.Kind == "Put" {
		data[args.Key] = args.Value
	} else {
		data[args.Key] += args.Value
	}
	return outcome{err: OK}
}

// snapshotState is the content of a snapshot.
type snapshotState struct {
	Config  shardctrler.Config
	Last    shardctrler.Config
	Shards  [shardctrler.NShards]Shard
	LastSeq map[int64]int
}

func (kv *ShardKV) encode() []byte {
	w := new(bytes.Buffer)
	labgob.NewEncoder(w).Encode(snapshotState{kv.config, kv.last, kv.shards, kv.lastSeq})
	return w.Bytes()
}

func (kv *ShardKV) restore(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	var s snapshotState
	if err := labgob.NewDecoder(bytes.NewBuffer(snapshot)).Decode(&s); err != nil {
		panic(err)
	}
	kv.config, kv.last, kv.shards, kv.lastSeq = s.Config, s.Last, s.Shards, s.LastSeq
	// Nil maps do not travel.
	if kv.lastSeq == nil {
		kv.lastSeq = make(map[int64]int)
	}
	for i := range kv.shards {
		if kv.shards[i].Data == nil {
			kv.shards[i].Data = make(map[string]string)
		}
	}
}

func (kv *ShardKV) Kill() {
	atomic.StoreInt32(&kv.dead, 1)
	kv.rf.Kill()
}

func (kv *ShardKV) killed() bool {
	return atomic.LoadInt32(&kv.dead) == 1
}
