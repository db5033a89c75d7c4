package coretest

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"

	"raftlab/raft/core"
)

// Options describe a cluster. Each field documents its zero value.
type Options struct {
	// Servers is the number of servers, with ids from 1. 0 means 3.
	Servers int
	// Voters is the number of voters at the start, the servers with the lowest ids.
	// The others belong to no configuration. 0 means all.
	Voters int
	// Trailing is the number of entries before a snapshot's end that stay in the
	// log. Trailing needs Config.MaxCachedBytes.
	Trailing uint64
	// Clocks are the lengths of the servers' ticks in units of Pass, one for each
	// server. Without Clocks, servers tick by Tick alone.
	Clocks []int
	// Seed feeds the servers' election timeouts.
	Seed uint64
	// Config is the base of each server's configuration. New fills in ID, Voters
	// and Rand, and ElectionTicks (10) and HeartbeatTicks (2) if they are 0.
	Config core.Config
	// Disks are the servers' disks at the first start. A missing disk is empty.
	Disks map[core.NodeID]core.Persistent
	// Silent keeps the transport from reporting lost requests and replies.
	Silent bool
	// Trace gets a line for each event. nil means no trace.
	Trace func(line string)
	// Stepped gets each delivered message, with the receiver before and after, behind the
	// message's line of the trace. nil means no calls.
	Stepped func(m core.Message, before, after core.Status)
	// KeepGoing makes the checker record violations, while the cluster goes on. Err
	// stays nil, and Violations returns the recorded ones.
	KeepGoing bool
}

// Cluster is a number of servers and the network between them. Use [New].
type Cluster struct {
	opt     Options
	rand    *rand.Rand
	ids     []core.NodeID
	servers map[core.NodeID]*server
	pool    []envelope
	held    []envelope // late messages, see Hold
	blocked map[link]bool
	calls   map[uint64]*call // requests that were sent, by number
	nextNum uint64
	time    int // see Pass
	checker *checker
}

type link struct{ from, to core.NodeID }

// envelope is a message on its way. The fingerprint at sending reveals changes
// under way.
type envelope struct {
	msg   core.Message
	print uint64
}

// call is a request with the numbers of its deliveries and replies.
type call struct {
	from, to           core.NodeID
	delivered, replied int
	refused, granted   int // of the deliveries of a request for a vote, see checker.hears
}

// New starts a cluster. Options without a possible cluster cause a panic.
func New(opt Options) *Cluster {
	if opt.Servers == 0 {
		opt.Servers = 3
	}
	if opt.Config.ElectionTicks == 0 {
		opt.Config.ElectionTicks = 10
	}
	if opt.Config.HeartbeatTicks == 0 {
		opt.Config.HeartbeatTicks = 2
	}
	c := &Cluster{
		opt:     opt,
		rand:    rand.New(rand.NewPCG(opt.Seed, 0)),
		servers: map[core.NodeID]*server{},
		blocked: map[link]bool{},
		calls:   map[uint64]*call{},
	}
	if opt.Voters == 0 {
		opt.Voters = opt.Servers
	}
	c.opt = opt
	for i := range opt.Servers {
		c.ids = append(c.ids, core.NodeID(i+1))
	}
	c.checker = newChecker(c)
	for _, id := range c.ids {
		s := &server{id: id, disk: opt.Disks[id]}
		c.servers[id] = s
		c.checker.seed(s.disk)
	}
	for _, id := range c.ids {
		c.Restart(id)
	}
	return c
}

// Err returns the first violation of a property, or nil.
func (c *Cluster) Err() error { return c.checker.err }

// Violations returns the violations of a cluster with KeepGoing, in order, each text once.
func (c *Cluster) Violations() []error { return c.checker.violations }

// IDs returns all servers.
func (c *Cluster) IDs() []core.NodeID { return c.ids }

// Core returns the server's core, nil while the server is down. A test may step the
// core by hand. Work then does the resulting duties.
func (c *Cluster) Core(id core.NodeID) *core.Core { return c.servers[id].core }

// Up reports whether the server runs.
func (c *Cluster) Up(id core.NodeID) bool { return c.servers[id].core != nil }

// Disk returns the server's disk.
func (c *Cluster) Disk(id core.NodeID) core.Persistent { return c.servers[id].disk }

// ChangeDisk lets a test damage a disk behind the server's back.
func (c *Cluster) ChangeDisk(id core.NodeID, change func(*core.Persistent)) {
	change(&c.servers[id].disk)
}

// Leader returns the leader of the newest term, or None.
func (c *Cluster) Leader() core.NodeID {
	leader, term := core.None, uint64(0)
	for _, id := range c.ids {
		if !c.Up(id) {
			continue
		}
		if st := c.Core(id).Status(); st.State == core.Leader && st.CurrentTerm > term {
			leader, term = id, st.CurrentTerm
		}
	}
	return leader
}

// Tick lets one tick pass on a server.
func (c *Cluster) Tick(id core.NodeID) {
	if s := c.servers[id]; s.core != nil {
		defer c.catch(s)
		counts := !s.core.Quiescent()
		s.core.Tick()
		c.checker.observe(s)
		if counts {
			c.checker.tick(s)
		}
	}
}

// Propose hands a command to a server. The error is the core's.
func (c *Cluster) Propose(id core.NodeID, data string) error {
	s := c.servers[id]
	if s.core == nil {
		return fmt.Errorf("server %d is down", id)
	}
	defer c.catch(s)
	before := s.core.Status()
	index, term, err := s.core.Propose([]byte(data))
	c.checker.checkCommand(before, err)
	if err == nil && c.tracing() {
		c.trace("%d takes %q as %d/%d", id, data, index, term)
	}
	c.checker.observe(s)
	return err
}

// Crash stops a server. Unsaved state is gone.
func (c *Cluster) Crash(id core.NodeID) {
	s := c.servers[id]
	if s.core == nil {
		return
	}
	s.core = nil
	c.trace("%d crashes", id)
}

// catch makes the panic of a server's core a violation, and the server crashes, as its
// process would. Deferred by each step of a server.
func (c *Cluster) catch(s *server) {
	reason := recover()
	if reason == nil {
		return
	}
	if c.opt.KeepGoing {
		c.checker.fail("server %d panics: %v", s.id, reason)
	} else {
		c.checker.fail("server %d panics: %v\n%s", s.id, reason, debug.Stack())
	}
	c.Crash(s.id)
}

// Restart starts a stopped server from its disk.
func (c *Cluster) Restart(id core.NodeID) {
	s := c.servers[id]
	if s.core != nil {
		return
	}
	defer c.catch(s)
	cfg := c.opt.Config
	cfg.ID = id
	if int(id) <= c.opt.Voters {
		cfg.Voters = c.ids[:c.opt.Voters]
	} else {
		cfg.Learners, cfg.Members = nil, nil
	}
	cfg.Rand = rand.New(rand.NewPCG(c.opt.Seed, uint64(id)<<32|uint64(s.life)))
	if err := s.start(cfg); err != nil {
		c.checker.fail("server %d does not start from its disk: %v", id, err)
		return
	}
	if s.life > 1 {
		st := s.core.Status()
		c.trace("%d restarts term=%d voted=%d last=%d/%d", id, st.CurrentTerm, st.VotedFor, st.LastIndex, st.LastTerm)
	}
	c.checker.observe(s)
}

// Snapshot makes a server's service save a snapshot of its state, and compacts the
// log unless the server crashes in between.
func (c *Cluster) Snapshot(id core.NodeID, crashBetween bool) {
	s := c.servers[id]
	if s.core == nil {
		return
	}
	defer c.catch(s)
	if !s.saveSnapshot(c.opt.Trailing) {
		return
	}
	if crashBetween {
		c.Crash(id)
		return
	}
	to := s.service.index - min(c.opt.Trailing, s.service.index)
	if err := s.core.Compact(to); err != nil && to > s.core.Status().SnapshotIndex {
		c.checker.fail("server %d cannot compact to %d: %v", id, to, err)
	}
	c.trace("%d compacts to %d", id, to)
	c.checker.observe(s)
}

// Stall stops and restarts the saves of a server. While saves are stopped, the host
// goes on with the messages of Outgoing.
func (c *Cluster) Stall(id core.NodeID, stalled bool) { c.servers[id].stalled = stalled }

// Stalled reports whether the saves of a server are stopped.
func (c *Cluster) Stalled(id core.NodeID) bool { return c.servers[id].stalled }

// SlowLoads makes the entries that a server loads wait, from the read of the disk on, and
// ends the waiting.
func (c *Cluster) SlowLoads(id core.NodeID, slow bool) { c.servers[id].slow = slow }

// Outgoing sends the messages that may leave a server at once, and returns false if
// there are none.
func (c *Cluster) Outgoing(id core.NodeID) bool {
	s := c.servers[id]
	if s.core == nil {
		return false
	}
	defer c.catch(s)
	messages := s.core.Outgoing()
	c.send(s, messages)
	c.collect(s)
	c.checker.observe(s)
	return len(messages) > 0
}

// Work does the next duty of a server's host (see the documentation of raft/core),
// and returns false if the duty was empty.
func (c *Cluster) Work(id core.NodeID) bool {
	s := c.servers[id]
	if s.core == nil {
		return false
	}
	defer c.catch(s)
	if s.stalled && s.duty == save && s.ready.NeedsSave() {
		return c.Outgoing(id)
	}
	before := c.checker.views[id]
	did := c.duty(s)
	c.checker.observe(s)
	c.traceChange(before, c.checker.views[id])
	return did
}

func (c *Cluster) duty(s *server) bool {
	switch s.duty {
	case takeReady:
		s.takeReady()
		s.duty = save
		c.send(s, s.ready.Messages)
		return c.collect(s) || !s.ready.Empty()
	case save:
		s.duty = sendAfterSave
		if err := s.save(); err != nil {
			c.checker.fail("server %d: %v", s.id, err)
		}
		c.checker.saved(s)
		return s.ready.NeedsSave()
	case sendAfterSave:
		s.duty = reportSaved
		c.send(s, s.ready.AfterSave)
		return len(s.ready.AfterSave) > 0
	case reportSaved:
		s.duty = apply
		s.core.Saved(s.ready)
		return s.ready.NeedsSave()
	case apply:
		s.duty = load
		snap, entries := s.core.NextToApply(100)
		if r := s.core.LoadToApply(); !r.Empty() {
			entries = append(entries, s.stored(r, 1<<30)...)
		}
		c.apply(s, snap, entries)
		return snap != nil || len(entries) > 0
	default:
		s.duty = takeReady
		loads := append(s.loads, s.core.Loads()...)
		s.loads = nil
		for _, l := range loads {
			s.late = append(s.late, lateLoad{l, s.stored(l.Range, l.MaxBytes)})
		}
		if !s.slow {
			for _, l := range s.late {
				s.core.Loaded(l.Load, l.entries)
			}
			s.late = nil
		}
		return len(loads) > 0
	}
}

// collect takes the outcomes of reads, and returns false if there are none.
func (c *Cluster) collect(s *server) bool {
	reads := s.core.Reads()
	for _, r := range reads {
		c.checker.read(s, r)
	}
	s.loads = append(s.loads, s.core.Loads()...)
	return len(reads) > 0
}

func (c *Cluster) apply(s *server, snap *core.Snapshot, entries []core.Entry) {
	if snap != nil {
		if snap.LastIncludedIndex <= s.service.index {
			c.checker.fail("server %d: snapshot at %d sets the service back from %d", s.id, snap.LastIncludedIndex, s.service.index)
		}
		data := snap.Data
		if data == nil {
			data = s.disk.Snapshot.Data
		}
		s.service.restore(data)
		c.trace("%d restores the snapshot at %d/%d", s.id, snap.LastIncludedIndex, snap.LastIncludedTerm)
	}
	for _, e := range entries {
		if e.Index != s.service.index+1 {
			c.checker.fail("server %d applies %d after %d", s.id, e.Index, s.service.index)
		}
		s.service.apply(e)
		if c.tracing() && len(entries) <= 3 {
			c.trace("%d applies %d/%d %s", s.id, e.Index, e.Term, describeData(e))
		}
		c.checker.applied(s)
	}
	if n := len(entries); c.tracing() && n > 3 {
		c.trace("%d applies %d/%d to %d/%d", s.id, entries[0].Index, entries[0].Term, entries[n-1].Index, entries[n-1].Term)
	}
	c.checker.applied(s)
}

// maxDuties bounds the duties of Finish. A correct core stops asking far below.
const maxDuties = 10_000

// Finish works through a server's duties until none is left. Duties without an end are a
// violation.
func (c *Cluster) Finish(id core.NodeID) {
	idle := 0
	for range maxDuties {
		if idle > int(load) || !c.Up(id) || c.Err() != nil {
			return
		}
		if c.Work(id) {
			idle = 0
		} else {
			idle++
		}
	}
	c.checker.fail("server %d: duties without end", id)
}

// FinishAll works through all servers' duties.
func (c *Cluster) FinishAll() {
	for _, id := range c.ids {
		c.Finish(id)
	}
}

func (c *Cluster) tracing() bool { return c.opt.Trace != nil }

func (c *Cluster) trace(format string, args ...any) {
	if c.opt.Trace != nil {
		c.opt.Trace(fmt.Sprintf(format, args...))
	}
}

// traceChange traces the changes of a server's status.
func (c *Cluster) traceChange(before, now view) {
	if c.opt.Trace == nil {
		return
	}
	a, b := before.status, now.status
	if a.State != b.State || a.CurrentTerm != b.CurrentTerm {
		c.trace("%d is %s term=%d", b.ID, b.State, b.CurrentTerm)
	}
	old := after(before.entries, b.SnapshotIndex)
	for i, e := range old {
		if i >= len(now.entries) || now.entries[i].Term != e.Term {
			c.trace("%d gives up %d/%d to %d/%d", b.ID, e.Index, e.Term, a.LastIndex, a.LastTerm)
			break
		}
	}
	if a.CommitIndex != b.CommitIndex {
		c.trace("%d commits up to %d", b.ID, b.CommitIndex)
	}
	if !before.config.Equal(now.config) && len(before.entries)+len(now.entries) > 0 {
		c.trace("%d is in configuration %d: %v", b.ID, b.ConfigurationIndex, now.config)
	}
	if b.Removed && !a.Removed {
		c.trace("%d learns that it is removed", b.ID)
	}
	if a.Quiescent != b.Quiescent {
		c.trace("%d is quiescent: %t", b.ID, b.Quiescent)
	}
}

// describeData shows an entry's data.
func describeData(e core.Entry) string {
	switch e.Type {
	case core.ConfigurationEntry:
		cfg, err := core.DecodeConfiguration(e.Data)
		if err != nil {
			return err.Error()
		}
		return cfg.String()
	case core.NoOp:
		return "no-op"
	}
	return fmt.Sprintf("%q", e.Data)
}

// holds counts the disks with the entry, or with a snapshot that includes the
// entry.
func (c *Cluster) holds(ids []core.NodeID, index, term uint64) int {
	n := 0
	for _, id := range ids {
		if d := &c.servers[id].disk; hasEntry(d, index, term) {
			n++
		}
	}
	return n
}

func hasEntry(d *core.Persistent, index, term uint64) bool {
	base := d.Snapshot.LastIncludedIndex
	if index <= base {
		return true
	}
	i, ok := slices.BinarySearchFunc(d.Entries, index, func(e core.Entry, index uint64) int {
		return int(e.Index) - int(index)
	})
	return ok && d.Entries[i].Term == term
}
