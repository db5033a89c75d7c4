package raft

import (
	"fmt"
	"math/rand/v2"
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
// done. Saving is left to another, so that a leader whose disk is slow still
// sends; what comes in while a save is under way shares the next one.
func (rf *Raft) drive() {
	// The first tick comes at a random moment, so that servers that were started
	// together, as tests do, do not time out together.
	ticker := time.NewTicker(1 + rand.N(rf.interval))
	defer ticker.Stop()
	toSave, saved := make(chan core.Ready, 1), make(chan core.Ready)
	defer close(toSave)
	rf.running.Go(func() { rf.saveAll(toSave, saved) })
	saving := false
	for {
		select {
		case <-rf.stop:
			return
		case <-ticker.C:
			ticker.Reset(rf.interval)
			rf.with((*core.Core).Tick)
		case <-rf.wake:
		case rd := <-saved:
			rf.finish(rd)
			saving = false
		}
		saving = rf.work(saving, toSave)
	}
}

// work carries out the core's wishes, in the order that package core
// prescribes, until it has none or a save is under way; it says which.
func (rf *Raft) work(saving bool, toSave chan<- core.Ready) bool {
	for !saving {
		var rd core.Ready
		rf.advance(func(c *core.Core) { rd = c.Ready() })
		if rd.Empty() {
			return false
		}
		rf.sendAll(rd.Messages)
		if rd.NeedsSave() {
			toSave <- rd
			saving = true
		} else {
			rf.finish(rd)
		}
	}
	var messages []core.Message
	rf.advance(func(c *core.Core) { messages = c.Messages() })
	rf.sendAll(messages)
	return true
}

// finish does what had to wait until rd was saved.
func (rf *Raft) finish(rd core.Ready) {
	rf.sendAll(rd.AfterSave)
	rf.advance(func(c *core.Core) { c.Saved(rd) })
}

// advance is the driver's access to the core. It wakes the applier if there is
// something for it.
func (rf *Raft) advance(f func(*core.Core)) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	f(rf.core)
	if rf.core.HasToApply() {
		signal(rf.applying)
	}
}

// saveAll is the goroutine that saves, in order, what the driver hands to it,
// until the driver ends. A save that fails stops the server.
func (rf *Raft) saveAll(toSave <-chan core.Ready, saved chan<- core.Ready) {
	for rd := range toSave {
		if rf.killed() {
			return // the storage may be another server's by now
		}
		err := rf.storage.Save(Update{HardState: rd.HardState, Snapshot: rd.Snapshot, Entries: rd.Entries})
		if err != nil {
			rf.fail(fmt.Errorf("raft: saving: %w", err))
			return
		}
		select {
		case saved <- rd:
		case <-rf.stop:
			return
		}
	}
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
