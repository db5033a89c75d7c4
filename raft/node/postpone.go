package node

import (
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// A full disk costs a member snapshots, and not its life. A snapshot is a file or a
// record of its own. A storage whose error matches [ErrNoRoom] promises that nothing else
// is in doubt. The member then keeps the log, and tries again. Any other error of a
// snapshot stops the member, and any error of a save stops the host.

// firstRetry and lastRetry are the shortest and the longest time from a snapshot without
// room to the next attempt. The time doubles with each attempt, because an attempt may
// fill the disk for a moment.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// postponement is the time between attempts to save snapshots of one kind.
type postponement struct {
	pending atomic.Bool  // the last attempt found no room
	count   atomic.Int64 // of attempts without room

	// Only the goroutine with the baton touches these.
	err   error // of the last attempt
	wait  time.Duration
	until time.Time   // of the next attempt
	timer *time.Timer // begins the next attempt, nil if the service or the leader does
}

// extend notes an attempt without room.
func (p *postponement) extend(err error) {
	p.stop()
	p.count.Add(1)
	p.err = err
	p.wait = min(max(2*p.wait, firstRetry), lastRetry)
	p.until = time.Now().Add(p.wait)
	p.pending.Store(true)
}

func (p *postponement) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// end notes a snapshot that was saved.
func (p *postponement) end() {
	p.stop()
	p.err, p.wait = nil, 0
	p.pending.Store(false)
}

// reportNoRoom notes an attempt without room and tells operators.
func (n *Node) reportNoRoom(p *postponement, index uint64, err error) {
	p.extend(err)
	n.log.Warn("the disk has no room for a snapshot; the log stays", "index", index, "again in", p.wait, "error", err)
	n.host.events.add(Event{Kind: SnapshotPostponed, Group: n.cfg.Group, Index: index, Err: err})
}

// postponeSnapshot has the member try again to take a snapshot of its own.
func (n *Node) postponeSnapshot(index uint64, err error) {
	n.reportNoRoom(&n.own, index, err)
	n.own.timer = time.AfterFunc(n.own.wait, func() {
		n.call(func() {
			if n.own.pending.Load() {
				n.addApplyJob(applyJob{snapshot: true})
			}
		})
	})
}

// refuses reports whether a message is a part of the leader's snapshot for which the disk
// has no room yet. The leader sends the snapshot again, and heartbeats meanwhile.
func (n *Node) refuses(m core.Message) bool {
	if !n.leaders.pending.Load() || m.Call != 0 || !time.Now().Before(n.leaders.until) {
		return false
	}
	_, snapshot := m.Body.(*core.InstallSnapshot)
	return snapshot
}

// endPostponement notes that the disk has room for snapshots again.
func (n *Node) endPostponement() {
	n.own.end()
	n.leaders.end()
}

// NoRoom reports whether the disk had no room for the last snapshot, the member's own or
// the leader's. The member keeps the log and tries again. See [ErrNoRoom].
func (n *Node) NoRoom() bool { return n.own.pending.Load() || n.leaders.pending.Load() }
