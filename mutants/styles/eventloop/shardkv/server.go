// Package shardkv is a sharded key/value server whose handlers wait on one condition
// variable. Old owners push shards to new owners, and then drop the copies.
package shardkv

import (
	"bytes"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
)

const (
	patience  = 400 * time.Millisecond // of a handler
	workPause = 40 * time.Millisecond
)

type ShardKV struct {
	mu      sync.Mutex
	changed *sync.Cond
	rf      *raft.Raft
	state   state

	end          func(string) *labrpc.ClientEnd
	ctrler       *shardctrler.Clerk
	applyCh      chan raft.ApplyMsg
	persister    *raft.Persister
	maxraftstate int
	quit         chan struct{}
	quitOnce     sync.Once
}

func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	for _, command := range []any{Request{}, NewConfig{}, Arrival{}, Departure{}, Nothing{}} {
		labgob.Register(command)
	}
	kv := &ShardKV{
		state:        state{GID: gid},
		end:          make_end,
		ctrler:       shardctrler.MakeClerk(ctrlers),
		applyCh:      make(chan raft.ApplyMsg),
		persister:    persister,
		maxraftstate: maxraftstate,
		quit:         make(chan struct{}),
	}
	kv.changed = sync.NewCond(&kv.mu)
	kv.load(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applyLoop()
	go kv.every(kv.changed.Broadcast)
	go kv.every(kv.fetchConfig)
	go kv.every(kv.pushShards())
	go kv.every(kv.proposeNothing())
	return kv
}

// every calls work with pauses until Kill.
func (kv *ShardKV) every(work func()) {
	for {
		select {
		case <-kv.quit:
			return
		case <-time.After(workPause):
			work()
		}
	}
}

func (kv *ShardKV) leads() bool {
	_, leads := kv.rf.GetState()
	return leads
}

// propose brings a command into the log and waits until finished is true. The caller
// holds the lock. propose returns false after the loss of leadership, and after patience.
func (kv *ShardKV) propose(command any, finished func() bool) bool {
	_, term, leads := kv.rf.Start(command)
	deadline := time.Now().Add(patience)
	for leads && time.Now().Before(deadline) {
		if finished() {
			return true
		}
		kv.changed.Wait()
		var now int
		now, leads = kv.rf.GetState()
		leads = leads && now == term
	}
	return false
}

func (kv *ShardKV) Do(r *Request, reply *Reply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	finished := func() bool {
		t := kv.state.serving(key2shard(r.Key))
		return t == nil || t.finished(*r)
	}
	if !finished() && !kv.propose(*r, finished) {
		return
	}
	t := kv.state.serving(key2shard(r.Key))
	if t == nil {
		reply.Code = wrongGroup
		return
	}
	reply.Code = done
	if r.Kind == get {
		reply.Value = t.Box.Values[r.Key]
	}
}

func (kv *ShardKV) applyLoop() {
	for {
		select {
		case <-kv.quit:
			return
		case msg := <-kv.applyCh:
			kv.mu.Lock()
			if msg.SnapshotValid {
				kv.load(msg.Snapshot)
			} else if msg.CommandValid {
				kv.state.apply(msg.Command)
				kv.compact(msg.CommandIndex)
			}
			kv.changed.Broadcast()
			kv.mu.Unlock()
		}
	}
}

func (kv *ShardKV) compact(index int) {
	if kv.maxraftstate < 0 || kv.persister.RaftStateSize() < kv.maxraftstate {
		return
	}
	var buf bytes.Buffer
	labgob.NewEncoder(&buf).Encode(kv.state)
	kv.rf.Snapshot(index, buf.Bytes())
}

func (kv *ShardKV) load(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	var s state
	if err := labgob.NewDecoder(bytes.NewReader(snapshot)).Decode(&s); err != nil {
		panic(err)
	}
	for _, stints := range s.Stints {
		for i := range stints {
			stints[i].Box = stints[i].Box.copy()
		}
	}
	kv.state = s
}

func (kv *ShardKV) Kill() {
	kv.quitOnce.Do(func() {
		kv.rf.Kill()
		close(kv.quit)
		kv.changed.Broadcast()
	})
}
