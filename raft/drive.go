package raft

import (
	"fmt"
	"time"

	"raftlab/labgob"
	"raftlab/raft/core"
)

// applyBatchBytes is about how much is taken out of the core at a time to be
// applied.
const applyBatchBytes = 1 << 20

// with lets f act on the core, tells those who wait if the server's standing
// has changed, and wakes the driver. After Kill it does nothing.
func (rf *Raft) with(f func(*core.Core)) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.killed() {
		return
	}
	f(rf.core)
	rf.observe()
	signal(rf.wake)
}

// observe notices a change of term or leadership. The lock is held.
func (rf *Raft) observe() {
	st := rf.core.Status()
	now := standing{term: st.CurrentTerm, isLeader: st.State == core.Leader}
	if now == rf.seen {
		return
	}
	rf.seen = now
	close(rf.changed)
	rf.changed = make(chan struct{})
	rf.log.Info("standing", "term", st.CurrentTerm, "state", st.State.String(),
		"leader", peer(st.Leader), "lastIndex", st.LastIndex, "commitIndex", st.CommitIndex)
}

// signal puts a token into a channel of capacity 1, if there is none.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// drive is the goroutine that gives the core its time and does what it wants
// done. It alone saves entries, so saves are in order; what comes in while one
// is under way shares the next.
func (rf *Raft) drive() {
	ticker := time.NewTicker(rf.interval)
	defer ticker.Stop()
	for {
		select {
		case <-rf.stop:
			return
		case <-ticker.C:
			rf.with((*core.Core).Tick)
		case <-rf.wake:
		}
		if err := rf.work(); err != nil {
			rf.fail(err)
			return
		}
	}
}

// work carries out the core's wishes until it has none, in the order that
// package core prescribes.
func (rf *Raft) work() error {
	for {
		rf.mu.Lock()
		rd := rf.core.Ready()
		if rf.core.HasToApply() {
			signal(rf.applying)
		}
		rf.mu.Unlock()
		if rd.Empty() {
			return nil
		}
		rf.sendAll(rd.Messages)
		if rd.NeedsSave() {
			if rf.killed() {
				return nil // the storage may be another's by now, so nothing is promised either
			}
			if err := rf.save(rd); err != nil {
				return err
			}
		}
		rf.sendAll(rd.AfterSave)
		rf.mu.Lock()
		rf.core.Saved(rd)
		rf.mu.Unlock()
	}
}

func (rf *Raft) save(rd core.Ready) error {
	err := rf.storage.Save(Update{HardState: rd.HardState, Snapshot: rd.Snapshot, Entries: rd.Entries})
	if err != nil {
		return fmt.Errorf("raft: saving: %w", err)
	}
	return nil
}

// apply is the goroutine that feeds the service. It holds no lock while it
// waits for applyCh, so the service may call any method meanwhile.
func (rf *Raft) apply() {
	for {
		select {
		case <-rf.applying:
		case <-rf.stop:
			return
		}
		for rf.applyNext() {
		}
	}
}

// applyNext hands the next batch to the service. It says false if there is
// none, or the server was stopped.
func (rf *Raft) applyNext() bool {
	rf.mu.Lock()
	snap, entries := rf.core.NextToApply(applyBatchBytes)
	if snap != nil {
		rf.installed = int(snap.LastIncludedIndex)
	}
	rf.mu.Unlock()
	if snap != nil {
		return rf.deliver(snapshotMsg(snap))
	}
	for _, e := range entries {
		msg, err := commandMsg(e)
		if err != nil {
			rf.fail(err)
			return false
		}
		if !rf.deliver(msg) {
			return false
		}
	}
	return len(entries) > 0
}

// deliver puts a message on applyCh; it says false if the server is killed first.
func (rf *Raft) deliver(msg ApplyMsg) bool {
	select {
	case rf.applyCh <- msg:
		return true
	case <-rf.stop:
		return false
	}
}

func snapshotMsg(snap *core.Snapshot) ApplyMsg {
	return ApplyMsg{
		SnapshotValid: true,
		Snapshot:      snap.Data,
		SnapshotTerm:  int(snap.LastIncludedTerm),
		SnapshotIndex: int(snap.LastIncludedIndex),
	}
}

func commandMsg(e core.Entry) (ApplyMsg, error) {
	command, err := labgob.Unmarshal(e.Data)
	if err != nil {
		return ApplyMsg{}, fmt.Errorf("raft: decoding the command at index %d: %w", e.Index, err)
	}
	return ApplyMsg{CommandValid: true, Command: command, CommandIndex: int(e.Index)}, nil
}
