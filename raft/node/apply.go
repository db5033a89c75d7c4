package node

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// applyJob is what is handed to the state machine in one go: committed entries
// with their proposals, or a snapshot to restore.
type applyJob struct {
	entries   []core.Entry
	load      core.Range  // in place of entries: what is read from the storage
	proposals []*proposal // in the order of the entries; nil where an entry is not from here
	restore   uint64      // index of the snapshot to restore; 0: none
	snapshot  bool        // take a snapshot, whatever was applied since the last one
	bytes     int
}

// applier hands committed entries to the state machine, in order. The core puts
// jobs in; a goroutine of the host's applying pool takes them out.
type applier struct {
	mu      sync.Mutex
	jobs    queue[applyJob]
	bytes   int  // of the jobs and of the one under way
	running bool // a goroutine works on the jobs
	full    bool // the core waits for room
	closed  bool
	quick   atomic.Bool // the last calls of Apply took less than quickApply on average

	// Only the goroutine of the jobs touches these.
	commands []Command
	owners   []*proposal
	average  time.Duration // of a call of Apply
}

// quickApply bounds the average time of Apply up to which proposers call Apply
// themselves. Slower state machines run on the goroutines of the applying pool.
const quickApply = 10 * time.Microsecond

// handOutCommitted moves what is committed from the core to the applier.
func (n *Node) handOutCommitted() {
	for n.core.HasToApply() {
		if !n.applier.hasRoom(n.cfg.MaxApplyBytes) {
			return
		}
		snap, entries := n.core.NextToApply(n.cfg.MaxBatchBytes)
		job := applyJob{entries: entries}
		switch {
		case snap != nil:
			job.restore = snap.LastIncludedIndex
		case len(entries) > 0:
			job.proposals = n.claim(entries[0].Index, len(entries))
			job.bytes = entriesSize(entries)
		default:
			job.load = n.core.LoadToApply()
			if job.load.Empty() {
				return
			}
			job.proposals = n.claim(job.load.First, int(job.load.Last-job.load.First)+1)
			job.bytes = n.cfg.MaxBatchBytes
		}
		n.addApplyJob(job)
	}
}

// claim returns the proposals that wait for entries from first on.
func (n *Node) claim(first uint64, count int) []*proposal {
	var claimed []*proposal
	for i := range count {
		p := n.takePending(first + uint64(i))
		if p == nil {
			continue
		}
		if claimed == nil {
			claimed = make([]*proposal, count)
		}
		claimed[i] = p
	}
	return claimed
}

// hasRoom reports whether the applier takes another job. If the applier does not,
// the core is poked as soon as there is room.
func (a *applier) hasRoom(limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.full = a.bytes >= limit
	return !a.full
}

func (n *Node) addApplyJob(job applyJob) {
	a := &n.applier
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		n.abandon(job)
		return
	}
	a.jobs.push(job)
	a.bytes += job.bytes
	start := !a.running
	a.running = true
	a.mu.Unlock()
	if start {
		n.ended.Add(1) // until there is nothing more to apply
		n.applies = true
	}
}

// applyTask is a Node as a task of the applying pool.
type applyTask Node

func (t *applyTask) run() {
	n := (*Node)(t)
	var done, job applyJob
	returns := false
	defer func() {
		if !returns {
			n.exit()
			n.abandon(job)
			n.ended.Done()
		}
	}()
	for range workerRounds {
		var ok bool
		if job, ok = n.nextApplyJob(done); !ok {
			n.ended.Done()
			returns = true
			return
		}
		if err := n.applyJob(job); err != nil {
			n.abandon(job)
			n.stop(err)
		}
		done = job
	}
	returns = true
	n.applier.mu.Lock()
	n.applier.bytes -= done.bytes
	n.applier.mu.Unlock()
	n.host.appliers.add((*applyTask)(n))
}

// nextApplyJob takes the next job, after done.
func (n *Node) nextApplyJob(done applyJob) (applyJob, bool) {
	a := &n.applier
	a.mu.Lock()
	a.bytes -= done.bytes
	poke := a.full && a.bytes < n.cfg.MaxApplyBytes
	if poke {
		a.full = false
	}
	var job applyJob
	ok := a.jobs.len() > 0 && !a.closed
	if ok {
		job = a.jobs.pop()
	} else {
		a.running = false
	}
	a.mu.Unlock()
	if poke {
		n.poke()
	}
	return job, ok
}

// applyJob lets the state machine do one job.
func (n *Node) applyJob(job applyJob) error {
	switch {
	case job.restore > 0:
		return n.install(job.restore)
	case job.snapshot:
		n.beginSnapshot(n.applied.index.Load())
		return nil
	case !job.load.Empty():
		return n.applyStored(job)
	}
	return n.applyEntries(job)
}

// install restores the leader's snapshot. A later snapshot may have replaced the
// snapshot at index. The state machine then gets the later snapshot at once, and
// the jobs up to there find their work done.
func (n *Node) install(index uint64) error {
	if index <= n.included {
		return nil
	}
	header, err := n.restore()
	if err != nil {
		return err
	}
	n.included = header.Index
	n.applied.advance(header.Index)
	n.snapshots.entries, n.snapshots.bytes = 0, 0
	n.snapshots.size.Store(int64(header.Size))
	n.snapshots.saved.Store(header.Index)
	n.stats.snapshotsInstalled.Add(1)
	n.host.events.add(Event{Kind: SnapshotInstalled, Group: n.cfg.Group, Index: header.Index})
	return nil
}

// applyStored reads committed entries from the storage and applies them.
func (n *Node) applyStored(job applyJob) error {
	for next := job.load.First; next <= job.load.Last; {
		entries, err := n.host.entries(n.cfg.Group, next, job.load.Last, n.cfg.MaxBatchBytes)
		if err != nil {
			return while(err, "reading committed entries")
		}
		part := applyJob{entries: entries, proposals: job.proposals, bytes: entriesSize(entries)}
		if job.proposals != nil {
			part.proposals = job.proposals[next-job.load.First:][:len(entries)]
		}
		if err := n.applyEntries(part); err != nil {
			return err
		}
		next += uint64(len(entries))
	}
	return nil
}

// applyEntries executes the commands and settles their proposals.
func (n *Node) applyEntries(job applyJob) error {
	a := &n.applier
	commands, owners := a.commands[:0], a.owners[:0]
	for i, e := range job.entries {
		var owner *proposal
		if job.proposals != nil {
			owner = job.proposals[i]
		}
		if owner != nil && owner.term != e.Term { // another leader's entry took the place
			job.proposals[i] = nil
			n.settle(owner, Result{}, errLeadershipLost)
			owner = nil
		}
		if e.Type != core.Command || e.Index <= n.included {
			if owner != nil {
				job.proposals[i] = nil // settled, and not abandoned later
				n.settle(owner, Result{Index: e.Index, Term: e.Term}, nil)
			}
			continue
		}
		commands = append(commands, Command{Index: e.Index, Term: e.Term, Data: e.Data})
		owners = append(owners, owner)
	}
	if len(commands) > 0 {
		begun := time.Now()
		if err := n.guard("Apply", func() error { n.machine.Apply(commands); return nil }); err != nil {
			return err
		}
		took := time.Since(begun)
		a.average += (took - a.average) / 8
		a.quick.Store(a.average < quickApply)
		n.stats.applies.observe(took)
		n.stats.commands.Add(int64(len(commands)))
	}
	last := job.entries[len(job.entries)-1].Index
	news := last > n.included
	if news {
		n.applied.advance(last)
	}
	n.settleAll(commands, owners)
	clear(job.proposals)
	clear(commands)
	clear(owners)
	a.commands, a.owners = keep(commands), keep(owners)
	if news {
		n.maybeSnapshot(job)
	}
	return nil
}

// settleAll ends the proposals of applied commands. Who sees a result finds the
// room free and the command among those applied, so both go before.
func (n *Node) settleAll(commands []Command, owners []*proposal) {
	count, bytes := 0, 0
	for _, p := range owners {
		if p != nil {
			count++
			bytes += len(p.data)
		}
	}
	if count == 0 {
		return
	}
	n.room.leave(count, bytes)
	now := time.Now()
	for i, p := range owners {
		if p == nil {
			continue
		}
		n.stats.proposals.observe(now.Sub(p.begun))
		c := &commands[i]
		p.settle(Result{Index: c.Index, Term: c.Term, Data: c.Result}, nil)
	}
}

// settle ends one proposal.
func (n *Node) settle(p *proposal, result Result, err error) {
	if !p.reused { // otherwise the proposer counts
		_ = n.stats.count(err)
	}
	n.room.leave(1, len(p.data))
	p.settle(result, err)
}

// abandon ends the proposals of a dropped job.
func (n *Node) abandon(job applyJob) {
	for _, p := range job.proposals {
		if p != nil {
			n.settle(p, Result{}, errUnknownStopped)
		}
	}
}

// closeApplier drops the waiting jobs.
func (n *Node) closeApplier() {
	a := &n.applier
	a.mu.Lock()
	a.closed = true
	var jobs []applyJob
	for a.jobs.len() > 0 {
		jobs = append(jobs, a.jobs.pop())
	}
	a.mu.Unlock()
	for _, job := range jobs {
		n.abandon(job)
	}
}

// restore reads the member's newest snapshot into the state machine.
func (n *Node) restore() (SnapshotHeader, error) {
	r, err := n.host.storage.OpenSnapshot(n.cfg.Group)
	if err != nil {
		return SnapshotHeader{}, while(err, "opening the newest snapshot")
	}
	defer r.Close()
	header := r.Header()
	body := newCheckedReader(r)
	if err := n.guard("Restore", func() error { return n.machine.Restore(body) }); err != nil {
		return header, while(err, "restoring the snapshot at index %d", header.Index)
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // the state machine may leave a rest
		return header, while(err, "reading the snapshot at index %d", header.Index)
	}
	return header, nil
}

// guard turns a panic of the state machine into an error. If the state machine ends the
// goroutine (runtime.Goexit), guard keeps the error for exit.
func (n *Node) guard(method string, f func() error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		failure := &PanicError{Method: method, Value: "runtime.Goexit was called", Stack: debug.Stack()}
		if v := recover(); v != nil {
			failure.Value = fmt.Sprint(v)
			failure.Cause, _ = v.(error)
			err = failure
			return
		}
		n.exited.Store(failure)
	}()
	err = f()
	returned = true
	return err
}
