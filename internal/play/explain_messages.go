package play

import (
	"fmt"

	"raftlab/raft/core"
	"raftlab/raft/core/script"
)

// delivered explains the delivery of a message.
func (r *runner) delivered(e script.Effect, later []script.Effect) Note {
	m, before, after := e.Message, e.Before, e.After
	switch b := m.Body.(type) {
	case *core.RequestVote:
		return r.voteRequested(e, b, later)
	case *core.RequestVoteReply:
		return voteCounted(m, b, before, after)
	case *core.AppendEntries:
		return appended(m, b, before, after)
	case *core.AppendEntriesReply:
		return answered(m, b, before, after)
	case *core.InstallSnapshot:
		if b.Term < before.CurrentTerm {
			return staleRequest(m, b.Term, before)
		}
		return Note{Says: fmt.Sprintf("Server %d lacks entries that leader %d has compacted. The snapshot up to index %d replaces them.", m.To, m.From, b.LastIncludedIndex),
			Paper: "§7, Figure 13", Code: []string{"handleInstallSnapshot", "restoreFromLeader"}}
	case *core.InstallSnapshotReply:
		return Note{Says: fmt.Sprintf("Leader %d knows that server %d has the snapshot. Replication goes on behind it.", m.To, m.From),
			Paper: "§7", Code: []string{"handleInstallSnapshotReply"}}
	case *core.TimeoutNow:
		return Note{Says: fmt.Sprintf("Leader %d asks server %d to take over. Server %d calls an election at once, without waiting for a timeout.", m.From, m.To, m.To),
			Paper: "thesis 3.10", Code: []string{"handleTimeoutNow", "campaign"}}
	case *core.ReadIndex:
		return Note{Says: fmt.Sprintf("Server %d asks leader %d for the index that its read must see.", m.From, m.To),
			Paper: "thesis 6.4", Code: []string{"handleReadIndex", "beginRound"}}
	case *core.ReadIndexReply:
		return Note{Says: fmt.Sprintf("Server %d may read as soon as it has applied index %d.", m.To, b.Index),
			Paper: "thesis 6.4", Code: []string{"handleReadIndexReply"}}
	case *core.Quiesce, *core.QuiesceReply:
		return Note{Says: "The cluster is idle and falls silent.", Code: []string{"tryQuiesce", "handleQuiesce"}}
	}
	return Note{}
}

func staleRequest(m *core.Message, term uint64, before core.Status) Note {
	return Note{Says: fmt.Sprintf("Term %d is over: server %d is in term %d and refuses. The refusal carries the newer term.", term, m.To, before.CurrentTerm),
		Paper: "§5.1", Code: []string{"followLeader"}}
}

// voteRequested explains the answer to a request for a vote or a pre-vote.
func (r *runner) voteRequested(e script.Effect, req *core.RequestVote, later []script.Effect) Note {
	m, before, after := e.Message, e.Before, e.After
	code := []string{"handleRequestVote", "vote", "upToDate"}
	word, paper := "vote", "§5.2, §5.4.1"
	granted := after.VotedFor == req.CandidateID && after.CurrentTerm == req.Term
	if req.PreVote {
		code = []string{"handleRequestVote", "wouldVote", "upToDate"}
		word, paper = "pre-vote", "thesis 9.6"
		granted = r.granted(e, later)
	}
	upToDate := req.LastLogTerm > before.LastTerm || req.LastLogTerm == before.LastTerm && req.LastLogIndex >= before.LastIndex
	last := fmt.Sprintf("%d/%d against its own %d/%d", req.LastLogIndex, req.LastLogTerm, before.LastIndex, before.LastTerm)
	switch {
	case granted && req.PreVote:
		return Note{Says: fmt.Sprintf("Server %d would vote for server %d: term %d is newer than its own, and the candidate's last entry is at least as new (%s). The answer promises nothing.", m.To, m.From, req.Term, last),
			Paper: paper, Code: code}
	case granted:
		return Note{Says: fmt.Sprintf("Server %d gives server %d its only vote of term %d. The candidate's last entry is at least as new (%s). The vote is saved before the answer leaves.", m.To, m.From, req.Term, last),
			Paper: paper, Code: code}
	case req.Term < before.CurrentTerm || req.PreVote && req.Term == before.CurrentTerm:
		return Note{Says: fmt.Sprintf("Server %d refuses its %s: it is in term %d already.", m.To, word, before.CurrentTerm), Paper: "§5.1", Code: code}
	case !req.PreVote && req.Term == before.CurrentTerm && before.VotedFor != core.None && before.VotedFor != req.CandidateID:
		return Note{Says: fmt.Sprintf("Server %d refuses: it has given its vote of term %d to server %d. First come, first served.", m.To, req.Term, before.VotedFor), Paper: "§5.2", Code: code}
	case !upToDate:
		return Note{Says: fmt.Sprintf("Server %d refuses its %s: the candidate's log ends earlier (%s), so it may lack committed entries.", m.To, word, last), Paper: "§5.4.1", Code: code}
	case before.State == core.Leader:
		return Note{Says: fmt.Sprintf("Server %d refuses its %s: it leads, and while it has a majority there is nothing to elect.", m.To, word), Paper: "thesis 9.6", Code: code}
	}
	return Note{Says: fmt.Sprintf("Server %d refuses its %s: it has heard its leader within the minimum election timeout. The candidate has merely lost the leader itself.", m.To, word),
		Paper: "§6, thesis 4.2.3", Code: []string{"hearsLeader"}}
}

// granted reports whether the answer to a request for a pre-vote is yes. The answer is
// among the later effects, or among the messages of the network.
func (r *runner) granted(e script.Effect, later []script.Effect) bool {
	is := func(m core.Message) (granted, ok bool) {
		rep, ok := m.Body.(*core.RequestVoteReply)
		ok = ok && m.Call == e.Message.Call && m.From == e.Message.To
		return ok && rep.VoteGranted, ok
	}
	for _, l := range later {
		if l.Message == nil {
			continue
		}
		if granted, ok := is(*l.Message); ok {
			return granted
		}
	}
	c := r.world.Cluster()
	for _, pool := range [][]core.Message{c.InFlight(), c.Delayed()} {
		for _, m := range pool {
			if granted, ok := is(m); ok {
				return granted
			}
		}
	}
	return false
}

// voteCounted explains the delivery of a vote.
func voteCounted(m *core.Message, rep *core.RequestVoteReply, before, after core.Status) Note {
	code := []string{"handleRequestVoteReply", "pollWon"}
	counts := before.State == core.Candidate && !rep.PreVote && rep.RequestTerm == before.CurrentTerm ||
		before.State == core.PreCandidate && rep.PreVote && rep.RequestTerm == before.CurrentTerm+1
	switch {
	case rep.Term > before.CurrentTerm:
		return Note{Says: fmt.Sprintf("The answer has the newer term %d. Server %d gives its poll up and follows.", rep.Term, m.To), Paper: "§5.1", Code: []string{"observeTerm", "becomeFollower"}}
	case !counts:
		return Note{Says: fmt.Sprintf("The answer belongs to a poll of server %d that is over. It counts for nothing.", m.To), Paper: "§5.2", Code: code}
	case !rep.VoteGranted:
		return Note{Says: fmt.Sprintf("Server %d does not get the vote of server %d.", m.To, m.From), Paper: "§5.2", Code: code}
	case after.State == core.Leader:
		return Note{Says: fmt.Sprintf("With the vote of server %d, server %d has a majority.", m.From, m.To), Paper: "§5.2", Code: code}
	case rep.PreVote && after.State != core.PreCandidate:
		return Note{Says: fmt.Sprintf("A majority would vote for server %d. The real election begins.", m.To), Paper: "thesis 9.6", Code: code}
	}
	return Note{Says: fmt.Sprintf("Server %d counts the vote of server %d. It has no majority yet.", m.To, m.From), Paper: "§5.2", Code: code}
}

// appended explains the delivery of AppendEntries.
func appended(m *core.Message, req *core.AppendEntries, before, after core.Status) Note {
	code := []string{"handleAppendEntries", "appendFromLeader", "merge"}
	last := req.PrevLogIndex + uint64(len(req.Entries))
	switch {
	case req.Term < before.CurrentTerm:
		return staleRequest(m, req.Term, before)
	case before.LastIndex < req.PrevLogIndex && after.LastIndex < req.PrevLogIndex:
		return Note{Says: fmt.Sprintf("Server %d refuses: its log ends at %d, and the entry before the new ones, %d/%d, is missing. The answer names the place where the logs may agree.", m.To, before.LastIndex, req.PrevLogIndex, req.PrevLogTerm),
			Paper: "§5.3, consistency check", Code: []string{"handleAppendEntries", "appendFromLeader", "lastAtOrBelow"}}
	case len(req.Entries) == 0 && req.LeaderCommit > before.CommitIndex:
		return Note{Says: fmt.Sprintf("Word from leader %d restarts the election timer of server %d, and says that the log is committed up to %d.", m.From, m.To, req.LeaderCommit), Paper: "§5.2, §5.3", Code: code}
	case len(req.Entries) == 0:
		return Note{Says: fmt.Sprintf("Word from leader %d restarts the election timer of server %d. The server checks the entry before, %d/%d, as in any AppendEntries.", m.From, m.To, req.PrevLogIndex, req.PrevLogTerm), Paper: "§5.2", Code: code}
	case after.LastIndex == before.LastIndex && after.LastTerm == before.LastTerm && after.LastIndex >= last:
		return Note{Says: fmt.Sprintf("Server %d has the entries up to %d already. Nothing is deleted: a late request must not shorten the log.", m.To, last), Paper: "Figure 2, AppendEntries step 3", Code: code}
	case after.LastIndex < last:
		return Note{Says: fmt.Sprintf("Server %d refuses: its entry at index %d has another term than %d. The answer names the place where the logs may agree.", m.To, req.PrevLogIndex, req.PrevLogTerm),
			Paper: "§5.3, consistency check", Code: []string{"handleAppendEntries", "appendFromLeader", "lastAtOrBelow"}}
	}
	return Note{Says: fmt.Sprintf("Server %d has the entry before the new ones, %d/%d. It appends the new ones up to %d, and saves them before it answers.", m.To, req.PrevLogIndex, req.PrevLogTerm, last),
		Paper: "§5.3, Log Matching", Code: code}
}

// answered explains the delivery of an answer to AppendEntries.
func answered(m *core.Message, rep *core.AppendEntriesReply, before, after core.Status) Note {
	code := []string{"handleAppendEntriesReply", "accepted", "maybeCommit"}
	switch {
	case rep.Term > before.CurrentTerm:
		return Note{Says: fmt.Sprintf("The answer has the newer term %d. Server %d leads no more and follows.", rep.Term, m.To), Paper: "§5.1", Code: []string{"observeTerm", "becomeFollower"}}
	case before.State != core.Leader || rep.RequestTerm != before.CurrentTerm:
		return Note{Says: fmt.Sprintf("The answer belongs to term %d, which server %d leads no more. It counts for nothing.", rep.RequestTerm, m.To), Paper: "§5.1", Code: []string{"handleAppendEntriesReply"}}
	case !rep.Success:
		return Note{Says: fmt.Sprintf("The logs disagree at index %d. Leader %d steps nextIndex of server %d back and tries again from there, a whole term at a time.", rep.PrevLogIndex, m.To, m.From),
			Paper: "§5.3", Code: []string{"handleAppendEntriesReply", "refused", "lastAtOrBelow"}}
	case after.CommitIndex > before.CommitIndex:
		return Note{Says: fmt.Sprintf("matchIndex of server %d rises to %d. With that, a majority has index %d.", m.From, rep.MatchIndex, after.CommitIndex), Paper: "§5.3, §5.4.2", Code: code}
	case rep.MatchIndex > before.CommitIndex && before.LastTerm != before.CurrentTerm:
		return Note{Says: fmt.Sprintf("matchIndex of server %d is %d. The leader has no entry of its own term %d there yet, and does not commit older entries by counting.", m.From, rep.MatchIndex, before.CurrentTerm), Paper: "§5.4.2, Figure 8", Code: code}
	}
	if rep.MatchIndex == 0 {
		return Note{Says: fmt.Sprintf("Server %d follows, and its log begins where the leader's does. There is nothing to count yet.", m.From), Paper: "§5.2", Code: code}
	}
	return Note{Says: fmt.Sprintf("Server %d has the leader's log up to %d (matchIndex).", m.From, rep.MatchIndex), Paper: "§5.3", Code: code}
}
