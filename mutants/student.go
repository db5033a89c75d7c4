package main

import (
	"path/filepath"
	"strings"
)

// student is the file of a plain Raft. Students' mistakes are planted in the file,
// and the file then replaces package raft. The unchanged file is the control.
const student = "mutants/student/raft.go"

// studentControls are the suites of all labs. The student's Raft must pass them.
var studentControls = []control{
	{name: "student-control-2", pkg: "./raft", test: "2A|2B|2C|2D"},
	{name: "student-control-3", pkg: "./kvraft", test: "3A|3B"},
	{name: "student-control-4A", pkg: "./shardctrler", test: "4A"},
	{name: "student-control-4B", pkg: "./shardkv", test: "4B"},
}

// ofTheSuites holds prefixes of file names of package raft. The suites and the
// Persister stay when another implementation replaces the package.
var ofTheSuites = []string{"suite_", "adversary_", "random_", "persister.go"}

// inPlaceOfRaft returns the replacement of each file below root that turns source
// into package raft, with the suites.
func inPlaceOfRaft(root, source string) (map[string]string, error) {
	return inPlaceOf(root, "raft", map[string]string{"raft.go": source})
}

// inPlaceOf returns the replacement of each file below root that turns sources, by their
// names in the package, into the package in directory pkg, with the suites.
func inPlaceOf(root, pkg string, sources map[string]string) (map[string]string, error) {
	dir, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(pkg)))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	replace := make(map[string]string)
	for _, file := range files {
		if !ofSuites(filepath.Base(file)) {
			replace[file] = "" // removed
		}
	}
	for name, source := range sources {
		replace[filepath.Join(dir, name)] = source
	}
	return replace, nil
}

func ofSuites(name string) bool {
	for _, prefix := range ofTheSuites {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// studentMutants are mistakes of students. Each mistake names the tests of the lab
// suites, of which one must fail.
var studentMutants = []mutant{
	// Elections.
	{
		name: "student-vote-not-saved", file: student,
		old:  "\t\trf.votedFor = args.CandidateID\n\t\trf.persist()\n",
		new:  "\t\trf.votedFor = args.CandidateID\n",
		test: "TestVoteIsKept2C",
		why:  "votedFor is not persisted when a vote is granted",
	},
	{
		name: "student-own-vote-not-saved", file: student,
		old:  "\trf.votedFor = rf.me\n\trf.persist()\n",
		new:  "\trf.votedFor = rf.me\n",
		test: "TestOwnVoteIsKept2C",
		why:  "a candidate does not persist its term and its vote for itself",
	},
	{
		name: "student-vote-forgotten", file: student,
		old:  "\trf.snapshot = rf.persister.ReadSnapshot()\n",
		new:  "\trf.votedFor = nobody\n\trf.snapshot = rf.persister.ReadSnapshot()\n",
		test: "TestVoteIsKept2C",
		why:  "votedFor is persisted, but reset to nobody after a restart",
	},
	{
		name: "student-term-forgotten", file: student,
		old:  "\trf.snapshot = rf.persister.ReadSnapshot()\n",
		new:  "\trf.currentTerm = 0\n\trf.snapshot = rf.persister.ReadSnapshot()\n",
		test: "TestVoteIsKept2C|TestRestartOfAll2C",
		why:  "currentTerm is 0 after a restart",
	},
	{
		name: "student-vote-cleared-by-leader", file: student,
		old:  "\trf.role = follower // a candidate gives way",
		new:  "\trf.votedFor = nobody\n\trf.role = follower // a candidate gives way",
		test: "TestVoteOutlivesTheElection2A",
		why:  "becoming a follower clears votedFor, though the term is the same",
	},
	{
		name: "student-vote-stays", file: student,
		old:  "rf.currentTerm, rf.votedFor = term, nobody",
		new:  "rf.currentTerm = term",
		test: "TestReElection2A|TestManyElections2A",
		why:  "a newer term does not clear votedFor",
	},
	{
		name: "student-double-vote", file: student,
		old:  "free := rf.votedFor == nobody || rf.votedFor == args.CandidateID",
		new:  "free := true",
		test: "TestOneVoteATerm2A",
		why:  "a server votes for every candidate of a term",
	},
	{
		name: "student-old-votes-count", file: student,
		old:  "rf.role != candidate || rf.currentTerm != args.Term || !reply.VoteGranted",
		new:  "rf.role != candidate || !reply.VoteGranted",
		test: "TestVotesOfAnOldTerm2A",
		why:  "votes of an older term are counted",
	},
	{
		name: "student-follower-counts-votes", file: student,
		old:  "rf.role != candidate || rf.currentTerm != args.Term || !reply.VoteGranted",
		new:  "rf.role == leader || !reply.VoteGranted",
		test: "TestVotesOfAnOldTerm2A",
		why:  "a former candidate still counts votes after becoming a follower",
	},
	{
		name: "student-half-is-majority", file: student,
		old:  "if *votes > len(rf.peers)/2 {",
		new:  "if *votes >= len(rf.peers)/2 {",
		test: "TestNoElectionWithoutMajority2A",
		why:  "one vote less than a majority elects",
	},
	{
		name: "student-timer-runs-on-after-vote", file: student,
		old:  "\t\trf.resetElectionTimer()\n\t\treply.VoteGranted = true\n",
		new:  "\t\treply.VoteGranted = true\n",
		test: "TestGrantingAVoteRestartsTheTimer2A",
		why:  "granting a vote does not restart the election timer",
	},
	{
		name: "student-timer-not-random", file: student,
		old:  "electionTimeout + rand.N(electionTimeout)",
		new:  "electionTimeout + rand.N(time.Nanosecond)",
		test: "TestSplitVotesEnd2A",
		why:  "all election timeouts are the same, and every vote is split",
	},
	{
		name: "student-candidate-ignores-newer-term", file: student,
		old:  "\trf.observe(reply.Term)\n\tif rf.role != candidate",
		new:  "\tif rf.role != candidate",
		test: "TestCandidateLearnsOfANewerTerm2A",
		why:  "a candidate does not adopt a newer term from a refusal",
	},
	{
		name: "student-leader-ignores-newer-term", file: student,
		old:  "\trf.observe(reply.Term)\n\tif rf.role != leader || rf.currentTerm != args.Term {\n\t\treturn false\n\t}\n\tif reply.Success {",
		new:  "\tif rf.role != leader || rf.currentTerm != args.Term {\n\t\treturn false\n\t}\n\tif reply.Success {",
		test: "TestLeaderLearnsOfItsSuccessor2A",
		why:  "a leader does not step down when a reply has a newer term",
	},
	{
		name: "student-leads-on-in-newer-term", file: student,
		old:  "\t\trf.role = follower\n\t\trf.persist()\n",
		new:  "\t\tif rf.role == candidate {\n\t\t\trf.role = follower\n\t\t}\n\t\trf.persist()\n",
		test: "TestLeaderLearnsOfItsSuccessor2A|TestReElection2A|TestSplitPartition2A",
		why:  "a leader adopts a newer term without stepping down",
	},
	{
		name: "student-any-log-wins", file: student,
		old:  "return lastTerm > mine || lastTerm == mine && lastIndex >= rf.lastIndex()",
		new:  "return lastTerm > 0 || mine >= 0",
		test: "TestOnlyUpToDateLogsWin2B",
		why:  "candidates' logs are not compared (section 5.4.1)",
	},
	{
		name: "student-longer-log-wins", file: student,
		old:  "return lastTerm > mine || lastTerm == mine && lastIndex >= rf.lastIndex()",
		new:  "return mine == lastTerm && lastIndex >= rf.lastIndex() || lastIndex > rf.lastIndex()",
		test: "TestOnlyUpToDateLogsWin2B",
		why:  "logs are compared by length",
	},

	// Replication.
	{
		name: "student-commit-by-counting", file: student,
		old:  "n > rf.commitIndex && rf.termAt(n) == rf.currentTerm; n-- {",
		new:  "n > rf.commitIndex; n-- {",
		test: "TestOldEntriesAreNotCommittedByCounting2C",
		why:  "an entry of an older term counts as committed once a majority has it (section 5.4.2)",
	},
	{
		name: "student-old-leader-accepted", file: student,
		old:  "\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower // a",
		new:  "\trf.role = follower // a",
		test: "TestOldLeaderIsRefused2B",
		why:  "an AppendEntries of an older term is accepted",
	},
	{
		name: "student-delayed-append-truncates", file: student,
		old:  "if index <= rf.firstIndex || index <= rf.lastIndex() && rf.termAt(index) == e.Term {",
		new:  "if index <= rf.firstIndex || index <= rf.lastIndex() && rf.termAt(index) == e.Term && i < len(entries)-1 {",
		test: "TestDelayedAppendRemovesNothing2B",
		why:  "entries after the entries of a request are removed without a conflict",
	},
	{
		name: "student-heartbeat-truncates", file: student,
		old:  "\tfor i, e := range entries {\n",
		new:  "\tif prev >= rf.firstIndex {\n\t\trf.log = append(rf.log[:prev+1-rf.firstIndex], entries...)\n\t\trf.persist()\n\t\treturn\n\t}\n\tfor i, e := range entries {\n",
		test: "TestDelayedAppendRemovesNothing2B",
		why:  "every AppendEntries truncates the log at prevLogIndex",
	},
	{
		name: "student-heartbeat-not-checked", file: student,
		old:  "\tif args.PrevLogIndex > rf.lastIndex() {\n",
		new:  "\tif len(args.Entries) == 0 {\n\t\treply.Success = true\n\t\trf.commit(min(args.LeaderCommit, rf.lastIndex()))\n\t\treturn\n\t}\n\tif args.PrevLogIndex > rf.lastIndex() {\n",
		test: "TestCommitStopsAtLastNewEntry2B",
		why:  "a heartbeat is answered without the consistency check",
	},
	{
		name: "student-no-consistency-check", file: student,
		old:  "if args.PrevLogIndex >= rf.firstIndex && rf.termAt(args.PrevLogIndex) != args.PrevLogTerm {",
		new:  "if false {",
		test: "TestStaleLeaderReturns2B|TestFastBackup2B",
		why:  "prevLogTerm is not compared (section 5.3)",
	},
	{
		name: "student-old-replies-count", file: student,
		old:  "\tif rf.role != leader || rf.currentTerm != args.Term {\n\t\treturn false\n\t}\n\tif reply.Success {",
		new:  "\tif rf.role != leader {\n\t\treturn false\n\t}\n\tif reply.Success {",
		test: "TestRepliesOfAnOldTerm2B",
		why:  "a leader acts on a reply to a request of an older term",
	},
	{
		name: "student-matches-whole-log", file: student,
		old:  "rf.matched(peer, args.PrevLogIndex+len(args.Entries))",
		new:  "rf.matched(peer, rf.lastIndex())",
		test: "TestOnlyWhatWasSentCounts2B",
		why:  "on a reply, matchIndex becomes the end of the leader's log instead of the last entry sent",
	},
	{
		name: "student-match-of-last-leadership", file: student,
		old:  "\trf.nextIndex, rf.matchIndex = make([]int, len(rf.peers)), make([]int, len(rf.peers))\n",
		new:  "\tif rf.nextIndex == nil {\n\t\trf.nextIndex, rf.matchIndex = make([]int, len(rf.peers)), make([]int, len(rf.peers))\n\t}\n",
		test: "TestMatchIndexStartsAgain2B",
		why:  "a leader goes on with the matchIndex of its last leadership",
	},
	{
		name: "student-backs-up-by-one", file: student,
		old:  "max(rf.backUp(args.PrevLogIndex, reply), rf.matchIndex[peer]+1)",
		new:  "rf.nextIndex[peer] - 1",
		test: "TestFigure8UnderReordering2C",
		why:  "a leader finds the point of divergence an entry at a time, which a bad network makes too slow",
	},
	{
		name: "student-late-refusals-back-up", file: student,
		old:  "\tif args.PrevLogIndex != rf.nextIndex[peer]-1 {\n\t\treturn false // an answer that comes late: another has moved nextIndex\n\t}\n\trf.nextIndex[peer] = max(rf.backUp(args.PrevLogIndex, reply), rf.matchIndex[peer]+1)\n\treturn true\n",
		new:  "\trf.nextIndex[peer] -= 3\n\t_ = rf.termAt(rf.nextIndex[peer] - 1)\n\treturn true\n",
		test: "TestLateRefusals2B",
		why:  "every refusal, however late, lowers nextIndex without a lower bound",
	},
	{
		name: "student-start-not-saved", file: student,
		old:  "\trf.log = append(rf.log, Entry{rf.currentTerm, command})\n\trf.persist()\n",
		new:  "\trf.log = append(rf.log, Entry{rf.currentTerm, command})\n",
		test: "TestLeaderSavesFirst2C",
		why:  "a leader does not persist new commands",
	},
	{
		name: "student-saved-after-reply", file: student,
		old:  "\t\trf.log = append(rf.log[:index-rf.firstIndex], entries[i:]...)\n\t\trf.persist()\n",
		new:  "\t\trf.log = append(rf.log[:index-rf.firstIndex], entries[i:]...)\n\t\ttime.AfterFunc(time.Millisecond, func() { rf.mu.Lock(); rf.persist(); rf.mu.Unlock() })\n",
		test: "TestAcknowledgedIsSaved2C",
		why:  "entries are acknowledged before they are persisted",
	},
	{
		name: "student-heartbeat-without-term", file: student,
		old:  "\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower // a",
		new:  "\treply.Term = rf.currentTerm\n\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower // a",
		test: "TestHeartbeatBringsTheTerm2A",
		why:  "a follower accepts AppendEntries of a newer term and stays in its own",
	},
	{
		name: "student-refusal-restarts-timer", file: student,
		old:  "\tfree := rf.votedFor == nobody",
		new:  "\trf.resetElectionTimer()\n\tfree := rf.votedFor == nobody",
		test: "TestRefusedCandidatesDelayNobody2B",
		why:  "a request for a vote restarts the election timer even if the vote is refused",
	},
	{
		name: "student-old-leader-restarts-timer", file: student,
		old:  "\treply.Term = rf.currentTerm\n\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower // a candidate gives way to the leader of its term\n\trf.resetElectionTimer()\n",
		new:  "\treply.Term = rf.currentTerm\n\trf.resetElectionTimer()\n\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower // a candidate gives way to the leader of its term\n",
		test: "TestOldLeaderIsNoLeader2A",
		why:  "an AppendEntries of an older term restarts the election timer",
	},
	{
		name: "student-wakeup-missed", file: student,
		old:  "\tfor rf.lastApplied >= rf.commitIndex && !rf.killed() {\n\t\trf.committed.Wait()\n\t}\n",
		new:  "\tfor rf.lastApplied >= rf.woken && !rf.killed() {\n\t\trf.committed.Wait()\n\t\trf.woken = rf.commitIndex\n\t}\n",
		also: []edit{{old: "\telectionDue time.Time", new: "\twoken int\n\telectionDue time.Time"}},
		test: "TestSlowReaderGetsEverything2B",
		why:  "the applier misses a commit that comes while it sends, and waits for the next one",
	},
	{
		name: "student-newer-term-not-saved", file: student,
		old:  "\t\trf.role = follower\n\t\trf.persist()\n",
		new:  "\t\trf.role = follower\n",
		test: "TestTermIsKept2C",
		why:  "a newer term is adopted and not persisted",
	},
	{
		name: "student-commands-wait-for-heartbeat", file: student,
		old: "\trf.sendDue = time.Now() // with",
		new: "\t// with",
		pkg: "./kvraft", test: "TestSpeed3A",
		why: "commands go out with the next heartbeat only",
	},

	// The gap between unlock and lock.
	{
		name: "student-gap-in-broadcast", file: student,
		old:  "\t\tif rf.role != leader || rf.currentTerm != term || rf.killed() {\n",
		new:  "\t\tterm = rf.currentTerm\n\t\tif rf.killed() {\n",
		test: "TestBroadcastInTheGap2A",
		why:  "a broadcast's goroutines take the lock again and send the new current term, without checking that the server still leads",
	},
	{
		name: "student-gap-in-broadcast-of-a-leader", file: student,
		old:  "\t\tif rf.role != leader || rf.currentTerm != term || rf.killed() {\n",
		new:  "\t\tterm = rf.currentTerm\n\t\tif rf.role == candidate || rf.killed() {\n",
		test: "TestBroadcastInTheGap2A",
		why:  "a broadcast's goroutines check only that the server has not become a candidate meanwhile",
	},
	{
		name: "student-gap-before-leading", file: student,
		old:  "\tif *votes > len(rf.peers)/2 {\n\t\trf.lead()\n",
		new:  "\tif *votes > len(rf.peers)/2 {\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n\t\trf.mu.Lock()\n\t\trf.lead()\n",
		test: "TestElectionLostInTheGap2A",
		why:  "a candidate with a majority of votes leads without checking that its election is still open",
	},
	{
		name: "student-gap-before-voting", file: student,
		old:  "\tif free && rf.upToDate(args.LastLogIndex, args.LastLogTerm) {\n",
		new:  "\tif free && rf.upToDate(args.LastLogIndex, args.LastLogTerm) {\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(time.Microsecond)\n\t\trf.mu.Lock()\n",
		test: "TestOneVoteATerm2A",
		why:  "a server releases the lock between checking votedFor and voting, and considers another candidate meanwhile",
	},
	{
		name: "student-gap-before-asking", file: student,
		old:  "\tvar reply RequestVoteReply\n",
		new:  "\trf.mu.Lock()\n\targs.Term = rf.currentTerm\n\trf.mu.Unlock()\n\tvar reply RequestVoteReply\n",
		test: "TestAskingInTheGap2A",
		why:  "the goroutines that ask for votes take the lock again and use the new current term",
	},
	{
		name: "student-gap-in-applier", file: student,
		old:  "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n",
		new:  "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\t\trf.mu.Lock()\n\t\t\trf.lastApplied = rf.commitIndex\n\t\t\trf.mu.Unlock()\n",
		test: "TestManyCommands2B|TestConcurrentStarts2B",
		why:  "after sending a command, the applier sets lastApplied to the new commitIndex",
	},

	// Applying and snapshots.
	{
		name: "student-lock-held-while-applying", file: student,
		old:  "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n",
		new:  "\t\trf.mu.Lock()\n\t\trf.applyCh <- msg\n\t\trf.mu.Unlock()\n",
		test: "TestSnapshotUnderLoad2D",
		why:  "a server holds the lock while sending a command to the service, and the service calls Snapshot",
	},
	{
		name: "student-lock-held-while-calling", file: student,
		old:  "\tvar reply AppendEntriesReply\n\tif !rf.peers[peer].Call(\"Raft.AppendEntries\", args, &reply) {\n\t\treturn false\n\t}\n\trf.mu.Lock()\n",
		new:  "\tvar reply AppendEntriesReply\n\trf.mu.Lock()\n\tif !rf.peers[peer].Call(\"Raft.AppendEntries\", args, &reply) {\n\t\trf.mu.Unlock()\n\t\treturn false\n\t}\n",
		test: "TestSlowFollowers2B",
		why:  "a server holds the lock while waiting for an RPC",
	},
	{
		name: "student-applies-by-goroutines", file: student,
		old:  "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n",
		new:  "\t\tgo func() {\n\t\t\tselect {\n\t\t\tcase rf.applyCh <- msg:\n\t\t\tcase <-rf.stop:\n\t\t\t}\n\t\t}()\n",
		test: "TestManyCommands2B|TestConcurrentStarts2B",
		why:  "a goroutine per command sends the commands to the service, in any order",
	},
	{
		name: "student-stale-snapshot-accepted", file: student,
		old:  "\tif args.LastIncludedIndex <= rf.commitIndex {\n\t\treturn // what is committed here will be applied\n\t}\n\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n",
		new:  "\trf.log, rf.firstIndex, rf.snapshot = []Entry{{Term: args.LastIncludedTerm}}, args.LastIncludedIndex, args.Data\n\trf.commitIndex, rf.lastApplied = args.LastIncludedIndex-1, args.LastIncludedIndex-1\n",
		test: "TestStaleSnapshot2D",
		why:  "a snapshot older than the state is installed",
	},
	{
		name: "student-snapshot-beside-applier", file: student,
		old: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commit(args.LastIncludedIndex)\n",
		new: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commitIndex, rf.lastApplied = args.LastIncludedIndex, args.LastIncludedIndex\n\tgo func() {\n\t\tselect {\n\t\tcase rf.applyCh <- ApplyMsg{SnapshotValid: true, Snapshot: args.Data, SnapshotTerm: args.LastIncludedTerm, SnapshotIndex: args.LastIncludedIndex}:\n\t\tcase <-rf.stop:\n\t\t}\n\t}()\n",
		also: []edit{{
			old: "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n",
			new: "\t\trf.mu.Lock()\n\t\tbatch := []ApplyMsg{msg}\n\t\tfor rf.lastApplied < rf.commitIndex {\n\t\t\trf.lastApplied++\n\t\t\tbatch = append(batch, ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied})\n\t\t}\n\t\trf.mu.Unlock()\n\t\tfor _, msg := range batch {\n\t\t\tselect {\n\t\t\tcase rf.applyCh <- msg:\n\t\t\tcase <-rf.stop:\n\t\t\t\treturn\n\t\t\t}\n\t\t}\n",
		}},
		test: "TestSnapshotBesideCommands2D",
		why:  "a separate goroutine sends a snapshot to the service while the applier sends a batch of commands",
	},
	{
		name: "student-snapshot-undone-by-applier", file: student,
		old: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commit(args.LastIncludedIndex)\n",
		new: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commitIndex, rf.lastApplied = args.LastIncludedIndex, args.LastIncludedIndex\n\tgo func() {\n\t\tselect {\n\t\tcase rf.applyCh <- ApplyMsg{SnapshotValid: true, Snapshot: args.Data, SnapshotTerm: args.LastIncludedTerm, SnapshotIndex: args.LastIncludedIndex}:\n\t\tcase <-rf.stop:\n\t\t}\n\t}()\n",
		also: []edit{{
			old: "\t\trf.lastApplied++\n\t\tmsg = ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied}\n",
			new: "\t\tnext := rf.lastApplied + 1\n\t\tmsg = ApplyMsg{CommandValid: true, Command: rf.log[next-rf.firstIndex].Command, CommandIndex: next}\n",
		}, {
			old: "\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n",
			new: "\t\tcase rf.applyCh <- msg:\n\t\t\trf.mu.Lock()\n\t\t\trf.lastApplied = max(msg.CommandIndex, msg.SnapshotIndex)\n\t\t\trf.mu.Unlock()\n",
		}},
		test: "TestSnapshotBesideCommands2D",
		why:  "after sending a command, the applier sets lastApplied back to the command's index, although a snapshot has advanced lastApplied meanwhile",
	},
	{
		name: "student-snapshot-drops-later-entries", file: student,
		old:  "\tif index <= rf.lastIndex() && rf.termAt(index) == term {\n\t\trest = rf.from(index + 1) // Figure 13, step 6\n",
		new:  "\tif index <= rf.lastApplied {\n\t\trest = rf.from(index + 1)\n",
		test: "TestSnapshotKeepsLaterEntries2D",
		why:  "a snapshot removes acknowledged entries beyond its last index",
	},
	{
		name: "student-snapshot-not-saved", file: student,
		old:  "rf.persister.Save(state.Bytes(), rf.snapshot)",
		new:  "rf.persister.Save(state.Bytes(), rf.persister.ReadSnapshot())",
		test: "TestSnapshots2D|TestRestartFromSnapshots2D",
		why:  "a snapshot is not persisted",
	},
	{
		name: "student-snapshot-lost-by-save", file: student,
		old:  "\t\trf.log = append(rf.log[:index-rf.firstIndex], entries[i:]...)\n\t\trf.persist()\n",
		new:  "\t\trf.log = append(rf.log[:index-rf.firstIndex], entries[i:]...)\n\t\trf.persist()\n\t\trf.persister.Save(rf.persister.ReadRaftState(), nil)\n",
		test: "TestStateSurvivesCommands2D",
		why:  "a save of the Raft state loses the snapshot",
	},
	{
		name: "student-snapshot-term-lost", file: student,
		old:  "\trf.snapshot = rf.persister.ReadSnapshot()\n",
		new:  "\trf.log[0].Term = 0\n\trf.snapshot = rf.persister.ReadSnapshot()\n",
		test: "TestTermOfSnapshotIsKept2D",
		why:  "lastIncludedTerm is 0 after a restart",
	},
	{
		name: "student-killed-not-silent", file: student,
		old:  "\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tnow",
		new:  "\tfor {\n\t\trf.mu.Lock()\n\t\tnow",
		test: "TestKilledServersAreSilent2A",
		why:  "a killed server's ticker goes on",
	},
}
