package play

import (
	"fmt"
	"slices"
	"strings"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
	"raftlab/raft/core/script"
)

// Frame is the state behind a command.
type Frame struct {
	Command    string      `json:"command"`
	Notes      []Note      `json:"notes"`
	Servers    []Server    `json:"servers"`
	Messages   []Message   `json:"messages"` // on their way, oldest first
	Delayed    []Message   `json:"delayed"`
	Cuts       [][2]uint64 `json:"cuts"`       // links from the first to the second server
	Violations []Violation `json:"violations"` // new ones
	Error      string      `json:"error,omitempty"`
}

// Server is the state of one server in the words of Figure 2. A stopped
// server shows the state on the disk.
type Server struct {
	ID            uint64            `json:"id"`
	Up            bool              `json:"up"`
	State         string            `json:"state"`
	CurrentTerm   uint64            `json:"currentTerm"`
	VotedFor      uint64            `json:"votedFor"`
	Leader        uint64            `json:"leader"`
	CommitIndex   uint64            `json:"commitIndex"`
	LastApplied   uint64            `json:"lastApplied"`
	SnapshotIndex uint64            `json:"snapshotIndex"`
	SnapshotTerm  uint64            `json:"snapshotTerm"`
	Log           []Entry           `json:"log"` // behind the snapshot
	NextIndex     map[uint64]uint64 `json:"nextIndex,omitempty"`
	MatchIndex    map[uint64]uint64 `json:"matchIndex,omitempty"`
	Votes         []uint64          `json:"votes,omitempty"` // of a candidate, so far
	// Timeout is the number of ticks until a follower calls an election, 0 if unknown.
	Timeout    int      `json:"timeout"`
	Voters     []uint64 `json:"voters"`
	Outgoing   []uint64 `json:"outgoing"`
	Learners   []uint64 `json:"learners"`
	Voter      bool     `json:"voter"`
	Removed    bool     `json:"removed"`
	Stalled    bool     `json:"stalled"` // the disk does not save
	Transferee uint64   `json:"transferee"`
}

// Entry is one entry of a log.
type Entry struct {
	Index uint64 `json:"i"`
	Term  uint64 `json:"t"`
	Kind  string `json:"k,omitempty"` // "no-op" or "configuration"; empty for a command
	Data  string `json:"d"`
}

// Message is a message on its way.
type Message struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	Kind string `json:"kind"`
	Term uint64 `json:"term"`
	Text string `json:"text"`
	// Ref selects the message in a command, as in "1->2#2".
	Ref   string `json:"ref"`
	Reply bool   `json:"reply"`
	Cut   bool   `json:"cut"` // on a cut link or to a stopped server, so the message will be lost
}

// runner runs commands and keeps the history behind a frame.
type runner struct {
	world script.World
	polls map[core.NodeID]poll
	// leads are the leaders behind the last effect.
	leads map[core.NodeID]bool
}

// poll is the votes of a candidate.
type poll struct {
	term  uint64
	state core.State
	votes []uint64
}

func newRunner() *runner {
	return &runner{polls: map[core.NodeID]poll{}, leads: map[core.NodeID]bool{}}
}

// do runs a command and returns the frame behind it.
func (r *runner) do(line string) *Frame {
	effects, err := r.world.Do(line)
	r.count(effects)
	return r.frame(line, effects, err)
}

// count notes the votes in the effects.
func (r *runner) count(effects []script.Effect) {
	for _, e := range effects {
		if e.Message == nil {
			continue
		}
		rep, ok := e.Message.Body.(*core.RequestVoteReply)
		if !ok || !rep.VoteGranted {
			continue
		}
		counts := e.Before.State == core.Candidate && !rep.PreVote && rep.RequestTerm == e.Before.CurrentTerm ||
			e.Before.State == core.PreCandidate && rep.PreVote && rep.RequestTerm == e.Before.CurrentTerm+1
		if !counts {
			continue
		}
		p := r.polls[e.Message.To]
		if p.term != e.Before.CurrentTerm || p.state != e.Before.State {
			p = poll{term: e.Before.CurrentTerm, state: e.Before.State}
		}
		if from := uint64(e.Message.From); !slices.Contains(p.votes, from) {
			p.votes = append(p.votes, from)
		}
		r.polls[e.Message.To] = p
	}
}

func (r *runner) frame(line string, effects []script.Effect, err error) *Frame {
	f := &Frame{Command: line}
	if err != nil {
		f.Error = err.Error()
	}
	c := r.world.Cluster()
	f.Notes = r.notes(line, effects)
	for _, e := range effects {
		if text, ok := strings.CutPrefix(e.Text, script.Violation); ok {
			f.Violations = append(f.Violations, violation(text))
		}
	}
	if c == nil {
		return f
	}
	for _, id := range c.IDs() {
		f.Servers = append(f.Servers, r.server(c, id))
		for _, other := range c.IDs() {
			if c.Blocked(id, other) {
				f.Cuts = append(f.Cuts, [2]uint64{uint64(id), uint64(other)})
			}
		}
	}
	f.Messages = messages(c, c.InFlight())
	f.Delayed = messages(c, c.Delayed())
	return f
}

func (r *runner) server(c *coretest.Cluster, id core.NodeID) Server {
	if !c.Up(id) {
		d := c.Disk(id)
		return Server{
			ID: uint64(id), State: "down", Stalled: c.Stalled(id), CurrentTerm: d.HardState.CurrentTerm, VotedFor: uint64(d.HardState.VotedFor),
			SnapshotIndex: d.Snapshot.LastIncludedIndex, SnapshotTerm: d.Snapshot.LastIncludedTerm, Log: log(d.Entries),
		}
	}
	one := c.Core(id)
	st := one.Status()
	cfg, _ := one.Configuration()
	s := Server{
		ID: uint64(id), Up: true, State: st.State.String(), CurrentTerm: st.CurrentTerm, VotedFor: uint64(st.VotedFor),
		Leader: uint64(st.Leader), CommitIndex: st.CommitIndex, LastApplied: st.LastApplied,
		SnapshotIndex: st.SnapshotIndex, SnapshotTerm: c.Disk(id).Snapshot.LastIncludedTerm, Log: log(one.Entries()),
		Voters: numbers(cfg.Voters), Outgoing: numbers(cfg.Outgoing), Learners: numbers(cfg.Learners),
		Voter: st.Voter, Removed: st.Removed, Stalled: c.Stalled(id), Transferee: uint64(st.Transferee),
	}
	switch st.State {
	case core.Leader:
		s.NextIndex, s.MatchIndex = map[uint64]uint64{}, map[uint64]uint64{}
		for _, m := range one.Members() {
			s.NextIndex[uint64(m.ID)], s.MatchIndex[uint64(m.ID)] = m.NextIndex, m.MatchIndex
		}
	case core.Candidate, core.PreCandidate:
		s.Votes = []uint64{uint64(id)}
		if p := r.polls[id]; p.term == st.CurrentTerm && p.state == st.State {
			s.Votes = append(s.Votes, p.votes...)
		}
	default:
		if !st.Quiescent {
			s.Timeout = one.QuietTicks() + 1
		}
	}
	return s
}

func numbers(ids []core.NodeID) []uint64 {
	all := make([]uint64, 0, len(ids))
	for _, id := range ids {
		all = append(all, uint64(id))
	}
	return all
}

func log(entries []core.Entry) []Entry {
	all := make([]Entry, 0, len(entries))
	for _, e := range entries {
		one := Entry{Index: e.Index, Term: e.Term, Data: string(e.Data)}
		switch e.Type {
		case core.NoOp:
			one.Kind = "no-op"
		case core.ConfigurationEntry:
			one.Kind, one.Data = "configuration", "?"
			if cfg, err := core.DecodeConfiguration(e.Data); err == nil {
				one.Data = cfg.String()
			}
		}
		all = append(all, one)
	}
	return all
}

func messages(c *coretest.Cluster, pool []core.Message) []Message {
	type link struct{ from, to core.NodeID }
	seen := map[link]int{}
	all := make([]Message, 0, len(pool))
	for _, m := range pool {
		l := link{m.From, m.To}
		seen[l]++
		kind, term, reply := describe(m.Body)
		_, text, _ := strings.Cut(m.String(), " ")
		all = append(all, Message{
			From: uint64(m.From), To: uint64(m.To), Kind: kind, Term: term, Reply: reply, Text: text,
			Ref: fmt.Sprintf("%d->%d#%d", m.From, m.To, seen[l]),
			Cut: c.Blocked(m.From, m.To) || !c.Up(m.To),
		})
	}
	return all
}

// describe returns the name of a message in the paper's words, and the term.
func describe(body core.Body) (kind string, term uint64, reply bool) {
	switch b := body.(type) {
	case *core.RequestVote:
		if b.PreVote {
			return "PreVote", b.Term, false
		}
		return "RequestVote", b.Term, false
	case *core.RequestVoteReply:
		if b.PreVote {
			return "PreVote reply", b.Term, true
		}
		return "RequestVote reply", b.Term, true
	case *core.AppendEntries:
		if len(b.Entries) == 0 {
			return "Heartbeat", b.Term, false
		}
		return "AppendEntries", b.Term, false
	case *core.AppendEntriesReply:
		return "AppendEntries reply", b.Term, true
	case *core.InstallSnapshot:
		return "InstallSnapshot", b.Term, false
	case *core.InstallSnapshotReply:
		return "InstallSnapshot reply", b.Term, true
	case *core.TimeoutNow:
		return "TimeoutNow", b.Term, false
	case *core.ReadIndex:
		return "ReadIndex", b.Term, false
	case *core.ReadIndexReply:
		return "ReadIndex reply", b.Term, true
	case *core.Quiesce:
		return "Quiesce", b.Term, false
	case *core.QuiesceReply:
		return "Quiesce reply", b.Term, true
	}
	return fmt.Sprintf("%T", body), 0, false
}
