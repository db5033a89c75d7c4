// Package kvraft is a key/value server whose handlers wait on one condition variable until
// the session of the client has reached the command.
package kvraft

import (
	"bytes"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const (
	patience   = 400 * time.Millisecond // of a handler
	wakeupTime = 25 * time.Millisecond
)

type Kind int8

const (
	get Kind = iota
	put
	add
)

// Command is both the request and the command in the log.
type Command struct {
	Kind   Kind
	Key    string
	Value  string
	Client int64
	Seq    int64
}

// Reply is Done if the command has been applied.
type Reply struct {
	Done  bool
	Value string
}

// store is the replicated state, and the content of a snapshot.
type store struct {
	Values   map[string]string
	Sessions map[int64]int64 // by client, the number of the last command
}

type KVServer struct {
	mu      sync.Mutex
	changed *sync.Cond // after each command, and now and then
	rf      *raft.Raft
	store   store

	applyCh      chan raft.ApplyMsg
	persister    *raft.Persister
	maxraftstate int
	quit         chan struct{}
	quitOnce     sync.Once
}

func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Command{})
	kv := &KVServer{
		applyCh:      make(chan raft.ApplyMsg),
		persister:    persister,
		maxraftstate: maxraftstate,
		quit:         make(chan struct{}),
	}
	kv.changed = sync.NewCond(&kv.mu)
	kv.load(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.applyLoop()
	go kv.wakeLoop()
	return kv
}

// Do proposes the command unless it has been applied, and waits for the session.
func (kv *KVServer) Do(c *Command, reply *Reply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.store.Sessions[c.Client] < c.Seq {
		_, term, leads := kv.rf.Start(*c)
		for deadline := time.Now().Add(patience); kv.store.Sessions[c.Client] < c.Seq; {
			if !leads || time.Now().After(deadline) {
				return
			}
			kv.changed.Wait()
			var now int
			now, leads = kv.rf.GetState()
			leads = leads && now == term
		}
	}
	reply.Done = true
	if c.Kind == get {
		// A value later than the command's index is valid, because the client still waits.
		reply.Value = kv.store.Values[c.Key]
	}
}

func (kv *KVServer) applyLoop() {
	for {
		select {
		case <-kv.quit:
			return
		case msg := <-kv.applyCh:
			kv.mu.Lock()
			if msg.SnapshotValid {
				kv.load(msg.Snapshot)
			}
			if msg.CommandValid {
				kv.store.apply(msg.Command.(Command))
				kv.compact(msg.CommandIndex)
			}
			kv.changed.Broadcast()
			kv.mu.Unlock()
		}
	}
}

// wakeLoop wakes the handlers, which check the leadership and the deadline.
func (kv *KVServer) wakeLoop() {
	ticker := time.NewTicker(wakeupTime)
	defer ticker.Stop()
	for {
		select {
		case <-kv.quit:
			return
		case <-ticker.C:
			kv.changed.Broadcast()
		}
	}
}

func (s *store) apply(c Command) {
	if s.Sessions[c.Client] >= c.Seq {
		return
	}
	s.Sessions[c.Client] = c.Seq
	switch c.Kind {
	case put:
		s.Values[c.Key] = c.Value
	case add:
		s.Values[c.Key] += c.Value
	}
}

// compact takes a snapshot if the log is too long.
func (kv *KVServer) compact(index int) {
	if kv.maxraftstate < 0 || kv.persister.RaftStateSize() < kv.maxraftstate {
		return
	}
	var buf bytes.Buffer
	labgob.NewEncoder(&buf).Encode(kv.store)
	kv.rf.Snapshot(index, buf.Bytes())
}

func (kv *KVServer) load(snapshot []byte) {
	var s store
	if len(snapshot) > 0 {
		if err := labgob.NewDecoder(bytes.NewReader(snapshot)).Decode(&s); err != nil {
			panic(err)
		}
	}
	if s.Values == nil {
		s.Values = map[string]string{}
	}
	if s.Sessions == nil {
		s.Sessions = map[int64]int64{}
	}
	kv.store = s
}

func (kv *KVServer) Kill() {
	kv.quitOnce.Do(func() {
		kv.rf.Kill()
		close(kv.quit)
		kv.changed.Broadcast()
	})
}
