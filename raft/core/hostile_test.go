package core_test

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"raftlab/raft/core"
)

// Messages that no correct server sends are refused with an error and change nothing.
func TestMalformedMessagesChangeNothing(t *testing.T) {
	const huge = math.MaxUint64
	good := core.AppendEntries{Term: 3, LeaderID: 2, PrevLogIndex: 2, PrevLogTerm: 2}
	appendWith := func(change func(*core.AppendEntries)) core.Message {
		req := good
		change(&req)
		return core.Message{From: 2, To: 1, Body: &req}
	}
	from2 := func(b core.Body) core.Message { return core.Message{From: 2, To: 1, Body: b} }
	for name, tt := range map[string]struct {
		m    core.Message
		want error
	}{
		"no body":                  {core.Message{From: 2, To: 1}, core.ErrMalformed},
		"from nobody":              {core.Message{To: 1, Body: &good}, core.ErrUnknownServer},
		"from itself":              {core.Message{From: 1, To: 1, Body: &good}, core.ErrUnknownServer},
		"to another":               {core.Message{From: 2, To: 3, Body: &good}, core.ErrUnknownServer},
		"term that would run over": {from2(&core.RequestVote{Term: huge, CandidateID: 2}), core.ErrMalformed},
		"reply's term runs over":   {from2(&core.AppendEntriesReply{Term: huge}), core.ErrMalformed},
		"vote in term 0":           {from2(&core.RequestVote{CandidateID: 2}), core.ErrMalformed},
		"vote for another":         {from2(&core.RequestVote{Term: 9, CandidateID: 3}), core.ErrMalformed},
		"leader of term 0":         {from2(&core.AppendEntries{LeaderID: 2}), core.ErrMalformed},
		"leader is another":        {appendWith(func(r *core.AppendEntries) { r.LeaderID = 3 }), core.ErrMalformed},
		"gap before entries":       {appendWith(func(r *core.AppendEntries) { r.Entries = entries(4, 3) }), core.ErrMalformed},
		"gap between entries": {appendWith(func(r *core.AppendEntries) {
			r.Entries = append(entries(3, 3), entries(5, 3)...)
		}), core.ErrMalformed},
		"entries run over": {appendWith(func(r *core.AppendEntries) {
			r.PrevLogIndex, r.Entries = huge, entries(0, 3)
		}), core.ErrMalformed},
		"terms fall":            {appendWith(func(r *core.AppendEntries) { r.Entries = entries(3, 1) }), core.ErrMalformed},
		"entry of term 0":       {appendWith(func(r *core.AppendEntries) { r.PrevLogIndex, r.PrevLogTerm, r.Entries = 0, 0, entries(1, 0) }), core.ErrMalformed},
		"entry of a term ahead": {appendWith(func(r *core.AppendEntries) { r.Entries = entries(3, 4) }), core.ErrMalformed},
		"another entry where one is committed": {appendWith(func(r *core.AppendEntries) {
			r.PrevLogIndex, r.PrevLogTerm, r.Entries = 1, 1, entries(2, 3)
		}), core.ErrUnsafe},
		"snapshot of nothing":      {from2(&core.InstallSnapshot{Term: 3, LeaderID: 2}), core.ErrMalformed},
		"snapshot without term":    {from2(&core.InstallSnapshot{Term: 3, LeaderID: 2, LastIncludedIndex: 9}), core.ErrMalformed},
		"snapshot of a term ahead": {from2(&core.InstallSnapshot{Term: 3, LeaderID: 2, LastIncludedIndex: 9, LastIncludedTerm: 4}), core.ErrMalformed},
		"snapshot that runs over":  {from2(&core.InstallSnapshot{Term: 3, LeaderID: 2, LastIncludedIndex: huge, LastIncludedTerm: 3}), core.ErrMalformed},
		"second leader":            {core.Message{From: 3, To: 1, Body: &core.AppendEntries{Term: 3, LeaderID: 3}}, core.ErrUnsafe},
		"second leader's snapshot": {core.Message{From: 3, To: 1, Body: &core.InstallSnapshot{Term: 3, LeaderID: 3, LastIncludedIndex: 9, LastIncludedTerm: 3}},
			core.ErrUnsafe},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, 3, disk(3, 1, 2))
			s.append(2, core.AppendEntries{Term: 3, PrevLogIndex: 2, PrevLogTerm: 2, LeaderCommit: 2})
			before, log := s.Status(), slices.Clone(s.Entries())
			err := s.Step(tt.m)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Step: %v; want %v", err, tt.want)
			}
			if s.Status() != before || !reflect.DeepEqual(s.Entries(), log) {
				t.Fatalf("changed: %+v, was %+v", s.Status(), before)
			}
			if rd := s.Ready(); err != nil && !rd.Empty() {
				t.Fatalf("answered: %+v", rd)
			}
		})
	}
}

// A leader that meets another in its own term does not follow it.
func TestTwoLeadersInATermAreReported(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	s.elect()
	err := s.Step(core.Message{From: 2, To: 1, Body: &core.AppendEntries{Term: 1, LeaderID: 2}})
	if !errors.Is(err, core.ErrUnsafe) {
		t.Fatalf("Step: %v; want ErrUnsafe", err)
	}
	s.wantState(core.Leader, 1)
}

// A configuration or a stored state that makes no server is refused.
func TestNewRefuses(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	for name, change := range map[string]func(*core.Config){
		"no id":             func(c *core.Config) { c.ID = core.None },
		"no voters":         func(c *core.Config) { c.Voters, c.Learners = nil, []core.NodeID{1} },
		"None votes":        func(c *core.Config) { c.Voters = []core.NodeID{1, 0} },
		"voter twice":       func(c *core.Config) { c.Voters = []core.NodeID{1, 2, 1} },
		"not a voter":       func(c *core.Config) { c.ID = 4 },
		"no heartbeats":     func(c *core.Config) { c.HeartbeatTicks = 0 },
		"no timeout":        func(c *core.Config) { c.ElectionTicks = 0 },
		"timeout of 1":      func(c *core.Config) { c.ElectionTicks, c.HeartbeatTicks = 1, 1 },
		"beats too slow":    func(c *core.Config) { c.HeartbeatTicks = c.ElectionTicks },
		"negative request":  func(c *core.Config) { c.MaxRequestBytes = -1 },
		"negative window":   func(c *core.Config) { c.MaxInflight = -1 },
		"negative in bytes": func(c *core.Config) { c.MaxInflightBytes = -1 },
		"no randomness":     func(c *core.Config) { c.Rand = nil },
	} {
		cfg := s.cfg
		change(&cfg)
		if _, err := core.New(cfg, core.Persistent{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, saved := range map[string]core.Persistent{
		"gap in the log":         {HardState: core.HardState{CurrentTerm: 9}, Entries: append(entries(1, 1), entries(3, 1)...)},
		"gap after the snapshot": {HardState: core.HardState{CurrentTerm: 9}, Snapshot: core.Snapshot{LastIncludedIndex: 3, LastIncludedTerm: 1}, Entries: entries(5, 1)},
		"terms fall":             disk(9, 2, 1),
		"term 0":                 disk(9, 0),
		"log ahead of term":      disk(2, 1, 3),
		"snapshot ahead of term": {Snapshot: core.Snapshot{LastIncludedIndex: 3, LastIncludedTerm: 1}},
		"snapshot without term":  {Snapshot: core.Snapshot{LastIncludedIndex: 3}},
		"snapshot without index": {HardState: core.HardState{CurrentTerm: 9}, Snapshot: core.Snapshot{LastIncludedTerm: 3}},
	} {
		if _, err := core.New(s.cfg, saved); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzHostile steps one server through messages that fuzzer's bytes spell out.
// Whatever comes, it must not panic, forget its vote or its term, or change what
// it has committed; and an error must leave it as it was.
func FuzzHostile(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomBytes(1000+seed, 400))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		disks := []core.Persistent{{}, disk(3, 1, 1, 2, 3), withSnapshot(2, 3)}
		d := &decoder{left: data}
		options := d.byte()
		h := &hostile{server: start(t, 3, disks[d.upTo(3)], func(cfg *core.Config) {
			cfg.MaxRequestBytes = 50
			cfg.LeaderNoOp = options&1 != 0
			cfg.Quiesce = options&2 != 0
			cfg.AdaptiveWindow = options&4 != 0
			cfg.SnapshotChunkBytes = int(options & 8)
			cfg.LeaseTicks = int(options&16) / 2
			cfg.MaxUncommittedBytes = int(options & 32)
			if options&64 != 0 {
				cfg.Voters, cfg.Learners = ids(2, 3), ids(1)
			}
		})}
		for len(d.left) > 0 {
			h.act(d)
			h.check()
		}
	})
}

// hostile is a server among liars.
type hostile struct {
	*server
	before  core.Status
	history []core.Entry // applied, by index; zero where a snapshot stood in
}

func (h *hostile) act(d *decoder) {
	h.before = h.Status()
	switch d.upTo(12) {
	case 8:
		_ = h.ReadIndex(uint64(d.byte()))
		h.Reads()
	case 9:
		h.reconfigureAtWill(d)
	case 10:
		_ = h.TransferLeadership(core.NodeID(d.upTo(5)))
	case 11:
		h.Wake()
		if d.upTo(4) == 0 {
			h.StepDown()
		}
		if d.upTo(4) == 0 {
			h.RejectSnapshot()
		}
	case 0:
		h.tick(1 + d.upTo(2*electionTicks))
	case 1:
		_, _, _ = h.Propose([]byte{1})
	case 2:
		h.work()
		h.apply()
	case 3:
		if st := h.Status(); h.Compact(st.LastApplied) == nil {
			h.compactDisk(st.LastApplied)
		}
	case 4:
		h.restart()
		h.before, h.history = h.Status(), nil
	case 5:
		h.Unreachable(core.NodeID(d.upTo(4)))
	default:
		log := h.Entries()
		if h.Step(d.message()) != nil && (h.Status() != h.before || len(h.Entries()) != len(log)) {
			h.t.Fatalf("an error changed the server from %+v to %+v", h.before, h.Status())
		}
	}
}

// reconfigureAtWill proposes any configuration.
func (h *hostile) reconfigureAtWill(d *decoder) {
	next := d.configuration()
	before := h.Status()
	if _, _, err := h.ProposeConfiguration(next); err != nil && h.Status() != before {
		h.t.Fatalf("a refused configuration changed the server from %+v to %+v", before, h.Status())
	}
}

// compactDisk is the host's side of a snapshot.
func (h *hostile) compactDisk(index uint64) {
	var kept []core.Entry
	for _, e := range h.disk.Entries {
		if e.Index == index {
			h.disk.Snapshot = core.Snapshot{LastIncludedIndex: index, LastIncludedTerm: e.Term}
		}
		if e.Index > index {
			kept = append(kept, e)
		}
	}
	h.disk.Entries = kept
}

func (h *hostile) apply() {
	snap, es := h.NextToApply(1000)
	if snap != nil {
		h.history = nil
	}
	h.history = append(h.history, es...)
}

func (h *hostile) check() {
	st := h.Status()
	switch {
	case st.CurrentTerm < h.before.CurrentTerm, st.CommitIndex < h.before.CommitIndex, st.LastApplied < h.before.LastApplied:
		h.t.Fatalf("went back from %+v to %+v", h.before, st)
	case st.CurrentTerm == h.before.CurrentTerm && h.before.VotedFor != core.None && st.VotedFor != h.before.VotedFor:
		h.t.Fatalf("changed its vote from %+v to %+v", h.before, st)
	case st.PendingReads < 0 || st.UncommittedBytes < 0:
		h.t.Fatalf("counts below zero: %+v", st)
	case st.CommitIndex > st.LastIndex || st.LastApplied > st.CommitIndex || st.SnapshotIndex > st.CommitIndex:
		h.t.Fatalf("contradicts itself: %+v", st)
	}
	log := h.Entries()
	for _, e := range h.history {
		if e.Index > st.SnapshotIndex && log[e.Index-st.SnapshotIndex-1].Term != e.Term {
			h.t.Fatalf("entry %d/%d was applied and is now of term %d", e.Index, e.Term, log[e.Index-st.SnapshotIndex-1].Term)
		}
	}
}

// decoder makes messages of bytes: mostly small numbers, near what the server
// has, now and then any.
type decoder struct{ left []byte }

func (d *decoder) byte() byte {
	if len(d.left) == 0 {
		return 0
	}
	b := d.left[0]
	d.left = d.left[1:]
	return b
}

func (d *decoder) upTo(n int) int { return int(d.byte()) % n }

func (d *decoder) number() uint64 {
	switch b := d.byte(); {
	case b < 240:
		return uint64(b % 12)
	case b < 250:
		return math.MaxUint64 - uint64(b%3)
	default:
		var raw [8]byte
		for i := range raw {
			raw[i] = d.byte()
		}
		return binary.LittleEndian.Uint64(raw[:])
	}
}

func (d *decoder) configuration() core.Configuration {
	var cfg core.Configuration
	for id := core.NodeID(1); id < 6; id++ {
		switch d.upTo(4) {
		case 1:
			cfg.Voters = append(cfg.Voters, id)
		case 2:
			cfg.Learners = append(cfg.Learners, id)
		case 3:
			cfg.Outgoing = append(cfg.Outgoing, id)
		}
	}
	if d.upTo(8) == 0 {
		cfg.Members = append(cfg.Members, core.Member{ID: core.NodeID(d.upTo(6)), Priority: d.byte()})
	}
	return cfg
}

func (d *decoder) entries(prevIndex, prevTerm uint64) []core.Entry {
	var es []core.Entry
	index, term := prevIndex, prevTerm
	for range d.upTo(4) {
		index++
		if d.upTo(16) == 0 {
			index = d.number()
		}
		term += uint64(d.upTo(2))
		e := core.Entry{Index: index, Term: term, Type: core.EntryType(d.upTo(5)), Data: []byte{d.byte()}}
		if e.Type == core.ConfigurationEntry && d.upTo(8) > 0 {
			e.Data = d.configuration().Encode()
		}
		es = append(es, e)
	}
	return es
}

func (d *decoder) message() core.Message {
	m := core.Message{From: 2, To: 1}
	switch d.upTo(16) {
	case 0:
		m.From = core.NodeID(d.number())
	case 1:
		m.To = core.NodeID(d.number())
	default:
		m.From += core.NodeID(d.upTo(2))
	}
	m.Body = d.body(m.From)
	return m
}

func (d *decoder) body(from core.NodeID) core.Body {
	if d.upTo(20) == 0 {
		from = core.NodeID(d.number())
	}
	flags := d.byte()
	switch d.upTo(12) {
	case 6:
		return &core.TimeoutNow{Term: d.number(), LeaderID: from}
	case 7:
		return &core.ReadIndex{Term: d.number(), ID: d.number()}
	case 8:
		return &core.ReadIndexReply{Term: d.number(), ID: d.number(), Index: d.number(), Failed: flags&1 != 0}
	case 9:
		return &core.Quiesce{Term: d.number(), LeaderID: from, CommitIndex: d.number()}
	case 10:
		return &core.QuiesceReply{Term: d.number(), RequestTerm: d.number(), Quiescent: flags&1 != 0}
	case 0:
		return &core.RequestVote{Term: d.number(), CandidateID: from, LastLogIndex: d.number(), LastLogTerm: d.number(),
			PreVote: flags&1 != 0, Transfer: flags&2 != 0}
	case 1:
		rep := &core.RequestVoteReply{Term: d.number(), VoteGranted: flags&2 != 0, RequestTerm: d.number(), PreVote: flags&1 != 0}
		if flags&4 != 0 {
			rep.RemovedAt = d.number()
		}
		return rep
	case 2:
		req := &core.AppendEntries{Term: d.number(), LeaderID: from, PrevLogIndex: d.number(), PrevLogTerm: d.number(), LeaderCommit: d.number()}
		req.Entries = d.entries(req.PrevLogIndex, req.PrevLogTerm)
		return req
	case 3:
		return &core.AppendEntriesReply{Term: d.number(), Success: flags&1 != 0, RequestTerm: d.number(), PrevLogIndex: d.number(),
			MatchIndex: d.number(), HintIndex: d.number(), HintTerm: d.number(), Round: uint64(flags >> 1)}
	case 4:
		req := &core.InstallSnapshot{Term: d.number(), LeaderID: from, LastIncludedIndex: d.number(), LastIncludedTerm: d.number()}
		if flags&2 != 0 {
			req.Configuration = d.configuration()
		}
		if flags&1 != 0 {
			req.Chunked, req.Offset, req.Size, req.Data = true, d.number(), d.number(), make([]byte, d.upTo(8))
			req.Done = req.Offset+uint64(len(req.Data)) == req.Size
		}
		return req
	case 5:
		return &core.InstallSnapshotReply{Term: d.number(), RequestTerm: d.number(), MatchIndex: d.number(),
			LastIncludedIndex: d.number(), Offset: d.number()}
	}
	return nil
}
