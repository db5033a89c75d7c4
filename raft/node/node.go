package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// Node is this host's member of a group. Its methods may be called from any
// goroutine.
type Node struct {
	host      *Host
	ownHost   bool // Close closes the host too
	id        core.NodeID
	cfg       Config
	log       *slog.Logger
	machine   StateMachine
	resumed   bool
	included  uint64 // index up to which the state machine has the state without Apply
	room      room
	proposals sync.Pool // free list of *proposal
	stats     nodeStats

	standing atomic.Pointer[standing]
	commit   atomic.Uint64
	silent   atomic.Bool              // the core needs no ticks
	roster   atomic.Pointer[[]Member] // see Members
	// savingFrom is the first index of the entries in the save under way.
	savingFrom atomic.Uint64
	applied    appliedIndex
	applier    applier

	begun time.Time      // when the member started
	done  chan struct{}  // closed when the member is stopped
	ended sync.WaitGroup // what must end before the member has: core, applier
	// exited is the failure of a method of the state machine that ended its goroutine.
	exited atomic.Pointer[PanicError]
	// storing is the member's work with the storage: saves, chunks,
	// snapshots, loads. Another member of the group must not start before the end.
	storing sync.WaitGroup

	mu      sync.Mutex
	inbox   inbox
	next    place // of the next command, in a log of commands only
	running bool  // the baton is taken, see run.go
	waits   bool  // the saver runs the core before the next save
	due     int   // ticks for which the core runs without other input
	closed  bool
	cleaned bool // the inbox of the closed member was emptied
	failure error

	stalled atomic.Bool // the storage does not answer, see setStalled

	// Only the goroutine with the baton touches these.
	core         *core.Core
	counted      uint64 // ticks since begun, with those that were lost
	current      inbox
	alone        int // rounds with a single proposal since the last round with more, see gather
	batches      batcher
	pending      queue[*proposal] // those with a place in the log
	waiting      queue[*proposal] // those that the core does not take yet, see keepWaiting
	saving       *save            // under way: &save, or nil
	held         bool             // new commands wait for company, see handleReady
	beginning    bool             // the saver runs the core, and takes the save
	save         save
	applies      bool            // the applier has been given work and no goroutine
	snapshotMark *SnapshotHeader // a snapshot of its own, to be named in the log
	named        uint64          // index of the newest snapshot that a save has named
	own          postponement    // of the member's own snapshots
	leaders      postponement    // of the leader's snapshots
	incoming     incomingSnapshot
	outgoing     map[core.NodeID]*outgoingSnapshot
	readID       uint64
	reads        map[uint64][]*read // that wait for their index, by id of the core's read
	newReads     []*read            // that wait for the end of these reads
	waiters      []*waiter
	members      map[core.NodeID]string // addresses in the newest configuration
	membership   place                  // of that configuration
	readdressed  bool                   // members is new
	overrides    bool                   // the addresses in Config.Members replace the stored ones

	snapshots snapshotState
}

// standing is a member's role, term and leader.
type standing struct {
	state   core.State
	term    uint64
	leader  core.NodeID
	address string        // of the leader
	members place         // of the newest configuration
	stopped bool          // the member has stopped, and knows nothing of the group any more
	changed chan struct{} // closed when another standing takes the place of this one
}

func (s *standing) leads(id core.NodeID) bool { return s.leader == id && s.state == core.Leader }

// place is an entry's place in the log. Another leader may put another entry at the
// index, with another term.
type place struct{ index, term uint64 }

// globalRand is math/rand/v2's global source.
type globalRand struct{}

func (globalRand) IntN(n int) int { return rand.IntN(n) }

// Start starts a host with a single group. Close of the returned Node closes the
// host, the transport and the storage as well.
func Start(host HostConfig, cfg Config) (n *Node, err error) {
	h, err := NewHost(host)
	if err != nil {
		return nil, err
	}
	defer func() {
		if n == nil { // an error, or the state machine has ended the goroutine
			err = errors.Join(err, h.Close())
		}
	}()
	if n, err = h.Start(cfg); err == nil {
		n.ownHost = true
	}
	return n, err
}

// open makes a member from what the storage holds.
func (h *Host) open(cfg Config) (*Node, error) {
	saved, header, resumed, err := h.loadGroup(&cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{
		host:      h,
		id:        h.identity.Host,
		cfg:       cfg,
		log:       h.log.With("group", uint64(cfg.Group)),
		machine:   cfg.StateMachine,
		room:      room{maxCount: cfg.MaxPending, maxBytes: cfg.MaxPendingBytes},
		begun:     time.Now(),
		alone:     company,
		due:       1,
		done:      make(chan struct{}),
		reads:     make(map[uint64][]*read),
		outgoing:  make(map[core.NodeID]*outgoingSnapshot),
		overrides: true,
		named:     header.Index,
		resumed:   resumed,
		snapshots: snapshotState{busy: new(atomic.Bool), saved: new(atomic.Uint64), size: new(atomic.Int64), before: new(atomic.Uint64)},
	}
	n.savingFrom.Store(nothingSaved)
	n.standing.Store(&standing{term: saved.HardState.CurrentTerm, changed: make(chan struct{})})
	if err := n.startMachine(header); err != nil {
		return nil, err
	}
	if last := saved.Stored.LastIndex; n.included > last {
		return nil, fmt.Errorf("%w: the state machine includes index %d, and the log ends at %d; the log is lost, or belongs to another state machine", ErrDamaged, n.included, last)
	}
	if n.core, err = core.New(n.coreConfig(), saved); err != nil {
		return nil, err
	}
	if resumed {
		n.reportResumption()
	}
	n.ended.Add(1) // until the member is cleaned
	n.inbox.calls = append(n.inbox.calls, n.followMembership)
	return n, nil
}

func (n *Node) coreConfig() core.Config {
	tick := n.host.cfg.TickInterval
	cfg := core.Config{
		ID:                  n.id,
		ElectionTicks:       ticks(n.cfg.ElectionTimeout, tick),
		HeartbeatTicks:      ticks(n.cfg.HeartbeatInterval, tick),
		MaxRequestBytes:     n.cfg.MaxBatchBytes,
		MaxInflight:         n.cfg.MaxInflight,
		MaxInflightBytes:    n.cfg.MaxInflightBytes,
		AdaptiveWindow:      true,
		MaxUncommittedBytes: n.cfg.MaxPendingBytes,
		MaxCachedBytes:      n.cfg.MaxCacheBytes,
		SnapshotChunkBytes:  n.cfg.SnapshotChunkBytes,
		LeaderNoOp:          true,
		LeaseTicks:          int(n.cfg.LeaseDuration / tick),
		Quiesce:             n.cfg.Quiesce,
		Applied:             n.included,
		Rand:                globalRand{},
	}
	if n.cfg.CommandsOnly {
		members := configuration(n.cfg.Members)
		cfg.Voters, cfg.Learners, cfg.Members = members.Voters, members.Learners, members.Members
		cfg.LeaderNoOp = false
		cfg.MaxUncommittedBytes = 0 // a place that was handed out must not be refused, see Append
	}
	return cfg
}

// tick lets one unit of time pass. busy is for how long the storage has been
// at work on one save.
func (n *Node) tick(busy time.Duration, bytes int64) {
	stalls := busy > 0 && busy > n.stallLimit(bytes)
	if n.silent.Load() && stalls == n.stalled.Load() {
		return
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	if stalls != n.stalled.Load() {
		n.stalled.Store(stalls)
		n.inbox.calls = append(n.inbox.calls, func() { n.setStalled(stalls, busy) })
	}
	// A process that was suspended does not make up for the time: the leader
	// may be fine.
	if n.inbox.ticks <= n.due && !stalls && !n.silent.Load() {
		n.inbox.ticks++
	}
	n.inbox.wake = n.inbox.wake || n.waits // input waits for a save, but not longer than a tick
	if n.inbox.empty(n.due) {
		n.mu.Unlock()
		return
	}
	n.unlockAndSchedule()
}

// setStalled makes a leader step down whose storage does not answer. A member
// with a stalled storage gets no ticks, so it does not seek election.
func (n *Node) setStalled(stalls bool, busy time.Duration) {
	if !stalls {
		n.log.Info("the storage answers again")
		n.host.events.add(Event{Kind: StorageRecovered, Group: n.cfg.Group})
		return
	}
	n.log.Warn("the storage does not answer", "for", busy)
	n.host.events.add(Event{Kind: StorageStalled, Group: n.cfg.Group, Err: ErrStalled})
	if n.core.Status().State == core.Leader {
		n.failPending(errLeaderStalled)
		n.core.StepDown()
	}
}

// receive takes messages from another host.
func (n *Node) receive(from core.NodeID, messages []Message) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	for i := range messages {
		m := &messages[i]
		size := m.Size()
		if n.inbox.bytes > 0 && n.inbox.bytes+size > n.cfg.MaxReceiveBytes {
			if m.Call == 0 {
				n.stats.dropped.Add(1)
				continue
			}
			m.Body, size = nil, 0 // the core refuses the message, and the call ends
		}
		n.inbox.bytes += size
		if m.Body != nil {
			n.traceReceived(from, m.Body)
		}
		n.inbox.add(core.Message{From: from, To: n.id, Call: m.Call, Body: m.Body})
	}
	n.unlockAndRun()
}

// entryOverhead is about what an entry without data occupies, in bytes.
const entryOverhead = 48

// entriesSize is about what entries occupy.
func entriesSize(entries []core.Entry) int {
	size := entryOverhead * len(entries)
	for i := range entries {
		size += len(entries[i].Data)
	}
	return size
}

// publish makes the core's state known outside, and ends what a lost leadership
// leaves behind.
func (n *Node) publish() {
	st := n.core.Status()
	if n.commit.Load() != st.CommitIndex { // a store costs more than a load
		n.commit.Store(st.CommitIndex)
	}
	if n.silent.Load() != st.Quiescent {
		n.silent.Store(st.Quiescent)
	}
	if (place{st.ConfigurationIndex, st.ConfigurationTerm}) != n.membership {
		n.followMembership()
	}
	if st.Removed && st.State != core.Leader {
		n.stop(ErrRemoved)
	}
	was := n.standing.Load()
	if was.state == st.State && was.term == st.CurrentTerm && was.leader == st.Leader && !n.readdressed {
		return
	}
	n.readdressed = false
	now := standing{state: st.State, term: st.CurrentTerm, leader: st.Leader, address: n.members[st.Leader], members: n.membership, changed: was.changed}
	if *was == now {
		return
	}
	if n.cfg.CommandsOnly && now.leads(n.id) {
		n.knowNextPlace(st.LastIndex, now.term)
	}
	n.stand(now)
	if was.state == now.state && was.term == now.term && was.leader == now.leader {
		return // the members have changed, or the leader's address
	}
	if was.leads(n.id) && (!now.leads(n.id) || was.term != now.term) {
		n.failPending(errLeadershipLost)
	}
	if now.leader != core.None {
		n.stats.leaders.Add(1)
	}
	n.log.Info("role changed", "term", now.term, "state", now.state.String(), "leader", uint64(now.leader))
	n.host.events.add(Event{Kind: RoleChanged, Group: n.cfg.Group, State: now.state, Term: now.term, Peer: now.leader})
}

// stand makes s the member's standing. The caller has the baton.
func (n *Node) stand(s standing) {
	s.changed = make(chan struct{})
	close(n.standing.Swap(&s).changed)
}

// knowNextPlace notes the place of a new leader's first command in a log of
// commands only. [Node.deposit] hands out this place and those that follow.
func (n *Node) knowNextPlace(lastIndex, term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next.term != term {
		n.next = place{lastIndex + 1, term}
	}
}

// notLeader is the refusal of a member that stands so.
func (n *Node) notLeader(s *standing) error {
	return &NotLeaderError{Leader: s.leader, Address: s.address}
}

// refusal translates an error of the core.
func (n *Node) refusal(err error) error {
	if errors.Is(err, core.ErrNotLeader) {
		leader := n.core.Status().Leader
		return &NotLeaderError{Leader: leader, Address: n.members[leader]}
	}
	return refused(err)
}

// stop ends the member, for a reason or because it is closed (nil), and does not
// wait.
func (n *Node) stop(reason error) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	n.failure = reason
	free := !n.running
	n.running = true
	n.mu.Unlock()
	switch {
	case errors.Is(reason, ErrRemoved):
		n.log.Info("the member was removed from the group")
	case reason != nil:
		n.log.Error("the member stops", "error", reason)
	}
	if reason != nil {
		n.host.events.add(Event{Kind: MemberStopped, Group: n.cfg.Group, Err: reason})
	}
	n.room.close()
	close(n.done)
	if free && n.work(1) {
		n.host.appliers.add((*applyTask)(n))
	}
	n.closeApplier()
}

// clean settles what a stopped member has pending. The caller has the baton.
func (n *Node) clean() {
	n.mu.Lock()
	if n.cleaned {
		n.mu.Unlock()
		return
	}
	n.cleaned = true
	defer n.ended.Done()
	left := n.inbox
	n.inbox = inbox{}
	n.mu.Unlock()
	n.closeApplier() // the calls in the inbox must not add jobs
	for _, p := range left.proposals {
		n.waiting.push(p)
	}
	for n.waiting.len() > 0 {
		n.settle(n.waiting.pop(), Result{}, errRefusedStopped)
	}
	n.failPending(errUnknownStopped)
	settleReads(left.reads, 0, ErrStopped)
	settleReads(n.newReads, 0, ErrStopped)
	for _, batch := range n.reads {
		settleReads(batch, 0, ErrStopped)
	}
	for _, f := range left.calls {
		f() // may add waiters
	}
	for _, w := range n.waiters {
		w.err = ErrStopped
		close(w.done)
	}
	n.reads, n.newReads, n.waiters = nil, nil, nil
	n.own.stop()
	n.closeSnapshots()
	n.stand(standing{term: n.standing.Load().term, stopped: true})
	n.host.setPeers(n, nil)
	n.applied.stop()
	if !n.host.exited.Load() && n.core.Quiescent() {
		// The others count no ticks while they believe in this leader.
		n.core.Wake()
		n.send(n.core.Outgoing())
	}
}

// Done is closed when the member stops, by Close or by a failure.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns the reason why the member stopped by itself. The storage or the state
// machine failed, or the member was removed from the group. Err is nil while the
// member runs, and after Close.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failure
}

// Close stops the member and returns when its goroutines have ended. Pending
// commands end with [ErrUnknown] or [ErrRefused].
// Close may be called at any time, but not by the state machine or by
// [HostConfig.Observe]. Close may be called more than once. Each call waits for the
// end, and returns nil if everything has ended.
//
// If something hangs, Close returns after [HostConfig.CloseTimeout] with an error
// that matches [ErrBlocked] for the state machine, or [ErrStalled] for the storage. The
// group then cannot start again on this host before another Close has returned without
// an error. Commands in a call of Apply that does not return stay pending.
func (n *Node) Close() error {
	if n.ownHost {
		return n.host.Close()
	}
	return n.end()
}

// end stops the member and waits until the member no longer uses the storage. A
// member that started on the storage before would not know of the last save.
func (n *Node) end() error {
	n.stop(nil)
	ending := runStages(stage{ErrBlocked, n.ended.Wait}, stage{ErrStalled, n.awaitStorage})
	if hangs := ending.wait(n.host.cfg.CloseTimeout); hangs != nil {
		return while(hangs, "closing group %d on host %d", n.cfg.Group, n.id)
	}
	n.host.forget(n)
	return nil
}

// awaitStorage waits for the stopped member's last work with the storage, and
// discards the beginning of a leader's snapshot.
func (n *Node) awaitStorage() {
	n.storing.Wait()
	n.mu.Lock() // for another call of awaitStorage
	unfinished := n.incoming
	n.incoming = incomingSnapshot{}
	n.mu.Unlock()
	unfinished.abort()
}

// Host returns the host of the member.
func (n *Node) Host() *Host { return n.host }

// ID returns the host's id, which is also the member's.
func (n *Node) ID() core.NodeID { return n.id }

// String names the member in messages.
func (n *Node) String() string { return fmt.Sprintf("member %d of group %d", n.id, n.cfg.Group) }
