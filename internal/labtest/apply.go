package labtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"reflect"
	"time"

	"raftlab/internal/labtrace"
	"raftlab/labgob"
	"raftlab/raft"
	"raftlab/trace"
)

// A ledger holds the command applied first at each index. Later servers must apply
// the same command there.
type ledger struct {
	commands []any // commands[i] is at index i+1
	chain    []uint64
}

// agree records a command applied at index. The error reports a contradiction to
// the ledger.
func (l *ledger) agree(index int, command any) error {
	switch {
	case index <= len(l.commands):
		if have := l.commands[index-1]; !reflect.DeepEqual(have, command) {
			return violated(trace.Breach{Rule: trace.StateMachineSafety, Index: index, Before: labtrace.CommandOf(have), After: labtrace.CommandOf(command)},
				"applied %s at index %d, where %s was applied before", labtrace.CommandOf(command), index, labtrace.CommandOf(have))
		}
	case index == len(l.commands)+1:
		l.commands = append(l.commands, command)
		l.chain = append(l.chain, link(l.sum(index-1), command))
	default:
		return violated(trace.Breach{Rule: trace.ApplyInOrder, Index: index}, "applied index %d before any server applied index %d", index, len(l.commands)+1)
	}
	return nil
}

// sum returns a hash of all commands up to index. The sum is the service's state.
func (l *ledger) sum(index int) uint64 {
	if index == 0 || index > len(l.chain) {
		return 0
	}
	return l.chain[index-1]
}

func link(sum uint64, command any) uint64 {
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint64(nil, sum))
	fmt.Fprintf(h, "%T %v", command, command)
	return h.Sum64()
}

// snapshot is the state of the service after the command at Index.
type snapshot struct {
	Index int
	Sum   uint64
}

func (s snapshot) encode() []byte {
	var buf bytes.Buffer
	if err := labgob.NewEncoder(&buf).Encode(s); err != nil {
		panic(err) // two numbers always encode
	}
	return buf.Bytes()
}

func decodeSnapshot(data []byte) (s snapshot, err error) {
	err = labgob.NewDecoder(bytes.NewReader(data)).Decode(&s)
	return s, err
}

// load restores a starting server's service from the persisted snapshot.
func (c *Cluster) load(s *server) {
	data := s.persister.ReadSnapshot()
	if len(data) == 0 {
		return
	}
	snap, err := decodeSnapshot(data)
	if err != nil {
		c.fail(violated(trace.Breach{Rule: trace.SnapshotState, Lanes: []int{s.id}}, "server %d restarts with an unreadable snapshot: %v", s.id, err))
		return
	}
	c.mu.Lock()
	s.applied, s.restored = snap.Index, true
	right := snap.Sum == c.ledger.sum(snap.Index)
	c.mu.Unlock()
	if !right {
		c.fail(violated(trace.Breach{Rule: trace.SnapshotState, Lanes: []int{s.id}, Index: snap.Index},
			"server %d restarts with a snapshot that differs from the state at index %d", s.id, snap.Index))
	}
}

// serve is the service of one server. serve reads applyCh until the test is over,
// since a killed server may still write to the channel.
func (c *Cluster) serve(s *server, applyCh chan raft.ApplyMsg) {
	for {
		select {
		case m, open := <-applyCh:
			if !open {
				return // closed by a killed server, say
			}
			c.awaitTurn(s)
			if err := c.apply(s, m); err != nil {
				c.fail(of(s.id, err))
			}
		case <-c.done:
			return
		}
	}
}

// awaitTurn waits while the service is paused.
func (c *Cluster) awaitTurn(s *server) {
	c.mu.Lock()
	paused := s.paused
	c.mu.Unlock()
	if paused == nil {
		return
	}
	select {
	case <-paused:
	case <-c.done:
	}
}

func (c *Cluster) apply(s *server, m raft.ApplyMsg) error {
	switch {
	case m.CommandValid:
		return c.applyCommand(s, m)
	case m.SnapshotValid:
		return c.applySnapshot(s, m)
	}
	return nil
}

func (c *Cluster) applyCommand(s *server, m raft.ApplyMsg) error {
	c.mu.Lock()
	if s.down {
		c.mu.Unlock()
		return nil // applied after the crash, and without effect
	}
	c.notes(trace.Applied, s.id, m.CommandIndex, 0, labtrace.CommandOf(m.Command))
	if m.CommandIndex != s.applied+1 {
		c.mu.Unlock()
		return violated(trace.Breach{Rule: trace.ApplyInOrder, Index: m.CommandIndex}, "applied index %d after index %d", m.CommandIndex, s.applied)
	}
	s.applied, s.restored = m.CommandIndex, false
	err := c.ledger.agree(m.CommandIndex, m.Command)
	snap := snapshot{m.CommandIndex, c.ledger.sum(m.CommandIndex)}
	c.mu.Unlock()
	if err == nil && c.snapshotEvery > 0 && m.CommandIndex%c.snapshotEvery == 0 {
		c.snapshotOf(s, snap)
	}
	return err
}

// condInstaller is part of the lab's API in the editions up to 2021.
type condInstaller interface {
	CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool
}

func (c *Cluster) applySnapshot(s *server, m raft.ApplyMsg) error {
	if rf, ok := any(s.rf).(condInstaller); ok && !rf.CondInstallSnapshot(m.SnapshotTerm, m.SnapshotIndex, m.Snapshot) {
		return nil
	}
	snap, err := decodeSnapshot(m.Snapshot)
	if err != nil {
		return violated(trace.Breach{Rule: trace.SnapshotState}, "installed an unreadable snapshot: %v", err)
	}
	c.notes(trace.Snapshot, s.id, m.SnapshotIndex, m.SnapshotTerm, "installs a snapshot")
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := trace.Breach{Rule: trace.SnapshotState, Index: snap.Index}
	switch {
	case s.down:
		return nil
	case snap.Index != m.SnapshotIndex:
		return violated(wrong, "installed a snapshot of index %d with SnapshotIndex %d", snap.Index, m.SnapshotIndex)
	case snap.Index < s.applied || snap.Index == s.applied && !s.restored: // the first message after a restart may be that snapshot
		return violated(wrong, "installed a snapshot of index %d after applying index %d", snap.Index, s.applied)
	case snap.Sum != c.ledger.sum(snap.Index):
		return violated(wrong, "installed a snapshot that differs from the state at index %d", snap.Index)
	}
	s.applied, s.restored = snap.Index, false
	return nil
}

// watchEvery is the interval at which the watcher reads each server's term and role.
const watchEvery = 10 * time.Millisecond

// watch checks Election Safety (section 5.2) and the monotonicity of terms.
func (c *Cluster) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
			c.look()
		}
	}
}

func (c *Cluster) look() {
	c.mu.Lock()
	var up []*server
	for _, s := range c.servers {
		if !s.down {
			up = append(up, s)
		}
	}
	c.mu.Unlock()
	c.rec.Mark()
	for _, s := range up {
		c.notesSave(s)
		c.guard.asks(s.id)
		term, isLeader := s.rf.GetState()
		c.guard.answered()
		if err := c.observe(s, term, isLeader); err != nil {
			c.fail(err)
		}
	}
}

// tells records a new answer of GetState. The caller holds the cluster's lock.
func (c *Cluster) tells(s *server, term int, isLeader bool) {
	if s.told == nil || s.told.Term != term || s.told.Leads != isLeader {
		s.told = &trace.Event{Time: c.rec.Now(), Kind: trace.Role, Lane: s.id, Term: term, Leads: isLeader}
		c.rec.Add(*s.told)
	}
}

func (c *Cluster) observe(s *server, term int, isLeader bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.down {
		return nil
	}
	c.tells(s, term, isLeader)
	s.led = isLeader
	if term < s.lastTerm {
		return violated(trace.Breach{Rule: trace.TermsGrow, Lanes: []int{s.id}, Term: term}, "server %d went back from term %d to term %d", s.id, s.lastTerm, term)
	}
	s.lastTerm = term
	if !isLeader {
		return nil
	}
	if leader, known := c.leaders[term]; known && leader != s.id {
		return violated(trace.Breach{Rule: trace.ElectionSafety, Lanes: []int{leader, s.id}, Term: term}, "servers %d and %d both led term %d", leader, s.id, term)
	}
	c.leaders[term] = s.id
	return nil
}

// fail fails the test once. The test's goroutine stops at its next call of Check.
func (c *Cluster) fail(err error) {
	c.mu.Lock()
	first := !c.failed
	c.failed = true
	c.mu.Unlock()
	if first {
		c.rec.Break(breachOf(err))
		c.t.Error(err)
	}
}

// TakeSnapshot makes server i's service take a snapshot of its current state, and
// returns the snapshot's index.
func (c *Cluster) TakeSnapshot(i int) int {
	c.mu.Lock()
	s := c.servers[i]
	snap := snapshot{s.applied, c.ledger.sum(s.applied)}
	c.mu.Unlock()
	c.snapshotOf(s, snap)
	return snap.Index
}

// snapshotOf gives a snapshot of the service to a server.
func (c *Cluster) snapshotOf(s *server, snap snapshot) {
	data := snap.encode()
	c.kinds.taken(data)
	s.rf.Snapshot(snap.Index, data)
	c.notes(trace.Snapshot, s.id, snap.Index, 0, "takes a snapshot")
}
