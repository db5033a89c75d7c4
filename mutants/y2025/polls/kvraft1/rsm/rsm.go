// Package rsm has one mutex. A Submit polls for its result every five milliseconds.
package rsm

import (
	"bytes"
	"math/rand"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	raft "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

const pollInterval = 5 * time.Millisecond

type Op struct {
	Me  int
	Id  int64
	Req any
}

type StateMachine interface {
	DoOp(any) any
	Snapshot() []byte
	Restore([]byte)
}

type outcome struct {
	id    int64
	value any
}

type RSM struct {
	mu           sync.Mutex
	me           int
	rf           raftapi.Raft
	applyCh      chan raftapi.ApplyMsg
	maxraftstate int
	sm           StateMachine

	lastApplied int
	closed      bool
	outcomes    map[int]outcome // of this server's requests, by index
}

func MakeRSM(servers []*labrpc.ClientEnd, me int, persister *tester.Persister, maxraftstate int, sm StateMachine) *RSM {
	labgob.Register(Op{})
	rsm := &RSM{
		me:           me,
		maxraftstate: maxraftstate,
		applyCh:      make(chan raftapi.ApplyMsg),
		sm:           sm,
		outcomes:     make(map[int]outcome),
	}
	if data := persister.ReadSnapshot(); len(data) > 0 {
		rsm.install(data)
	}
	rsm.rf = raft.Make(servers, me, persister, rsm.applyCh)
	go rsm.reader()
	return rsm
}

func (rsm *RSM) Raft() raftapi.Raft { return rsm.rf }

func (rsm *RSM) Submit(req any) (rpc.Err, any) {
	op := Op{Me: rsm.me, Id: rand.Int63(), Req: req}
	index, term, isLeader := rsm.rf.Start(op)
	if !isLeader {
		return rpc.ErrWrongLeader, nil
	}
	for {
		if o, ready := rsm.poll(index); ready {
			if o.id == op.Id {
				return rpc.OK, o.value
			}
			return rpc.ErrWrongLeader, nil
		}
		if now, still := rsm.rf.GetState(); !still || now != term {
			return rpc.ErrWrongLeader, nil
		}
		time.Sleep(pollInterval)
	}
}

func (rsm *RSM) poll(index int) (outcome, bool) {
	rsm.mu.Lock()
	defer rsm.mu.Unlock()
	o := rsm.outcomes[index]
	delete(rsm.outcomes, index)
	return o, rsm.lastApplied >= index || rsm.closed
}

func (rsm *RSM) reader() {
	for msg := range rsm.applyCh {
		rsm.mu.Lock()
		if msg.SnapshotValid {
			if msg.SnapshotIndex > rsm.lastApplied {
				rsm.install(msg.Snapshot)
				rsm.lastApplied = msg.SnapshotIndex
			}
		} else if msg.CommandIndex > rsm.lastApplied {
			rsm.lastApplied = msg.CommandIndex
			op := msg.Command.(Op)
			value := rsm.sm.DoOp(op.Req)
			if op.Me == rsm.me {
				rsm.outcomes[msg.CommandIndex] = outcome{op.Id, value}
				delete(rsm.outcomes, msg.CommandIndex-1000) // nobody asks any more
			}
			if rsm.maxraftstate > 0 && rsm.rf.PersistBytes() > rsm.maxraftstate {
				rsm.rf.Snapshot(msg.CommandIndex, rsm.dump())
			}
		}
		rsm.mu.Unlock()
	}
	rsm.mu.Lock()
	rsm.closed = true
	rsm.mu.Unlock()
}

func (rsm *RSM) dump() []byte {
	w := new(bytes.Buffer)
	labgob.NewEncoder(w).Encode(rsm.lastApplied)
	return append(w.Bytes(), rsm.sm.Snapshot()...)
}

func (rsm *RSM) install(data []byte) {
	r := bytes.NewBuffer(data)
	var applied int
	if labgob.NewDecoder(r).Decode(&applied) != nil {
		panic("a bad snapshot")
	}
	rsm.lastApplied = applied
	rsm.sm.Restore(r.Bytes())
}
