package raft

import (
	"fmt"
	"math/rand/v2"
	"time"

	"raftlab/labgob"
	"raftlab/raft/core"
)

// applyBatchBytes is about the size of a batch of entries from the core to the
// applier.
const applyBatchBytes = 1 << 20

// with calls f on the core under the lock, announces a changed standing, and wakes
// the driver. After Kill, with does nothing.
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
	rf.announce()
	rf.log.Info("standing", "term", st.CurrentTerm, "state", st.State.String(),
		"leader", peer(st.Leader), "lastIndex", st.LastIndex, "commitIndex", st.CommitIndex)
}

// announce wakes those who wait for a change. The lock is held.
func (rf *Raft) announce() {
	close(rf.changed)
	rf.changed = make(chan struct{})
}

// signal puts a token into a channel of capacity 1, if there is none.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// drive ticks the core and executes each Ready. It hands saves to the saver, so a
// slow disk delays neither ticks nor messages.
func (rf *Raft) drive() {
	// A random first tick keeps servers with a common start from timing out
	// together.
	ticker := time.NewTicker(1 + rand.N(rf.interval))
	defer ticker.Stop()
	for {
		select {
		case <-rf.stop:
			return
		case <-ticker.C:
			ticker.Reset(rf.interval)
			rf.with(rf.tick)
		case <-rf.wake:
		}
		rf.work()
	}
}

// work executes Readies until the core has none, in the order of package core.
// While the saver waits for the disk, work sends only the messages without a save
// before them. So a leader replicates and keeps its followers, however slow its own
// disk is (thesis 10.2.1). Everything that arrives meanwhile shares the next save.
func (rf *Raft) work() {
	for {
		rf.mu.Lock()
		var rd core.Ready
		if rf.saving {
			rd.Messages = rf.core.Outgoing()
		} else {
			rd = rf.core.Ready()
			if rf.saving = rd.NeedsSave(); rf.saving {
				rf.stall.begin(rd, rf.interval)
			}
		}
		if rf.core.HasToApply() {
			signal(rf.applying)
		}
		rf.mu.Unlock()
		rf.sendAll(rd.Messages)
		switch {
		case rd.NeedsSave():
			rf.toSave <- rd // never blocks: one save at a time is under way
		case rd.Empty():
			return
		default:
			rf.sendAll(rd.AfterSave)
		}
	}
}

// saveAll saves one Ready after the other. No other goroutine saves entries, so
// the saves are in order.
func (rf *Raft) saveAll() {
	for {
		select {
		case <-rf.stop:
			return
		case rd := <-rf.toSave:
			if rf.killed() {
				return // another server may use the storage by now
			}
			err := rf.storage.Save(Update{HardState: rd.HardState, Snapshot: rd.Snapshot, Entries: rd.Entries})
			if err != nil {
				rf.fail(fmt.Errorf("raft: saving: %w", err))
				return
			}
			rf.sendAll(rd.AfterSave)
			rf.with(func(c *core.Core) {
				c.Saved(rd)
				rf.saving = false
				rf.endStall()
			})
		}
	}
}

// apply is the goroutine behind applyCh. It holds no lock while it waits for the
// service, so the service may call any method meanwhile.
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

// applyNext passes the next batch to the service. It returns false if the core has
// none, or after Kill.
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

// deliver puts a message on applyCh, and returns false after Kill.
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
