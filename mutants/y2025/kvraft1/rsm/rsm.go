// Package rsm is a student's replicated state machine with one mutex, a reader of
// applyCh, and a table of the Submits that wait. The implementation is correct and serves
// as the control of the mutants.
package rsm

import (
	"bytes"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	raft "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

// lookInterval is the time between two looks at the term.
const lookInterval = 20 * time.Millisecond

// Op is a request in the log.
type Op struct {
	Me  int   // the server of the Submit
	ID  int64 // of the Submit on this server
	Req any
}

// StateMachine is a service's state.
type StateMachine interface {
	DoOp(any) any
	Snapshot() []byte
	Restore([]byte)
}

// waiting is a Submit that waits.
type waiting struct {
	term   int
	me     int
	id     int64
	result chan result
}

type result struct {
	ok    bool
	value any
}

// RSM is one server's copy of the state machine.
type RSM struct {
	mu           sync.Mutex
	me           int
	rf           raftapi.Raft
	applyCh      chan raftapi.ApplyMsg
	maxraftstate int
	sm           StateMachine

	lastID  int64
	applied int
	waiters map[int]waiting // by index
}

// MakeRSM starts a server.
func MakeRSM(servers []*labrpc.ClientEnd, me int, persister *tester.Persister, maxraftstate int, sm StateMachine) *RSM {
	labgob.Register(Op{})
	rsm := &RSM{
		me:           me,
		maxraftstate: maxraftstate,
		applyCh:      make(chan raftapi.ApplyMsg),
		sm:           sm,
		waiters:      make(map[int]waiting),
		lastID:       time.Now().UnixNano(),
	}
	if snapshot := persister.ReadSnapshot(); len(snapshot) > 0 {
		rsm.restore(snapshot)
	}
	rsm.rf = raft.Make(servers, me, persister, rsm.applyCh)
	go rsm.reader()
	go rsm.looker()
	return rsm
}

// Raft returns the Raft server.
func (rsm *RSM) Raft() raftapi.Raft { return rsm.rf }

// Submit proposes a request and waits for the result.
func (rsm *RSM) Submit(req any) (rpc.Err, any) {
	rsm.mu.Lock()
	rsm.lastID++
	op := Op{Me: rsm.me, ID: rsm.lastID, Req: req}
	index, term, isLeader := rsm.rf.Start(op)
	if !isLeader {
		rsm.mu.Unlock()
		return rpc.ErrWrongLeader, nil
	}
	if old, ok := rsm.waiters[index]; ok {
		old.result <- result{}
	}
	w := waiting{term: term, me: op.Me, id: op.ID, result: make(chan result, 1)}
	rsm.waiters[index] = w
	rsm.mu.Unlock()
	if r := <-w.result; r.ok {
		return rpc.OK, r.value
	}
	return rpc.ErrWrongLeader, nil
}

// reader applies what Raft delivers, until Raft closes applyCh or for ever.
func (rsm *RSM) reader() {
	for msg := range rsm.applyCh {
		rsm.mu.Lock()
		if msg.CommandValid {
			rsm.apply(msg.CommandIndex, msg.Command.(Op))
		} else if msg.SnapshotValid && msg.SnapshotIndex > rsm.applied {
			rsm.restore(msg.Snapshot)
		}
		rsm.mu.Unlock()
	}
}

// apply executes a request, and answers the Submit at its index.
func (rsm *RSM) apply(index int, op Op) {
	if index <= rsm.applied {
		return
	}
	value := rsm.sm.DoOp(op.Req)
	rsm.applied = index
	if w, ok := rsm.waiters[index]; ok {
		w.result <- result{w.me == op.Me && w.id == op.ID, value}
		delete(rsm.waiters, index)
	}
	if rsm.maxraftstate > 0 && rsm.rf.PersistBytes() >= rsm.maxraftstate {
		rsm.rf.Snapshot(index, rsm.encode())
	}
}

// looker notices a new term, and a kill of Raft, which tell no Submit.
func (rsm *RSM) looker() {
	for {
		time.Sleep(lookInterval)
		rsm.look()
	}
}

func (rsm *RSM) look() {
	term, isLeader := rsm.rf.GetState()
	rsm.mu.Lock()
	defer rsm.mu.Unlock()
	rsm.release(func(w waiting) bool { return w.term < term || !isLeader && w.term <= term })
}

// release ends Submits without a result.
func (rsm *RSM) release(over func(waiting) bool) {
	for index, w := range rsm.waiters {
		if over(w) {
			w.result <- result{}
			delete(rsm.waiters, index)
		}
	}
}

// encode returns a snapshot.
func (rsm *RSM) encode() []byte {
	var buf bytes.Buffer
	e := labgob.NewEncoder(&buf)
	if e.Encode(rsm.applied) != nil || e.Encode(rsm.sm.Snapshot()) != nil {
		panic("rsm: a snapshot has no encoding")
	}
	return buf.Bytes()
}

// restore replaces the state by a snapshot.
func (rsm *RSM) restore(snapshot []byte) {
	var applied int
	var state []byte
	d := labgob.NewDecoder(bytes.NewReader(snapshot))
	if d.Decode(&applied) != nil || d.Decode(&state) != nil {
		panic("rsm: an unreadable snapshot")
	}
	rsm.applied = applied
	rsm.sm.Restore(state)
	rsm.release(func(w waiting) bool { return true })
}
