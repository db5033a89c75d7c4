package coretest

import (
	"slices"

	"raftlab/raft/core"
)

// The events of this file are sequences that chance alone rarely finds. A read depends on
// a late message, or on a promise that a restarted server has to keep. A load ends after
// the log or the follower has gone on.

// readByOldAnswers lets the answers to a leader's old heartbeats arrive when another
// server leads, and the old leader has begun a read (thesis 6.4).
func (x *explorer) readByOldAnswers() {
	old := x.leader()
	if old == core.None || len(x.opt.Clocks) > 0 {
		return
	}
	for range x.opt.Config.HeartbeatTicks {
		x.Tick(old)
	}
	x.FinishAll()
	x.DeliverAll()
	x.FinishAll()
	x.Hold(old)
	x.isolate(old)
	for range 4 * x.opt.Config.ElectionTicks {
		for _, id := range x.ids {
			if id != old {
				x.Tick(id)
			}
		}
		x.settleOnce()
	}
	x.propose()
	x.settleOnce()
	x.settleOnce()
	x.read(old)
	x.Finish(old)
	x.Heal()
	x.deliverHeld()
	x.Finish(old)
}

// readAcrossRestart lets the answer to a server's read arrive after a restart of the
// server, which has begun another read.
func (x *explorer) readAcrossRestart(id core.NodeID) {
	if !x.Up(id) || x.Core(id).Status().State == core.Leader {
		return
	}
	x.read(id)
	x.settleOnce()
	x.settleOnce()
	x.settleOnce()
	x.Hold(id)
	x.Crash(id)
	x.Restart(id)
	x.propose()
	for range 1 + x.opt.Config.HeartbeatTicks {
		x.tickAll()
		x.settleOnce()
	}
	x.settleOnce()
	x.read(id)
	x.Finish(id)
	x.deliverHeld()
	x.Finish(id)
}

// readUnderLease cuts a candidate off from the leader alone, and then the leader from all
// others, which forget the leader in a restart. Meanwhile the leader serves reads under
// its lease (thesis 6.4.1).
func (x *explorer) readUnderLease(candidate core.NodeID) {
	leader := x.leader()
	if x.opt.Config.LeaseTicks == 0 || leader == core.None || leader == candidate {
		return
	}
	x.Cut(leader, candidate)
	x.Cut(candidate, leader)
	for range 2 + x.next(3*x.opt.Config.ElectionTicks) {
		x.tickAll()
		x.settleOnce()
	}
	x.isolate(leader)
	for _, id := range x.ids {
		if id != leader && id != candidate {
			x.Crash(id)
			x.Restart(id)
		}
	}
	x.readBehind(leader)
}

// readInTransfer cuts a leader off that has just told a successor to take over. The
// leader serves reads meanwhile.
func (x *explorer) readInTransfer(to core.NodeID) {
	leader := x.leader()
	if x.opt.Config.LeaseTicks == 0 || leader == core.None || x.Transfer(leader, to) != nil {
		return
	}
	x.FinishAll()
	x.DeliverAll()
	x.isolate(leader)
	x.readBehind(leader)
}

// readByNewerTerm lets a follower hear of a newer term within the lease of its leader. The
// answer to a former request for a vote tells the term, which a candidate without pre-vote
// has begun. The candidate then asks the follower, and the leader, which is cut off, serves
// reads under its lease (thesis 6.4.1).
func (x *explorer) readByNewerTerm(follower, candidate core.NodeID) {
	if !x.opt.Config.NoPreVote || x.opt.Config.LeaseTicks == 0 || follower == candidate || !x.Up(follower) || !x.Up(candidate) {
		return
	}
	x.isolate(follower)
	former := x.awaitRequest(follower, candidate)
	x.Heal()
	for range 6 * x.opt.Config.ElectionTicks {
		x.tickAll()
		x.settleOnce()
	}
	leader := x.Leader()
	if former == nil || leader == core.None || leader == follower || leader == candidate {
		return
	}
	x.isolate(candidate)
	request := x.awaitRequest(candidate, follower)
	x.Heal()
	x.isolate(leader)
	for _, e := range []*envelope{former, request} {
		if e == nil || x.Err() != nil {
			x.Heal()
			return
		}
		x.pool = []envelope{*e}
		for range 4 { // the answer, and what follows
			x.settleOnce()
		}
	}
	x.readAfterCommit(leader)
}

// awaitRequest lets time pass until a server asks another one for a vote, and returns the
// request, nil for none.
func (x *explorer) awaitRequest(from, to core.NodeID) *envelope {
	for range 4 * x.opt.Config.ElectionTicks {
		x.tickSlowly()
		x.FinishAll()
		for _, e := range x.pool {
			if _, ok := e.msg.Body.(*core.RequestVote); ok && e.msg.From == from && e.msg.To == to {
				return &e
			}
		}
		x.settleOnce()
	}
	return nil
}

// readByLateAnswers lets the answers to a leader's heartbeat arrive late, when the leader is
// cut off. The lease began with the heartbeat (thesis 6.4.1).
func (x *explorer) readByLateAnswers() {
	leader := x.leader()
	if x.opt.Config.LeaseTicks == 0 || leader == core.None {
		return
	}
	for range x.opt.Config.HeartbeatTicks {
		x.tickAll()
	}
	x.settleOnce()
	x.Hold(leader)
	x.isolate(leader)
	for range 1 + x.next(x.opt.Config.ElectionTicks) {
		x.tickSlowly()
		x.settleOnce()
	}
	x.Heal()
	x.deliverHeld()
	x.isolate(leader)
	for range 3 * x.opt.Config.ElectionTicks { // the others elect another leader
		x.tickSlowly()
		x.settleOnce()
		x.proposeAndRead(leader)
	}
	x.Heal()
}

// proposeAndRead proposes a command to the cluster, and then reads from a leader that may be
// deposed.
func (x *explorer) proposeAndRead(leader core.NodeID) {
	x.propose()
	x.settleOnce()
	x.read(leader)
	x.Finish(leader)
}

// readInSilence cuts off a quiescent leader. The clock of such a leader stands still, so
// there is no lease.
func (x *explorer) readInSilence() {
	if !x.opt.Config.Quiesce || x.opt.Config.LeaseTicks == 0 {
		return
	}
	for range 4 * x.opt.Config.ElectionTicks {
		x.settleOnce()
		x.tickSlowly()
	}
	leader := x.leader()
	if leader == core.None || !x.Core(leader).Quiescent() {
		return
	}
	x.isolate(leader)
	for _, id := range x.ids {
		if id != leader {
			x.Wake(id)
		}
	}
	for range 3 * x.opt.Config.ElectionTicks { // a command or a read would start the clock
		x.tickSlowly()
		x.settleOnce()
	}
	x.readAfterCommit(leader)
}

// readAfterCommit commits a command, and then reads from a leader that is cut off.
func (x *explorer) readAfterCommit(leader core.NodeID) {
	x.propose()
	x.settleOnce()
	x.settleOnce()
	x.read(leader)
	x.Finish(leader)
	x.Heal()
}

// readBehind lets a leader that is cut off read, while the others elect another leader and
// commit.
func (x *explorer) readBehind(leader core.NodeID) {
	for range 4 {
		x.tickSlowly()
		x.settleOnce()
		x.settleOnce()
		x.proposeAndRead(leader)
	}
	x.Heal()
}

// lateSnapshot lets copies of the messages with a snapshot arrive when the server has gone
// on (section 7).
func (x *explorer) lateSnapshot(id core.NodeID) {
	x.fallBehind(id)
	var copies []envelope
	for range 4 * x.opt.Config.HeartbeatTicks {
		x.tickAll()
		x.FinishAll()
		for _, e := range x.pool {
			if _, ok := e.msg.Body.(*core.InstallSnapshot); ok && e.msg.To == id {
				copies = append(copies, e)
			}
		}
		x.DeliverAll()
	}
	for range 3 {
		x.propose()
		x.settleOnce()
	}
	x.Snapshot(id, false) // the log no longer shows that the late one is old
	x.held = append(x.held, copies...)
	x.deliverHeld()
	x.Finish(id)
}

// loadAcrossCompaction lets a leader read entries for a follower that was cut off, and
// compacts these entries before the core gets them.
func (x *explorer) loadAcrossCompaction(id core.NodeID) {
	leader := x.leader()
	if x.opt.Config.MaxCachedBytes == 0 || leader == core.None || leader == id {
		return
	}
	x.isolate(id)
	for range 6 + x.next(4) {
		x.propose()
		x.settleOnce()
	}
	x.SlowLoads(leader, true)
	x.Heal()
	for range 2 * x.opt.Config.HeartbeatTicks {
		x.tickSlowly()
		x.settleOnce()
	}
	for range 4 {
		x.propose()
		x.settleOnce()
	}
	x.Snapshot(leader, false)
	x.SlowLoads(leader, false)
	x.Finish(leader)
}

// loadOvertaken lets a follower's answers to earlier requests arrive while the leader
// reads the same entries again, because the leader took the requests for lost.
func (x *explorer) loadOvertaken(id core.NodeID) {
	leader := x.leader()
	if x.opt.Config.MaxCachedBytes == 0 || leader == core.None || leader == id || !x.Up(id) {
		return
	}
	var answers []envelope
	for range 4 + x.next(4) {
		x.propose()
		for range 2 { // the second time for the answers of the others
			x.settleOnce()
			x.pool = slices.DeleteFunc(x.pool, func(e envelope) bool {
				late := e.msg.From == id && e.msg.To == leader
				if late {
					answers = append(answers, e)
				}
				return late
			})
		}
	}
	if x.Err() != nil || !x.Up(leader) {
		return
	}
	x.SlowLoads(leader, true)
	x.Core(leader).Unreachable(id)
	x.Finish(leader)
	for _, e := range answers {
		x.pool = append([]envelope{e}, x.pool...)
		x.Deliver(0)
		x.Finish(leader)
	}
	x.SlowLoads(leader, false)
	x.Finish(leader)
}

// isolate cuts all links of a server.
func (x *explorer) isolate(id core.NodeID) {
	for _, other := range x.ids {
		x.Cut(id, other)
		x.Cut(other, id)
	}
}

// settleOnce lets the servers work, and the messages arrive.
func (x *explorer) settleOnce() {
	x.FinishAll()
	x.DeliverAll()
	x.FinishAll()
}

// deliverHeld delivers the held messages before all others.
func (x *explorer) deliverHeld() {
	late := len(x.held)
	x.Release()
	for range late {
		if x.Err() == nil {
			x.Deliver(0)
		}
	}
}
