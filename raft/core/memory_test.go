package core_test

import (
	"errors"
	"slices"
	"testing"

	"raftlab/raft/core"
)

// Config.MaxUncommittedBytes bounds what a leader has accepted and not committed.
// It never refuses the first command, an empty one, or the leader's own entries.
func TestUncommittedBytesAreBounded(t *testing.T) {
	s := lead(t, 3, func(cfg *core.Config) { cfg.MaxUncommittedBytes = 10 })
	large := make([]byte, 100)
	if _, _, err := s.Propose(large); err != nil {
		t.Fatalf("the first command: %v", err)
	}
	if _, _, err := s.Propose([]byte("a")); !errors.Is(err, core.ErrTooMuchUncommitted) {
		t.Fatalf("the second one: %v", err)
	}
	s.propose("")
	s.reconfigure(core.Configuration{Voters: ids(1, 2)})
	if got := s.Status().UncommittedBytes; got < 100 {
		t.Errorf("%d uncommitted bytes; want at least 100", got)
	}
	s.commitNext(2, 3)
	s.commitNext(2)
	if got := s.Status(); got.UncommittedBytes != 0 || got.CommitIndex != got.LastIndex {
		t.Fatalf("after all is committed: %+v", got)
	}
	s.propose("12345", "67890")
	if _, _, err := s.Propose([]byte("a")); !errors.Is(err, core.ErrTooMuchUncommitted) {
		t.Errorf("the eleventh byte: %v", err)
	}
}

// windowed are the options of a server whose log stays in storage.
func windowed(bytes int) func(*core.Config) {
	return func(cfg *core.Config) { cfg.MaxCachedBytes = bytes }
}

// stored describes a disk as a host with a long log does.
func stored(d core.Persistent) core.Persistent {
	log := &core.StoredLog{CompactedIndex: d.Snapshot.LastIncludedIndex, CompactedTerm: d.Snapshot.LastIncludedTerm,
		LastIndex: d.Snapshot.LastIncludedIndex}
	for _, e := range d.Entries {
		if n := len(log.Terms); n == 0 || log.Terms[n-1].Term != e.Term {
			log.Terms = append(log.Terms, core.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Type == core.ConfigurationEntry {
			log.Configurations = append(log.Configurations, e)
		}
		log.LastIndex = e.Index
	}
	return core.Persistent{HardState: d.HardState, Snapshot: d.Snapshot, Stored: log}
}

// A server with a log of a million entries starts from a description of it, and
// has none in memory until it needs them.
func TestLongLogOccupiesNoMemory(t *testing.T) {
	const entries = 1_000_000
	s := start(t, 3, core.Persistent{HardState: core.HardState{CurrentTerm: 3}, Stored: &core.StoredLog{
		LastIndex: entries, Terms: []core.TermRun{{First: 1, Term: 1}, {First: 400_000, Term: 3}},
	}}, windowed(1000), library)
	if st := s.Status(); st.LastIndex != entries || st.LastTerm != 3 || len(s.Entries()) != 0 {
		t.Fatalf("started as %+v with %d entries in memory", st, len(s.Entries()))
	}
	s.elect()
	s.accept(2, entries+1)
	s.wantCommit(entries + 1)
	// What is applied comes from storage.
	if _, es := s.NextToApply(1 << 20); len(es) > 0 || !s.HasToApply() {
		t.Fatalf("%d entries from memory", len(es))
	}
	next := uint64(1)
	for next <= entries {
		r := s.LoadToApply()
		if r.First != next || r.Empty() {
			t.Fatalf("to apply is %+v; want from %d", r, next)
		}
		next = r.Last + 1
	}
	if _, es := s.NextToApply(1 << 20); len(es) != 1 || es[0].Index != entries+1 {
		t.Fatalf("the last entry is not in memory: %v", es)
	}
	if r := s.LoadToApply(); !r.Empty() {
		t.Fatalf("to apply is %+v; want nothing", r)
	}
}

// A follower that is behind the entries in memory gets them from storage, request
// by request, without waiting for an answer between them.
func TestLoads(t *testing.T) {
	disk := disk(2, 1, 1, 1, 2, 2)
	s := start(t, 3, stored(disk), windowed(1000), library, func(cfg *core.Config) { cfg.MaxRequestBytes = 40 })
	s.elect()
	s.step(3, &core.AppendEntriesReply{Term: 3, RequestTerm: 3, PrevLogIndex: 5, HintIndex: 0})
	s.work()
	for want := uint64(1); want < 5; want += 2 {
		loads := s.Loads()
		if len(loads) != 1 || loads[0].To != 3 || loads[0].First != want || loads[0].Last != 5 || loads[0].MaxBytes != 40 {
			t.Fatalf("loads %+v; want 3 to get entries from %d", loads, want)
		}
		if ms := sent[*core.AppendEntries](s.work(), 3); len(ms) > 0 {
			t.Fatalf("sent before the entries were loaded: %v", ms)
		}
		s.Loaded(loads[0], disk.Entries[want-1:])
		ms := sent[*core.AppendEntries](s.work(), 3)
		if len(ms) != 1 || ms[0].PrevLogIndex != want-1 || len(ms[0].Entries) != 2 {
			t.Fatalf("sent %v; want two entries from %d", ms, want)
		}
		if want == 1 {
			s.accept(3, 2) // the place is found; from here on requests are pipelined
			s.work()
		}
	}
}

// Entries that are not those of the log are not sent, and a failed load is tried
// again with the next heartbeat.
func TestBadLoads(t *testing.T) {
	s := start(t, 3, stored(disk(2, 1, 1, 2)), windowed(1000), library)
	s.elect()
	s.step(3, &core.AppendEntriesReply{Term: 3, RequestTerm: 3, PrevLogIndex: 3, HintIndex: 0})
	s.work()
	load := s.Loads()[0]
	for _, es := range [][]core.Entry{nil, entries(1, 2), entries(2, 1)} {
		s.Loaded(load, es)
		if ms := sent[*core.AppendEntries](s.work(), 3); len(ms) > 0 {
			t.Fatalf("entries %v are sent as %v", es, ms)
		}
		if again := s.Loads(); len(again) > 0 {
			t.Fatalf("the load is repeated at once: %+v", again)
		}
		s.tick(heartbeatTicks)
		s.accept(3, 0)
		s.work()
		again := s.Loads()
		if len(again) != 1 || again[0].First != 1 {
			t.Fatalf("the load is not repeated: %+v", again)
		}
		load = again[0]
	}
	s.Loaded(load, entries(1, 1, 1))
	if ms := sent[*core.AppendEntries](s.work(), 3); len(ms) != 1 || len(ms[0].Entries) != 2 {
		t.Fatalf("sent %v", ms)
	}
	// A load that is overtaken, of an old term, or handed in twice changes nothing.
	s.Loaded(load, entries(1, 1, 1))
	s.step(2, &core.AppendEntries{Term: 9, LeaderID: 2})
	s.Loaded(load, entries(1, 1, 1))
	if ms := sent[*core.AppendEntries](s.work(), 3); len(ms) > 0 {
		t.Fatalf("sent %v", ms)
	}
}

// A compaction may overtake a load. The follower then needs the snapshot, also if the
// compaction ends at the first entry of the load.
func TestCompactionOvertakesLoad(t *testing.T) {
	for to := uint64(1); to <= 3; to++ {
		s := start(t, 3, stored(disk(2, 1, 1, 2)), windowed(1000), library)
		s.elect()
		s.step(3, &core.AppendEntriesReply{Term: 3, RequestTerm: 3, PrevLogIndex: 3, HintIndex: 0})
		s.work()
		load := s.Loads()[0]
		s.accept(2, 4)
		s.wantCommit(4)
		s.LoadToApply()
		s.NextToApply(1 << 20)
		if err := s.Compact(to); err != nil {
			t.Fatal(err)
		}
		s.Loaded(load, entries(1, 1, 1, 2))
		if ms := sent[*core.AppendEntries](s.work(), 3); len(ms) > 0 && len(ms[0].Entries) > 0 {
			t.Errorf("compacted to %d: sent %v", to, ms[0])
		}
		s.tick(heartbeatTicks)
		s.accept(3, 0)
		if ms := sent[*core.InstallSnapshot](s.work(), 3); len(ms) != 1 {
			t.Errorf("compacted to %d: %d snapshots were sent; want 1", to, len(ms))
		}
	}
}

// An answer to earlier requests may overtake a load. What is left of its entries
// is sent, and the follower is not forgotten.
func TestAnswerOvertakesLoad(t *testing.T) {
	disk := disk(2, 1, 1, 1, 2)
	s := start(t, 3, stored(disk), windowed(1000), library)
	s.elect()
	s.step(3, &core.AppendEntriesReply{Term: 3, RequestTerm: 3, PrevLogIndex: 4, HintIndex: 0})
	s.work()
	s.Loaded(s.Loads()[0], disk.Entries[:1])
	s.work()
	s.accept(3, 1)
	s.work()
	load := s.Loads()[0]
	if load.First != 2 {
		t.Fatalf("load %+v; want one from 2", load)
	}
	s.accept(3, 2) // an answer to a request from before
	s.Loaded(load, disk.Entries[1:])
	ms := sent[*core.AppendEntries](s.work(), 3)
	if len(ms) == 0 || ms[0].PrevLogIndex != 2 || len(ms[0].Entries) != 2 {
		t.Fatalf("sent %v; want entries 3 and 4", ms)
	}
}

// The description of a stored log must make a log.
func TestNewRefusesStoredLogs(t *testing.T) {
	cfg := start(t, 3, core.Persistent{}).cfg
	good := func() core.Persistent {
		return core.Persistent{
			HardState: core.HardState{CurrentTerm: 9},
			Snapshot:  core.Snapshot{LastIncludedIndex: 5, LastIncludedTerm: 2},
			Stored: &core.StoredLog{CompactedIndex: 3, CompactedTerm: 1, LastIndex: 9,
				Terms: []core.TermRun{{First: 4, Term: 1}, {First: 5, Term: 2}, {First: 8, Term: 4}}},
		}
	}
	c, err := core.New(cfg, good())
	if err != nil {
		t.Fatal(err)
	}
	if st := c.Status(); st.SnapshotIndex != 3 || st.CommitIndex != 5 || st.LastApplied != 5 || st.LastIndex != 9 || st.LastTerm != 4 {
		t.Fatalf("started as %+v", st)
	}
	for name, change := range map[string]func(*core.Persistent){
		"entries too":              func(p *core.Persistent) { p.Entries = entries(6, 2) },
		"compacted without a term": func(p *core.Persistent) { p.Stored.CompactedTerm = 0 },
		"compacted too far":        func(p *core.Persistent) { p.Stored.CompactedIndex = 6 },
		"ends before the snapshot": func(p *core.Persistent) { p.Stored.LastIndex = 4 },
		"no terms":                 func(p *core.Persistent) { p.Stored.Terms = nil },
		"gap before the terms":     func(p *core.Persistent) { p.Stored.Terms[0].First = 5 },
		"terms fall":               func(p *core.Persistent) { p.Stored.Terms[2].Term = 1 },
		"term twice":               func(p *core.Persistent) { p.Stored.Terms[2].Term = 2 },
		"terms out of order":       func(p *core.Persistent) { p.Stored.Terms[1].First = 9 },
		"terms beyond the end":     func(p *core.Persistent) { p.Stored.Terms[2].First = 10 },
		"another snapshot":         func(p *core.Persistent) { p.Snapshot.LastIncludedTerm = 1 },
		"no configuration": func(p *core.Persistent) {
			p.Stored.Configurations = []core.Entry{{Index: 8, Term: 4, Type: core.ConfigurationEntry, Data: []byte("?")}}
		},
		"configuration elsewhere": func(p *core.Persistent) {
			p.Stored.Configurations = []core.Entry{{Index: 8, Term: 3, Type: core.ConfigurationEntry, Data: core.Configuration{Voters: ids(1)}.Encode()}}
		},
	} {
		p := good()
		change(&p)
		if _, err := core.New(cfg, p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	cfg.Applied = 10
	if _, err := core.New(cfg, good()); err == nil {
		t.Error("applied beyond the log: no error")
	}
	cfg.Applied = 7
	if c, err := core.New(cfg, good()); err != nil || c.Status().LastApplied != 7 || c.Status().CommitIndex != 7 {
		t.Errorf("applied up to 7: %v", err)
	}
}

// Config.AdaptiveWindow narrows the window of a follower at losses and widens it
// with answers.
func TestAdaptiveWindow(t *testing.T) {
	s := lead(t, 2, func(cfg *core.Config) {
		cfg.AdaptiveWindow, cfg.MaxInflightBytes, cfg.MaxRequestBytes = true, 1000, 100
	})
	inflight := func() int {
		s.work()
		return s.Members()[1].InflightBytes
	}
	for range 100 {
		s.propose(string(make([]byte, 84)))
	}
	if got := inflight(); got != 1000 {
		t.Fatalf("%d bytes in flight; want 1000", got)
	}
	match := uint64(1)
	for _, want := range []int{500, 300} {
		s.Unreachable(2)
		s.work()
		match++
		s.accept(2, match) // the place is found
		if got := inflight(); got < want || got > want+100 {
			t.Errorf("%d bytes in flight after a loss; want about %d", got, want)
		}
	}
	for range 60 {
		match++
		s.accept(2, match)
		s.propose(string(make([]byte, 84)))
		s.work()
	}
	if got := inflight(); got < 900 {
		t.Errorf("%d bytes in flight after 60 answers; want 1000 again", got)
	}
}

// The members' lists that a caller gets are the caller's.
func TestConfigurationIsACopy(t *testing.T) {
	s := start(t, 3, core.Persistent{})
	cfg, _ := s.Configuration()
	cfg.Voters[0] = 9
	if again, _ := s.Configuration(); !slices.Equal(again.Voters, ids(1, 2, 3)) {
		t.Fatalf("a caller changed the configuration to %v", again)
	}
}
