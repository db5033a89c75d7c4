// Package shardkv is lab 4 in the idiom of 2023: the leader of a group polls the
// controller, pulls the shards that the group gets, and has them deleted afterwards.
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
	commandTimeout = 400 * time.Millisecond
	pollPeriod     = 50 * time.Millisecond
)

// Op is an entry of the log. Kind is a client's command, or one of the kinds below.
type Op struct {
	Kind     string
	Key      string
	Value    string
	ClientID int64
	Seq      int64

	Config shardctrler.Config
	Ticket Ticket
	Shard  Shard
}

// Kinds of commands that groups give to themselves.
const (
	opConfig = "config" // the next configuration
	opInsert = "insert" // a shard has been pulled
	opDrop   = "drop"   // the new owner has the shard
	opClean  = "clean"  // the old owner has deleted the shard
	opNoop   = "noop"   // commits the entries of earlier terms
)

// state is all that a snapshot contains.
type state struct {
	Config   shardctrler.Config
	Shards   map[int]Shard       // those that are served
	Incoming map[int]Source      // shards to pull
	Parked   map[int]Source      // shards that belong to nobody, and where they are
	Outgoing map[Ticket]Shard    // shards that left, until the new owner has them
	Obsolete map[Ticket][]string // pulled shards that the old owner still has
}

// Source says where a shard waits for its next owner.
type Source struct {
	Ticket  Ticket
	Servers []string
}

type waiter struct {
	op Op
	ch chan CommandReply
}

// ShardKV is a replica of a group.
type ShardKV struct {
	mu           sync.Mutex
	me           int
	rf           *raft.Raft
	applyCh      chan raft.ApplyMsg
	makeEnd      func(string) *labrpc.ClientEnd
	gid          int
	ctrler       *shardctrler.Clerk
	maxraftstate int
	persister    *raft.Persister
	dead         atomic.Bool

	st       state
	waiters  map[int]waiter
	ends     map[string]*labrpc.ClientEnd
	busy     map[string]bool // tasks under way
	noopTerm int             // the term of the last noop
}

func newState() state {
	return state{
		Config:   shardctrler.Config{Groups: map[int][]string{}},
		Shards:   map[int]Shard{},
		Incoming: map[int]Source{},
		Parked:   map[int]Source{},
		Outgoing: map[Ticket]Shard{},
		Obsolete: map[Ticket][]string{},
	}
}

func (s Shard) clone() Shard {
	c := Shard{Data: make(map[string]string), LastSeq: make(map[int64]int64)}
	for k, v := range s.Data {
		c.Data[k] = v
	}
	for k, v := range s.LastSeq {
		c.LastSeq[k] = v
	}
	return c
}

// Command handles a client's command.
func (kv *ShardKV) Command(args *CommandArgs, reply *CommandReply) {
	*reply = kv.propose(Op{
		Kind:     args.Kind,
		Key:      args.Key,
		Value:    args.Value,
		ClientID: args.ClientID,
		Seq:      args.Seq,
	})
}

// propose waits until the command is applied.
func (kv *ShardKV) propose(op Op) CommandReply {
	kv.mu.Lock()
	index, _, isLeader := kv.rf.Start(op)
	if !isLeader {
		kv.mu.Unlock()
		return CommandReply{Err: ErrWrongLeader}
	}
	w := waiter{op, make(chan CommandReply, 1)}
	kv.waiters[index] = w
	kv.mu.Unlock()
	select {
	case reply := <-w.ch:
		return reply
	case <-time.After(commandTimeout):
		kv.mu.Lock()
		defer kv.mu.Unlock()
		if kv.waiters[index].ch == w.ch {
			delete(kv.waiters, index)
		}
		return CommandReply{Err: ErrWrongLeader}
	}
}

// is compares what identifies a command.
func (op Op) is(other Op) bool {
	return op.Kind == other.Kind && op.ClientID == other.ClientID && op.Seq == other.Seq &&
		op.Config.Num == other.Config.Num && op.Ticket == other.Ticket
}

func (kv *ShardKV) applier() {
	for msg := range kv.applyCh {
		if kv.killed() {
			return
		}
		kv.mu.Lock()
		if msg.SnapshotValid {
			kv.restore(msg.Snapshot)
		} else if op, ok := msg.Command.(Op); ok && msg.CommandValid {
			reply := kv.execute(op)
			if w, ok := kv.waiters[msg.CommandIndex]; ok {
				delete(kv.waiters, msg.CommandIndex)
				if !w.op.is(op) {
					reply = CommandReply{Err: ErrWrongLeader}
				}
				w.ch <- reply
			}
			if kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {
				kv.rf.Snapshot(msg.CommandIndex, kv.snapshot())
			}
		}
		kv.mu.Unlock()
	}
}

func (kv *ShardKV) snapshot() []byte {
	w := new(bytes.Buffer)
	labgob.NewEncoder(w).Encode(kv.st)
	return w.Bytes()
}

func (kv *ShardKV) restore(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	var st state
	if err := labgob.NewDecoder(bytes.NewBuffer(snapshot)).Decode(&st); err != nil {
		panic("shardkv: snapshot: " + err.Error())
	}
	fresh := newState()
	fresh.Config = st.Config
	for shard, content := range st.Shards {
		fresh.Shards[shard] = content.clone()
	}
	for shard, source := range st.Incoming {
		fresh.Incoming[shard] = source
	}
	for shard, source := range st.Parked {
		fresh.Parked[shard] = source
	}
	for ticket, content := range st.Outgoing {
		fresh.Outgoing[ticket] = content.clone()
	}
	for ticket, servers := range st.Obsolete {
		fresh.Obsolete[ticket] = servers
	}
	kv.st = fresh
}

// Kill ends the replica.
func (kv *ShardKV) Kill() {
	kv.dead.Store(true)
	kv.rf.Kill()
}

func (kv *ShardKV) killed() bool { return kv.dead.Load() }

// StartServer starts a replica of group gid.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(Op{})
	kv := &ShardKV{
		me:           me,
		applyCh:      make(chan raft.ApplyMsg),
		makeEnd:      make_end,
		gid:          gid,
		ctrler:       shardctrler.MakeClerk(ctrlers),
		maxraftstate: maxraftstate,
		persister:    persister,
		st:           newState(),
		waiters:      make(map[int]waiter),
		ends:         make(map[string]*labrpc.ClientEnd),
		busy:         make(map[string]bool),
	}
	kv.restore(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applier()
	go kv.configLoop()
	go kv.moveLoop()
	return kv
}
