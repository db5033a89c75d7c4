package node

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"raftlab/raft/core"
)

// inlineRounds bounds how often a caller's goroutine runs the core for others
// before it hands the core to a worker.
const inlineRounds = 4

// workerRounds bounds the rounds of a worker before it turns to another group.
const workerRounds = 64

// inbox has the input for the core since the core last ran.
type inbox struct {
	proposals []*proposal
	messages  []core.Message
	bytes     int // of the messages' entries
	appends   int // messages that append entries
	replies   int // messages that are a follower's answers to appends
	reads     []*read
	calls     []func() // run with the core
	ticks     int
	saved     *save // the save that has been completed
	wake      bool  // there is something to do without input
}

// quiet reports whether there is nothing but proposals, messages, and fewer ticks than
// due. The core runs for due ticks.
func (in *inbox) quiet(due int) bool {
	return len(in.reads) == 0 && len(in.calls) == 0 && in.ticks < due && in.saved == nil && !in.wake
}

// empty reports whether there is nothing to run the core for.
func (in *inbox) empty(due int) bool {
	return len(in.proposals) == 0 && len(in.messages) == 0 && in.quiet(due)
}

// onlyProposals reports whether there is nothing but proposals to run the core for.
func (in *inbox) onlyProposals(due int) bool {
	return len(in.proposals) > 0 && len(in.messages) == 0 && in.quiet(due)
}

// needsSave reports whether all input is of the kinds that need a save.
func (in *inbox) needsSave(due int) bool { return len(in.messages) == in.appends && in.quiet(due) }

// onlyReplies reports whether there is nothing but proposals and followers' answers.
func (in *inbox) onlyReplies(due int) bool { return len(in.messages) == in.replies && in.quiet(due) }

// takeReplies moves the messages to an empty inbox.
func (in *inbox) takeReplies(to *inbox) {
	in.messages, to.messages = to.messages, in.messages
	in.bytes, in.replies = 0, 0
}

// add counts a message.
func (in *inbox) add(m core.Message) {
	switch b := m.Body.(type) {
	case *core.AppendEntries:
		if len(b.Entries) > 0 {
			in.appends++
		}
	case *core.AppendEntriesReply:
		in.replies++
	}
	in.messages = append(in.messages, m)
}

// reset empties the inbox and keeps its memory.
func (in *inbox) reset() {
	clear(in.proposals)
	clear(in.messages)
	clear(in.reads)
	clear(in.calls)
	*in = inbox{proposals: keep(in.proposals), messages: keep(in.messages), reads: keep(in.reads), calls: keep(in.calls)}
}

// The core of a group runs on one goroutine at a time, the one with the group's
// baton (Node.running). The baton is not a lock, and nobody waits for the baton. A
// goroutine that puts something into the inbox while another goroutine has the
// baton leaves the work to the other. If the baton is free, a proposer or a
// transport's goroutine takes the baton and runs the core, which saves a switch to
// another goroutine. Under load a proposer with the baton first lets the other
// proposers run, so that one round of the core serves them all.

// With many groups, most passes of a core end with input for the next save. While a
// save of many groups is under way, such input therefore stays in the inbox. The saver
// then takes the baton of each group and runs each core once for all input. One message
// to each follower has all commands that came during the last save.

// leaveToSaver releases n.mu and reports true if the input waits for the next save.
// Otherwise n.mu stays held.
func (n *Node) leaveToSaver() bool {
	s := n.host.saver
	if !s.crowded() || !n.inbox.needsSave(n.due) {
		return false
	}
	known := n.waits
	n.waits = true
	n.mu.Unlock()
	if !known {
		s.await(n)
	}
	return true
}

// unlockAndRun releases n.mu and runs the core if the baton is free.
func (n *Node) unlockAndRun() {
	if n.leaveToSaver() {
		return
	}
	free := !n.running
	n.running = true
	n.mu.Unlock()
	if free && n.work(inlineRounds) {
		n.host.appliers.add((*applyTask)(n))
	}
}

// unlockAndRunAll is unlockAndRun for a proposer. The proposer also runs a quick
// state machine, since the proposer has to wait for the result anyway.
func (n *Node) unlockAndRunAll() {
	if n.leaveToSaver() {
		return
	}
	free := !n.running
	n.running = true
	n.mu.Unlock()
	if !free {
		return
	}
	n.gather()
	switch {
	case !n.work(inlineRounds):
	case n.applier.quick.Load():
		(*applyTask)(n).run()
	default:
		n.host.appliers.add((*applyTask)(n))
	}
}

// gather lets other proposers run before the core does, if others have proposed
// lately, so that the core gets their commands at once. For a proposer that is
// alone, gather looks for others only now and then. The caller has the baton.
func (n *Node) gather() {
	if n.alone < company || n.alone%64 == 0 {
		runtime.Gosched()
	}
}

// company is the number of rounds with a single proposal after which a proposer
// counts as alone.
const company = 4

// unlockAndSchedule releases n.mu and has a worker run the core.
func (n *Node) unlockAndSchedule() {
	if n.leaveToSaver() {
		return
	}
	free := !n.running
	n.running = true
	n.mu.Unlock()
	if free {
		n.host.workers.add((*coreTask)(n))
	}
}

// call runs f with the core, at once if the baton is free. It reports false if the
// member is closed.
func (n *Node) call(f func()) bool {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return false
	}
	n.inbox.calls = append(n.inbox.calls, f)
	n.unlockAndRun()
	return true
}

// poke lets the core look for something to do.
func (n *Node) poke() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.inbox.wake = true
	n.unlockAndSchedule()
}

// coreTask is a Node as a task of the workers.
type coreTask Node

func (t *coreTask) run() {
	n := (*Node)(t)
	n.gather()
	if n.work(workerRounds) {
		n.host.appliers.add((*applyTask)(n))
	}
}

// work runs the core until the inbox is empty, or for some rounds. The caller
// has the baton, and work hands the baton on. If work returns true, the caller has
// an applyTask to run.
func (n *Node) work(rounds int) (applies bool) {
	returned := false
	defer func() {
		if !returned {
			n.aborted(applies)
		}
	}()
	for range rounds {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			n.clean()
			n.mu.Lock()
			n.running = false
			n.mu.Unlock()
			returned = true
			return applies
		}
		if n.release() {
			returned = true
			return applies
		}
		if n.waits && n.inbox.onlyReplies(n.due) {
			n.inbox.takeReplies(&n.current)
		} else {
			n.inbox, n.current = n.current, n.inbox
		}
		n.held = n.current.onlyProposals(n.due)
		n.mu.Unlock()
		n.process(&n.current)
		n.current.reset()
		if n.applies {
			n.applies = false
			applies = true
		}
	}
	n.host.workers.add((*coreTask)(n))
	returned = true
	return applies
}

// beginSave runs the core once for the saver, and returns what the group has to save,
// nil for nothing. If another goroutine has the baton, that goroutine runs the core
// again and queues a save as usual. If a save of the group is under way, the end of
// that save runs the core.
func (n *Node) beginSave() (item *save, applies bool) {
	n.mu.Lock()
	n.waits = false
	switch {
	case n.closed || n.inbox.empty(n.due):
		n.mu.Unlock()
		return nil, false
	case n.running:
		n.inbox.wake = true
		n.mu.Unlock()
		return nil, false
	case n.saving != nil && n.inbox.saved == nil: // with the baton free, this goroutine may look
		n.mu.Unlock()
		return nil, false
	}
	n.running = true
	n.inbox, n.current = n.current, n.inbox
	n.held = false
	n.mu.Unlock()
	returned := false
	defer func() {
		if !returned {
			n.aborted(false)
		}
	}()
	n.beginning = true
	n.process(&n.current)
	n.beginning = false
	returned = true
	n.current.reset()
	if n.saving != nil && n.saving.begun {
		item = n.saving
	}
	applies, n.applies = n.applies, false
	n.mu.Lock()
	if !n.closed && n.release() {
		return item, applies
	}
	n.mu.Unlock()
	n.host.workers.add((*coreTask)(n))
	return item, applies
}

// release hands the baton back, releases n.mu and reports true if there is nothing to
// run the core for. Input that waits for the saver does not count.
func (n *Node) release() bool {
	n.due = n.core.QuietTicks() + 1
	if n.saving != nil || len(n.newReads) > 0 {
		n.due = 1 // messages wait for a save, and reads for others, not longer than a tick
	}
	if !n.inbox.empty(n.due) && !(n.waits && n.inbox.needsSave(n.due)) {
		return false
	}
	n.running = false
	n.mu.Unlock()
	return true
}

// process gives the core its input and carries out the core's output.
func (n *Node) process(in *inbox) {
	if in.saved != nil {
		n.completeSave(in.saved)
	}
	n.passTime(in.ticks)
	if in.ticks > 0 && len(n.outgoing) > 0 {
		n.closeIdleSnapshots()
	}
	for _, m := range in.messages {
		if n.refuses(m) {
			continue
		}
		if err := n.core.Step(m); err != nil {
			n.drop(m, err)
		}
	}
	if len(in.messages) > 0 {
		n.publish() // before the replies leave, so that readers of a reply find the effect
	}
	n.proposeAll(in.proposals)
	n.endReads()
	n.beginReads(in.reads, in.ticks > 0)
	clear(in.reads)
	in.reads = in.reads[:0]
	for i, f := range in.calls {
		in.calls[i] = nil // see aborted
		f()
	}
	if n.cfg.PromptCommits && len(in.proposals) == 0 {
		if st := n.core.Status(); st.CommitIndex == st.LastIndex {
			n.core.SendCommits()
		}
	}
	n.advance()
	for n.proposeWaiting() {
		n.advance()
	}
	n.dropOvertaken()
	n.loadEntries()
	n.endReads()
	n.publish()
	if len(n.waiters) > 0 {
		n.notifyWaiters()
	}
}

// drop refuses a message. A call gets a reply without a body.
func (n *Node) drop(m core.Message, reason error) {
	n.stats.dropped.Add(1)
	n.log.Warn("message dropped", "from", uint64(m.From), "error", reason)
	if m.Call != 0 {
		n.host.transport.Send(m.From, []Message{{Group: n.cfg.Group, Call: m.Call}})
	}
}

// passTime gives the core its ticks. Ticks are lost while the process or the core's
// goroutine is suspended. A lease must not outlive the time that the ticks stand for.
func (n *Node) passTime(ticks int) {
	if n.cfg.LeaseDuration > 0 {
		passed := uint64(time.Since(n.begun) / n.host.cfg.TickInterval)
		counted := n.counted + uint64(ticks)
		if passed > counted {
			n.core.Elapse(passed - counted)
		}
		n.counted = max(passed, counted)
	}
	for range ticks {
		n.core.Tick()
	}
}

// proposeAll appends commands to the log.
func (n *Node) proposeAll(all []*proposal) {
	switch len(all) {
	case 0:
	case 1:
		n.alone++
	default:
		n.alone = 0
	}
	current := n.placesTerm()
	for i, p := range all {
		if n.waiting.len() > 0 || !n.propose(p, current) {
			n.keepWaiting(p)
		}
		all[i] = nil // see aborted
	}
}

// placesTerm returns the term of the places that [Node.deposit] hands out, 0 if a command
// has no place before the core takes the command.
func (n *Node) placesTerm() uint64 {
	if n.cfg.CommandsOnly {
		return n.core.Status().CurrentTerm
	}
	return 0
}

// propose appends one command to the log, or settles the proposal with an error. The
// result is false if the core does not take the command now. current is from placesTerm.
func (n *Node) propose(p *proposal, current uint64) bool {
	if p.term != current { // the place went with the leadership
		n.settle(p, Result{}, errPlaceLost)
		return true
	}
	index, term, err := n.core.Propose(p.data)
	switch {
	case errors.Is(err, core.ErrTooMuchUncommitted), p.term != 0 && errors.Is(err, core.ErrTransferring):
		return false
	case err != nil && p.term != 0:
		n.settle(p, Result{}, errPlaceLost)
	case err != nil:
		n.settle(p, Result{}, n.refusal(err))
	case p.term != 0 && p.index != index:
		panic(fmt.Sprintf("raft: %v: the command for index %d came to index %d of term %d", n, p.index, index, term))
	case p.placed:
		n.settle(p, Result{Index: index, Term: term}, nil)
	default:
		p.place = place{index, term}
		n.pending.push(p)
	}
	return true
}

// keepWaiting keeps a command back, in the order of arrival. The uncommitted commands
// have filled the core's bound, or a transfer of the leadership is under way and the
// command has a place already. Append does not wait for room.
func (n *Node) keepWaiting(p *proposal) {
	if p.placed {
		n.settle(p, Result{}, errQueueFull)
		return
	}
	p.waits.Store(p.term == 0)
	n.waiting.push(p)
}

// proposeWaiting appends the commands that were kept back, as far as the core takes
// them, and reports whether the core took one.
func (n *Node) proposeWaiting() bool {
	if n.waiting.len() == 0 {
		return false
	}
	current, took := n.placesTerm(), false
	for ; n.waiting.len() > 0; n.waiting.pop() {
		p := *n.waiting.front()
		switch {
		case p.term == 0 && !p.waits.CompareAndSwap(true, false): // the proposer has gone
			n.room.leave(1, len(p.data))
		case n.propose(p, current):
			took = true
		default:
			p.waits.Store(p.term == 0)
			return took
		}
	}
	return took
}

// advance carries out the core's output until there is no more, in the order that
// package core prescribes.
func (n *Node) advance() {
	for n.handleReady() {
	}
	n.handOutCommitted()
}

// handleReady carries out one Ready. While a save is under way, only messages that
// do not depend on the save go out. So a leader replicates beside its own disk
// (thesis 10.2.1). Commands that come during a save wait for the next answer of a
// follower or for the end of the save, and then share a message.
func (n *Node) handleReady() bool {
	if n.saving != nil {
		if !n.held {
			n.send(n.host.saver.claim(n.saving))
			n.send(n.core.Outgoing())
		}
		return false
	}
	rd := n.core.Ready()
	mark := n.takeMark(rd.Snapshot)
	if rd.Empty() && mark == nil {
		return false
	}
	if !rd.NeedsSave() && mark == nil {
		n.send(rd.Messages)
		n.send(rd.AfterSave)
		return true
	}
	n.saving = &n.save // free, since no save is under way
	*n.saving = save{node: n, ready: rd, mark: mark}
	n.savingFrom.Store(firstIndex(rd.Entries))
	files := len(rd.Chunks) > 0 || rd.Snapshot != nil
	if !files && n.beginning {
		n.saving.begun, n.saving.later = true, rd.Messages
		n.storing.Add(1)
		return false
	}
	if !files && !n.host.saver.volatile {
		n.send(n.host.saver.add(n.saving, rd.Messages))
		return false
	}
	n.send(rd.Messages)
	switch {
	case files:
		n.storing.Add(1)
		n.host.chunks.add((*fileTask)(n.saving))
		return false
	case !n.host.saver.saveNow(n.saving):
		return false
	}
	n.send(rd.AfterSave)
	n.completeSave(n.saving)
	return true
}

// completeSave tells the core that a save is durable.
func (n *Node) completeSave(s *save) {
	n.saving = nil
	n.savingFrom.Store(nothingSaved)
	if s.rejected || s.noRoom != nil {
		n.core.RejectSnapshot()
	}
	if s.noRoom != nil {
		n.reportNoRoom(&n.leaders, n.incoming.header.Index, s.noRoom)
	}
	n.core.Saved(s.ready)
	if s.ready.Snapshot != nil {
		n.named = s.ready.Snapshot.LastIncludedIndex
		n.endPostponement()
	}
	if s.mark != nil {
		n.named = s.mark.Index
		n.compactLog(s.mark)
	}
}

// send hands messages to the transport.
func (n *Node) send(messages []core.Message) {
	if len(messages) > 0 {
		n.batches.add(n, messages)
		n.batches.send(n.host.transport)
	}
}
