// Package rsm has one goroutine that owns the state machine. Submits send their request
// and wait for an answer.
package rsm

import (
	"crypto/rand"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	raft "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

// Op is a request in the log.
type Op struct {
	Name string // of the submission
	Req  any
}

// StateMachine is a service.
type StateMachine interface {
	DoOp(any) any
	Snapshot() []byte
	Restore([]byte)
}

type answer struct {
	err   rpc.Err
	value any
}

type submission struct {
	op     Op
	term   int
	answer chan answer // has room for the answer
}

// RSM is a replica.
type RSM struct {
	rf          raftapi.Raft
	applyCh     chan raftapi.ApplyMsg
	submissions chan submission
	ended       chan struct{} // closed when Raft has closed applyCh
}

// MakeRSM starts a replica.
func MakeRSM(servers []*labrpc.ClientEnd, me int, persister *tester.Persister, maxraftstate int, sm StateMachine) *RSM {
	labgob.Register(Op{})
	rsm := &RSM{
		applyCh:     make(chan raftapi.ApplyMsg),
		submissions: make(chan submission),
		ended:       make(chan struct{}),
	}
	if snapshot := persister.ReadSnapshot(); len(snapshot) > 0 {
		sm.Restore(snapshot)
	}
	rsm.rf = raft.Make(servers, me, persister, rsm.applyCh)
	go rsm.loop(sm, maxraftstate)
	return rsm
}

// Raft returns the replica's Raft.
func (rsm *RSM) Raft() raftapi.Raft { return rsm.rf }

// Submit proposes a request, and returns the result.
func (rsm *RSM) Submit(req any) (rpc.Err, any) {
	if _, leads := rsm.rf.GetState(); !leads {
		return rpc.ErrWrongLeader, nil
	}
	s := submission{op: Op{Name: rand.Text(), Req: req}, answer: make(chan answer, 1)}
	select {
	case rsm.submissions <- s:
	case <-rsm.ended:
		return rpc.ErrWrongLeader, nil
	}
	select {
	case a := <-s.answer:
		return a.err, a.value
	case <-rsm.ended:
		return rpc.ErrWrongLeader, nil
	}
}

func (rsm *RSM) loop(sm StateMachine, maxraftstate int) {
	defer close(rsm.ended)
	waiting := make(map[int]submission)
	refuse := func(index int) {
		if s, ok := waiting[index]; ok {
			s.answer <- answer{err: rpc.ErrWrongLeader}
			delete(waiting, index)
		}
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case s := <-rsm.submissions:
			index, term, leads := rsm.rf.Start(s.op)
			if !leads {
				s.answer <- answer{err: rpc.ErrWrongLeader}
				continue
			}
			refuse(index)
			s.term = term
			waiting[index] = s
		case msg, open := <-rsm.applyCh:
			if !open {
				return
			}
			if msg.SnapshotValid {
				sm.Restore(msg.Snapshot)
				for index := range waiting {
					if index <= msg.SnapshotIndex {
						refuse(index)
					}
				}
				continue
			}
			op := msg.Command.(Op)
			value := sm.DoOp(op.Req)
			if s, ok := waiting[msg.CommandIndex]; ok && s.op.Name == op.Name {
				s.answer <- answer{rpc.OK, value}
				delete(waiting, msg.CommandIndex)
			}
			refuse(msg.CommandIndex)
			if maxraftstate > 0 && rsm.rf.PersistBytes() >= maxraftstate {
				rsm.rf.Snapshot(msg.CommandIndex, sm.Snapshot())
			}
		case <-ticker.C:
			term, leads := rsm.rf.GetState()
			for index, s := range waiting {
				if !leads || s.term != term {
					refuse(index)
				}
			}
		}
	}
}
