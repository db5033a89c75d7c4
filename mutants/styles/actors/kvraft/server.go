// Package kvraft has one goroutine that owns the state and calls Raft. Handlers send
// their command to the goroutine, and wait for the answer with a limit.
package kvraft

import (
	"bytes"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

const patience = 500 * time.Millisecond

type request struct {
	command Command
	term    int
	answer  chan Answer // has room for the answer
}

// KVServer is a replica.
type KVServer struct {
	rf       *raft.Raft
	requests chan request
	applyCh  chan raft.ApplyMsg
	quit     chan struct{}
	once     sync.Once
}

// machine is the state, which belongs to the loop.
type machine struct {
	values map[string]string
	seen   map[string]uint64 // the last number of each clerk
}

// Run is the RPC of all operations.
func (kv *KVServer) Run(c Command, answer *Answer) {
	r := request{command: c, answer: make(chan Answer, 1)}
	timeout := time.After(patience)
	select {
	case kv.requests <- r:
	case <-timeout:
		return
	case <-kv.quit:
		return
	}
	select {
	case *answer = <-r.answer:
	case <-timeout:
	case <-kv.quit:
	}
}

// loop is the only goroutine that touches the state.
func (kv *KVServer) loop(m machine, persister *raft.Persister, limit int) {
	waiting := make(map[int]request)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-kv.quit:
			return
		case r := <-kv.requests:
			if r.command.Kind != "get" && m.seen[r.command.Clerk] >= r.command.Number {
				r.answer <- Answer{Done: true}
				continue
			}
			index, term, leads := kv.rf.Start(r.command)
			if !leads {
				r.answer <- Answer{}
				continue
			}
			if old, ok := waiting[index]; ok {
				old.answer <- Answer{} // its entry was overwritten
			}
			r.term = term
			waiting[index] = r
		case msg := <-kv.applyCh:
			if msg.SnapshotValid {
				m = load(msg.Snapshot)
				continue
			}
			c := msg.Command.(Command)
			answer := m.apply(c)
			if r, ok := waiting[msg.CommandIndex]; ok {
				delete(waiting, msg.CommandIndex)
				if r.command != c {
					answer = Answer{}
				}
				r.answer <- answer
			}
			if limit > 0 && persister.RaftStateSize() >= limit {
				kv.rf.Snapshot(msg.CommandIndex, m.dump())
			}
		case <-ticker.C:
			term, leads := kv.rf.GetState()
			for index, r := range waiting {
				if !leads || r.term != term {
					delete(waiting, index)
					r.answer <- Answer{}
				}
			}
		}
	}
}

func (m machine) apply(c Command) Answer {
	if c.Kind == "get" {
		return Answer{Done: true, Value: m.values[c.Key]}
	}
	if m.seen[c.Clerk] < c.Number {
		m.seen[c.Clerk] = c.Number
		if c.Kind == "append" {
			c.Value = m.values[c.Key] + c.Value
		}
		m.values[c.Key] = c.Value
	}
	return Answer{Done: true}
}

func (m machine) dump() []byte {
	var b bytes.Buffer
	e := labgob.NewEncoder(&b)
	e.Encode(m.values)
	e.Encode(m.seen)
	return b.Bytes()
}

func load(snapshot []byte) machine {
	m := machine{make(map[string]string), make(map[string]uint64)}
	if len(snapshot) > 0 {
		d := labgob.NewDecoder(bytes.NewReader(snapshot))
		if d.Decode(&m.values) != nil || d.Decode(&m.seen) != nil {
			panic("kvraft: broken snapshot")
		}
	}
	return m
}

// Kill ends the loop.
func (kv *KVServer) Kill() {
	kv.once.Do(func() { close(kv.quit) })
	kv.rf.Kill()
}

// StartKVServer starts a replica.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(Command{})
	kv := &KVServer{
		requests: make(chan request),
		applyCh:  make(chan raft.ApplyMsg),
		quit:     make(chan struct{}),
	}
	m := load(persister.ReadSnapshot())
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go kv.loop(m, persister, maxraftstate)
	return kv
}
