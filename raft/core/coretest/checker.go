package coretest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"raftlab/raft/core"
)

// checker compares a cluster with the paper's properties (Figure 3). After each
// step the checker looks at the touched server, and remembers the history of all
// servers.
type checker struct {
	cluster *Cluster
	err     error // the first violation

	violations []error // with KeepGoing

	leaders   map[uint64]leaderRecord // by term
	entries   map[entryID]entryRecord // all entries of all logs so far
	committed []commitRecord          // of index i at [i-1]
	views     map[core.NodeID]view
	votes     map[voteKey]core.NodeID // on their way
	spoken    map[core.NodeID]uint64  // highest term of a server's messages
	onDisk    map[core.NodeID]core.HardState

	configs          []committedConfiguration // in order
	excluded         map[core.NodeID]bool     // servers outside of a committed configuration
	answered, failed int                      // reads
}

type entryID struct{ index, term uint64 }

// entryRecord is the content of an entry, to compare entries of one index and term,
// and by induction all entries before them (Log Matching).
type entryRecord struct {
	prevTerm uint64
	typ      core.EntryType
	data     string
}

// leaderRecord is a leader with its log at the election.
type leaderRecord struct {
	id            core.NodeID
	snapshotIndex uint64
	entries       []core.Entry
}

// commitRecord is a committed entry, the term of the first server to commit the
// entry, and the service's state behind the entry, once applied.
type commitRecord struct {
	term, inTerm uint64
	state        uint64
	applied      bool
}

// view is a picture of a server after its last step.
type view struct {
	life    int
	status  core.Status
	entries []core.Entry // the whole log, from memory and storage
	config  core.Configuration
}

type voteKey struct {
	voter core.NodeID
	term  uint64
}

func newChecker(c *Cluster) *checker {
	return &checker{
		cluster: c,
		leaders: map[uint64]leaderRecord{},
		entries: map[entryID]entryRecord{},
		views:   map[core.NodeID]view{},
		votes:   map[voteKey]core.NodeID{},
		spoken:  map[core.NodeID]uint64{},
		onDisk:  map[core.NodeID]core.HardState{},

		excluded: map[core.NodeID]bool{},
	}
}

// maxViolations bounds the recorded violations.
const maxViolations = 100

func (k *checker) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if !k.cluster.opt.KeepGoing {
		k.err = cmp.Or(k.err, err)
		return
	}
	known := slices.ContainsFunc(k.violations, func(v error) bool { return v.Error() == err.Error() })
	if !known && len(k.violations) < maxViolations {
		k.violations = append(k.violations, err)
	}
}

// seed records a disk of the first start. The snapshot's entries count as
// committed.
func (k *checker) seed(d core.Persistent) {
	for uint64(len(k.committed)) < d.Snapshot.LastIncludedIndex {
		k.committed = append(k.committed, commitRecord{})
	}
	if n := d.Snapshot.LastIncludedIndex; n > 0 {
		k.committed[n-1].term = d.Snapshot.LastIncludedTerm
	}
}

// observe looks at a server after a step.
func (k *checker) observe(s *server) {
	if s.core == nil || k.err != nil {
		return
	}
	now := view{life: s.life, status: s.core.Status(), entries: s.wholeLog()}
	now.config, _ = s.core.Configuration()
	before, known := k.views[s.id]
	k.views[s.id] = now
	sameLife := known && before.life == now.life
	if sameLife {
		k.checkForward(before.status, now.status)
		k.checkAppendOnly(before, now)
	} else if st := now.status; st.CurrentTerm < k.spoken[s.id] {
		k.fail("server %d restarts in term %d after it has spoken of term %d", s.id, st.CurrentTerm, k.spoken[s.id])
	}
	k.checkEntries(now)
	wasLeader := sameLife && before.status.State == core.Leader && before.status.CurrentTerm == now.status.CurrentTerm
	if now.status.State == core.Leader && !wasLeader {
		k.elected(now)
		k.checkVotes(s, now)
	}
	from := uint64(0)
	if sameLife {
		from = before.status.CommitIndex
	}
	if !sameLife {
		before = view{}
	}
	k.checkCommit(before, from, now)
	k.checkConfiguration(now)
	k.checkCompacted(now)
}

// checkForward checks that nothing goes back while a server runs.
func (k *checker) checkForward(a, b core.Status) {
	switch {
	case b.CurrentTerm < a.CurrentTerm:
		k.fail("server %d: currentTerm falls from %d to %d", b.ID, a.CurrentTerm, b.CurrentTerm)
	case b.CommitIndex < a.CommitIndex:
		k.fail("server %d: commitIndex falls from %d to %d", b.ID, a.CommitIndex, b.CommitIndex)
	case b.LastApplied < a.LastApplied:
		k.fail("server %d: lastApplied falls from %d to %d", b.ID, a.LastApplied, b.LastApplied)
	case b.LastApplied > b.CommitIndex:
		k.fail("server %d: lastApplied %d passes commitIndex %d", b.ID, b.LastApplied, b.CommitIndex)
	case b.CurrentTerm == a.CurrentTerm && a.VotedFor != core.None && b.VotedFor != a.VotedFor:
		k.fail("server %d: votedFor changes from %d to %d in term %d", b.ID, a.VotedFor, b.VotedFor, b.CurrentTerm)
	}
}

// checkAppendOnly checks that a leader never overwrites or deletes entries in its
// log (Leader Append-Only, §5.3). Compaction may drop the beginning.
func (k *checker) checkAppendOnly(a, b view) {
	if a.status.State != core.Leader || b.status.State != core.Leader || a.status.CurrentTerm != b.status.CurrentTerm {
		return
	}
	if b.status.LastIndex < a.status.LastIndex {
		k.fail("leader %d of term %d: its log shrinks from %d to %d", b.status.ID, b.status.CurrentTerm, a.status.LastIndex, b.status.LastIndex)
		return
	}
	old := after(a.entries, b.status.SnapshotIndex)
	for i, e := range old {
		if b.entries[i].Index != e.Index || b.entries[i].Term != e.Term {
			k.fail("leader %d of term %d: entry %d/%d becomes %d/%d", b.status.ID, b.status.CurrentTerm,
				e.Index, e.Term, b.entries[i].Index, b.entries[i].Term)
			return
		}
	}
}

// checkEntries checks that two logs with an entry of one index and term are equal
// up to there (Log Matching, §5.3). By induction the comparison of entries and of
// the terms before them is enough.
func (k *checker) checkEntries(b view) {
	base := b.status.SnapshotIndex
	prevTerm, known := uint64(0), base == 0
	if base > 0 && base <= uint64(len(k.committed)) {
		prevTerm = k.committed[base-1].term
		known = true
	}
	for i, e := range b.entries {
		if e.Index != base+uint64(i)+1 {
			k.fail("server %d: entry %d of its log has index %d behind a snapshot at %d", b.status.ID, i, e.Index, base)
			return
		}
		if e.Term < prevTerm || e.Term == 0 || e.Term > b.status.CurrentTerm {
			k.fail("server %d in term %d: entry %d/%d follows one of term %d", b.status.ID, b.status.CurrentTerm, e.Index, e.Term, prevTerm)
		}
		id := entryID{e.Index, e.Term}
		was, ok := k.entries[id]
		switch {
		case !ok:
			k.entries[id] = entryRecord{prevTerm, e.Type, string(e.Data)}
		case was.typ != e.Type || was.data != string(e.Data) || known && was.prevTerm != prevTerm:
			k.fail("Log Matching: server %d: entry %d/%d is %q after term %d; elsewhere it is %q after term %d",
				b.status.ID, e.Index, e.Term, e.Data, prevTerm, was.data, was.prevTerm)
		}
		prevTerm, known = e.Term, true
	}
}

// elected checks that a term has at most one leader (Election Safety, §5.2), and
// that the leader has the entries committed in earlier terms (Leader Completeness,
// §5.4).
func (k *checker) elected(v view) {
	term := v.status.CurrentTerm
	if was, ok := k.leaders[term]; ok {
		k.fail("Election Safety: servers %d and %d both lead term %d", was.id, v.status.ID, term)
		return
	}
	rec := leaderRecord{v.status.ID, v.status.SnapshotIndex, v.entries}
	k.leaders[term] = rec
	for i, c := range k.committed {
		if c.inTerm < term {
			k.checkComplete(term, rec, uint64(i)+1, c)
		}
	}
}

func (k *checker) checkComplete(term uint64, rec leaderRecord, index uint64, c commitRecord) {
	if index <= rec.snapshotIndex || c.term == 0 {
		return
	}
	i := int(index - rec.snapshotIndex - 1)
	if i >= len(rec.entries) || rec.entries[i].Term != c.term {
		k.fail("Leader Completeness: leader %d of term %d was elected without entry %d/%d, committed in term %d",
			rec.id, term, index, c.term, c.inTerm)
	}
}

// checkCommit checks that all servers commit the same entry at an index (State
// Machine Safety, §5.4.3). The first commit needs the disks of a majority, and a
// leader counts replicas only for an entry of its own term (§5.4.2).
func (k *checker) checkCommit(before view, from uint64, v view) {
	st := v.status
	if st.CommitIndex > st.LastIndex {
		k.fail("server %d: commitIndex %d passes the log's end at %d", st.ID, st.CommitIndex, st.LastIndex)
		return
	}
	news := false
	for index := max(from, st.SnapshotIndex) + 1; index <= st.CommitIndex; index++ {
		e := v.entries[index-st.SnapshotIndex-1]
		if index > uint64(len(k.committed)) {
			news = true
			k.commit(e, before, v)
			continue
		}
		if was := k.committed[index-1]; was.term != e.Term && was.term != 0 {
			k.fail("State Machine Safety: server %d commits %d/%d; another has committed %d/%d", st.ID, index, e.Term, index, was.term)
		}
	}
	if news && st.State == core.Leader && v.entries[st.CommitIndex-st.SnapshotIndex-1].Term != st.CurrentTerm {
		k.fail("leader %d of term %d commits up to %d, an entry of another term, by counting (§5.4.2)", st.ID, st.CurrentTerm, st.CommitIndex)
	}
}

// commit records the first commit of an entry. The configuration in force before
// the step decides. Behind a configuration appended by the step itself, the new one
// decides as well.
func (k *checker) commit(e core.Entry, before, v view) {
	st := v.status
	cfg := before.config
	if cfg.IsZero() {
		cfg = v.config
	}
	err := k.onQuorum(e, cfg)
	if err != nil && e.Index > before.status.ConfigurationIndex {
		err = k.onQuorum(e, v.config)
	}
	if err != nil {
		k.fail("server %d commits %d/%d, which is %v", st.ID, e.Index, e.Term, err)
	}
	k.exclude(e)
	rec := commitRecord{term: e.Term, inTerm: st.CurrentTerm}
	k.committed = append(k.committed, rec)
	for term, leader := range k.leaders {
		if term > rec.inTerm {
			k.checkComplete(term, leader, e.Index, rec)
		}
	}
}

// onQuorum returns nil if an entry is on the disks of a majority of the voters, and
// in a joint configuration of the outgoing voters too (thesis 4.3).
func (k *checker) onQuorum(e core.Entry, cfg core.Configuration) error {
	if cfg.IsZero() {
		cfg.Voters = k.cluster.ids
	}
	for _, voters := range [][]core.NodeID{cfg.Voters, cfg.Outgoing} {
		if n := k.cluster.holds(voters, e.Index, e.Term); len(voters) > 0 && n <= len(voters)/2 {
			return fmt.Errorf("on %d disks of %d", n, len(voters))
		}
	}
	return nil
}

// applied checks that all services have the same state behind the same index (State
// Machine Safety, §5.4.3).
func (k *checker) applied(s *server) {
	index := s.service.index
	if index == 0 || k.err != nil {
		return
	}
	if index > uint64(len(k.committed)) {
		k.fail("server %d has applied %d, which no server has committed", s.id, index)
		return
	}
	rec := &k.committed[index-1]
	if !hasEntry(&s.disk, index, rec.term) {
		k.fail("server %d applies %d/%d, which is not on its own disk", s.id, index, rec.term)
	}
	if !rec.applied {
		rec.applied, rec.state = true, s.service.state
	} else if rec.state != s.service.state {
		k.fail("State Machine Safety: server %d: its service differs from another's behind index %d", s.id, index)
	}
}

// saved checks that terms and votes on a disk never go back.
func (k *checker) saved(s *server) {
	a, b := k.onDisk[s.id], s.disk.HardState
	k.onDisk[s.id] = b
	if b.CurrentTerm < a.CurrentTerm || b.CurrentTerm == a.CurrentTerm && a.VotedFor != core.None && b.VotedFor != a.VotedFor {
		k.fail("server %d saves term %d, vote %d over term %d, vote %d", s.id, b.CurrentTerm, b.VotedFor, a.CurrentTerm, a.VotedFor)
	}
}

// sent checks that a message is covered by the sender's disk, because the sender
// may crash right behind the message (Figure 2, "updated on stable storage before
// responding to RPCs").
func (k *checker) sent(s *server, m core.Message) {
	switch b := m.Body.(type) {
	case *core.RequestVote:
		if !b.PreVote {
			k.voted(s, b.Term, s.id)
		}
	case *core.TimeoutNow:
		k.succeeds(s, m.To)
	case *core.RequestVoteReply:
		k.speak(s, b.Term, m)
		k.granted(s, m, b.VoteGranted)
		if b.VoteGranted && !b.PreVote {
			k.voted(s, b.RequestTerm, m.To)
		}
	case *core.AppendEntries:
		k.speak(s, b.Term, m)
	case *core.AppendEntriesReply:
		k.speak(s, b.Term, m)
		if b.Success && b.RequestTerm == s.disk.HardState.CurrentTerm {
			k.promised(s, b.MatchIndex, m)
		}
	case *core.InstallSnapshot:
		k.speak(s, b.Term, m)
		if len(b.Data) >= 8 && b.Offset == 0 && binary.LittleEndian.Uint64(b.Data) != b.LastIncludedIndex {
			k.fail("server %d sends a snapshot at %d as one at %d", s.id, binary.LittleEndian.Uint64(b.Data), b.LastIncludedIndex)
		}
	case *core.InstallSnapshotReply:
		k.speak(s, b.Term, m)
		if b.RequestTerm == s.disk.HardState.CurrentTerm {
			k.promised(s, b.MatchIndex, m)
		}
	}
}

func (k *checker) speak(s *server, term uint64, m core.Message) {
	if d := s.disk.HardState.CurrentTerm; d < term {
		k.fail("server %d speaks of term %d while its disk is in %d: %v", s.id, term, d, m)
	}
	k.spoken[s.id] = max(k.spoken[s.id], term)
}

// voted checks that a vote on its way is on disk, and the only vote of its term
// (§5.2).
func (k *checker) voted(s *server, term uint64, candidate core.NodeID) {
	d := s.disk.HardState
	if d.CurrentTerm < term || d.CurrentTerm == term && d.VotedFor != candidate {
		k.fail("server %d votes for %d in term %d while its disk says term %d, vote %d", s.id, candidate, term, d.CurrentTerm, d.VotedFor)
	}
	key := voteKey{s.id, term}
	if was, ok := k.votes[key]; ok && was != candidate {
		k.fail("server %d votes for %d and for %d in term %d", s.id, was, candidate, term)
	}
	k.votes[key] = candidate
	k.spoken[s.id] = max(k.spoken[s.id], term)
}

// promised checks that an acknowledged index is on disk.
func (k *checker) promised(s *server, index uint64, m core.Message) {
	if last := lastOnDisk(&s.disk); index > last {
		k.fail("server %d acknowledges %d while its disk ends at %d: %v", s.id, index, last, m)
	}
}

// lastOnDisk returns the index of the last entry on a disk.
func lastOnDisk(d *core.Persistent) uint64 {
	last := d.Snapshot.LastIncludedIndex
	if n := len(d.Entries); n > 0 {
		last = max(last, d.Entries[n-1].Index)
	}
	return last
}

// Converged returns nil if the leader's configuration is committed and not joint,
// and all its running members have the same log, applied to the end.
func (c *Cluster) Converged() error {
	leader := c.Leader()
	members := c.ids
	if leader != core.None {
		cfg, index := c.Core(leader).Configuration()
		if cfg.Joint() || index > c.Core(leader).Status().CommitIndex {
			return fmt.Errorf("configuration %d is not final: %v", index, cfg)
		}
		if !cfg.IsZero() {
			members = cfg.IDs()
		}
	}
	var first core.Status
	for _, id := range members {
		if !c.Up(id) {
			continue
		}
		st := c.Core(id).Status()
		if first.ID == core.None {
			first = st
		}
		if st.LastIndex != first.LastIndex || st.LastTerm != first.LastTerm || st.LastApplied != st.LastIndex {
			return fmt.Errorf("server %d: log ends at %d/%d, applied to %d; server %d: %d/%d, %d",
				id, st.LastIndex, st.LastTerm, st.LastApplied, first.ID, first.LastIndex, first.LastTerm, first.LastApplied)
		}
	}
	return nil
}
