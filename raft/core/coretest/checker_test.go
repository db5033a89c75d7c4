package coretest

import (
	"strings"
	"testing"

	"raftlab/raft/core"
)

// Violations that no damage to a disk brings about, since an earlier check would
// speak first: the checker is told of them directly.
func TestCheckerSaysNo(t *testing.T) {
	entries := func(terms ...uint64) []core.Entry {
		var es []core.Entry
		for i, term := range terms {
			es = append(es, core.Entry{Index: uint64(i + 1), Term: term})
		}
		return es
	}
	leader := func(id core.NodeID, term uint64, terms ...uint64) view {
		return view{life: 1, entries: entries(terms...), status: core.Status{ID: id, State: core.Leader, CurrentTerm: term, LastIndex: uint64(len(terms))}}
	}
	status := func(change func(*core.Status)) core.Status {
		st := core.Status{ID: 1, CurrentTerm: 3, VotedFor: 1, LastIndex: 5, CommitIndex: 3, LastApplied: 2}
		change(&st)
		return st
	}
	from := status(func(*core.Status) {})
	for want, do := range map[string]func(*checker){
		"Election Safety: servers 1 and 2": func(k *checker) { k.elected(leader(1, 3)); k.elected(leader(2, 3)) },
		"Leader Completeness": func(k *checker) {
			k.committed = []commitRecord{{term: 1, inTerm: 2}}
			k.elected(leader(1, 3, 2))
		},
		"shrinks from 2 to 1": func(k *checker) { k.checkAppendOnly(leader(1, 3, 1, 1), leader(1, 3, 1)) },
		"2/1 becomes 2/3":     func(k *checker) { k.checkAppendOnly(leader(1, 3, 1, 1), leader(1, 3, 1, 3)) },
		"currentTerm falls":   func(k *checker) { k.checkForward(from, status(func(s *core.Status) { s.CurrentTerm = 2 })) },
		"commitIndex falls":   func(k *checker) { k.checkForward(from, status(func(s *core.Status) { s.CommitIndex = 2 })) },
		"lastApplied falls":   func(k *checker) { k.checkForward(from, status(func(s *core.Status) { s.LastApplied = 1 })) },
		"votedFor changes":    func(k *checker) { k.checkForward(from, status(func(s *core.Status) { s.VotedFor = 2 })) },
		"lastApplied 4 passes": func(k *checker) {
			k.checkForward(from, status(func(s *core.Status) { s.LastApplied = 4 }))
		},
		"after term 2; elsewhere it is \"\" after term 1": func(k *checker) {
			k.checkEntries(leader(1, 3, 1, 3))
			k.checkEntries(leader(2, 3, 2, 3))
		},
		"on 0 disks of 3": func(k *checker) {
			v := leader(1, 3, 3)
			v.status.CommitIndex = 1
			k.checkCommit(view{}, 0, v)
		},
		"another has committed 1/2": func(k *checker) {
			k.committed = []commitRecord{{term: 2, inTerm: 2}}
			v := leader(1, 3, 3)
			v.status.CommitIndex = 1
			k.checkCommit(view{}, 0, v)
		},
		"speaks of term 4 while its disk is in 0": func(k *checker) {
			k.sent(k.cluster.servers[1], core.Message{From: 1, To: 2, Body: &core.AppendEntries{Term: 4}})
		},
		"votes for 2 in term 4 while its disk says": func(k *checker) {
			k.cluster.servers[1].disk.HardState = core.HardState{CurrentTerm: 4, VotedFor: 1}
			k.sent(k.cluster.servers[1], core.Message{From: 1, To: 2, Body: &core.RequestVoteReply{Term: 4, RequestTerm: 4, VoteGranted: true}})
		},
		"acknowledges 3 while its disk ends at 0": func(k *checker) {
			k.cluster.servers[1].disk.HardState.CurrentTerm = 4
			k.sent(k.cluster.servers[1], core.Message{From: 1, To: 2, Body: &core.AppendEntriesReply{Term: 4, RequestTerm: 4, Success: true, MatchIndex: 3}})
		},
		"leads on without a vote": func(k *checker) {
			v := leader(1, 3, 3)
			v.config = core.Configuration{Voters: []core.NodeID{2}}
			k.checkCompacted(v)
		},
		"behind 5; that of 4 is voters=[1 2]": func(k *checker) {
			k.configs = []committedConfiguration{{4, core.Configuration{Voters: []core.NodeID{1, 2}}}}
			k.checkCompacted(view{status: core.Status{ID: 1, SnapshotIndex: 5}, config: core.Configuration{Voters: []core.NodeID{1, 2, 3}}})
		},
		"stale read: server 1 reads at 1; 2 was committed": func(k *checker) {
			k.committed = []commitRecord{{term: 1}, {term: 1}}
			k.cluster.servers[1].reads[7] = 2
			k.read(k.cluster.servers[1], core.ReadState{ID: 7, Index: 1})
		},
		"reads at 3, which no server has committed": func(k *checker) {
			k.cluster.servers[1].reads[7] = 0
			k.read(k.cluster.servers[1], core.ReadState{ID: 7, Index: 3})
		},
		"leads term 3 with 1 votes of the voters [1 2 3]": func(k *checker) {
			v := leader(1, 3, 3)
			v.config = core.Configuration{Voters: []core.NodeID{1, 2, 3}}
			k.votes[voteKey{1, 3}] = 1
			k.votes[voteKey{4, 3}] = 1 // a learner's
			k.checkVotes(k.cluster.servers[1], v)
		},
		"leader 1 of term 3 has 2 uncommitted configurations": func(k *checker) {
			cfg := core.Configuration{Voters: []core.NodeID{1, 2}}
			v := leader(1, 3, 3, 3)
			for i := range v.entries {
				v.entries[i].Type, v.entries[i].Data = core.ConfigurationEntry, cfg.Encode()
			}
			v.config, v.status.ConfigurationIndex = cfg, 2
			k.checkConfiguration(v)
		},
		"believes that it is removed": func(k *checker) {
			k.checkConfiguration(view{status: core.Status{ID: 1, Removed: true}})
		},
	} {
		k := New(Options{}).checker
		do(k)
		if k.err == nil || !strings.Contains(k.err.Error(), want) {
			t.Errorf("the checker says %v; want %q", k.err, want)
		}
	}
}
