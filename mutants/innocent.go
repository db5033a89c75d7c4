package main

import "slices"

// Notes that innocent habits get.
const (
	noteBlocked = "stay blocked for good after Kill"
	noteClock   = "on the real clock where virtual time stands still"
	noteSlow    = "commands do not commit at once"
	noteBackup  = "an entry at a time"
)

// someOfEach are a few tests of each part of lab 2, for implementations that run on the
// real clock.
const someOfEach = "^(TestInitialElection2A|TestReElection2A|TestElectionUnderLoss2A|TestBasicAgreement2B|TestFollowersFail2B|TestFastBackup2B|" +
	"TestRestartOfAll2C|TestOldEntriesAreNotCommittedByCounting2C|TestSnapshots2D|TestSnapshotAfterRestart2D|TestStaleSnapshot2D)$"

// innocents are variants of the plain Raft with habits of real submissions. None breaks
// a rule of the paper or of a lab's text, so all must pass.
var innocents = slices.Concat(habitInnocents, clockInnocents, protocolInnocents)

var habitInnocents = []control{
	{
		name:  "innocent-applier-parked",
		why:   "after Kill the applier waits on a condition variable for good",
		edits: []edit{{old: "\trf.committed.Broadcast()\n}\n\nfunc (rf *Raft) killed", new: "}\n\nfunc (rf *Raft) killed"}},
		notes: []string{noteBlocked},
	},
	{
		name: "innocent-applych-closed",
		why:  "the applier closes applyCh after Kill",
		edits: []edit{
			{old: "\t\tmsg, ok := rf.nextToApply()\n\t\tif !ok {\n\t\t\treturn\n", new: "\t\tmsg, ok := rf.nextToApply()\n\t\tif !ok {\n\t\t\tclose(rf.applyCh)\n\t\t\treturn\n"},
			{old: "\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n\t}\n}\n\n// nextToApply", new: "\t\tcase <-rf.stop:\n\t\t\tclose(rf.applyCh)\n\t\t\treturn\n\t\t}\n\t}\n}\n\n// nextToApply"},
		},
	},
	{
		name:  "innocent-plain-send",
		why:   "a plain send on applyCh stays blocked after Kill",
		edits: []edit{{old: "\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n", new: "\t\trf.applyCh <- msg\n"}},
		notes: []string{noteBlocked},
	},
	{
		name:  "innocent-snapshot-again",
		why:   "after a restart the persisted snapshot comes up applyCh once more",
		edits: []edit{{old: "rf.commitIndex, rf.lastApplied = rf.firstIndex, rf.firstIndex", new: "rf.commitIndex, rf.lastApplied = rf.firstIndex, 0"}},
	},
	{
		name: "innocent-cond-install",
		why:  "the service decides about a snapshot, and Raft then installs the snapshot (lab 2D of 2021)",
		edits: []edit{{
			old: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commit(args.LastIncludedIndex)\n}\n",
			new: condInstall,
		}},
	},
	{
		name: "innocent-sleep-until",
		why:  "a goroutine sleeps until a moment, and waits until the clock shows a later one",
		edits: []edit{{
			old: "\tgo rf.applier()\n\treturn rf\n",
			new: "\tgo rf.applier()\n\tgo func() {\n\t\tnext := time.Now().Add(100 * time.Millisecond)\n\t\tfor !rf.killed() {\n\t\t\ttime.Sleep(time.Until(next))\n\t\t\tif time.Now().After(next) {\n\t\t\t\tnext = time.Now().Add(100 * time.Millisecond)\n\t\t\t}\n\t\t}\n\t}()\n\treturn rf\n",
		}},
		test:  someOfEach,
		notes: []string{noteClock},
	},
	{
		name:  "innocent-kill-once",
		why:   "Kill closes a channel, so a second Kill panics",
		edits: []edit{{old: "\trf.kill.Do(func() { close(rf.stop) })\n", new: "\tclose(rf.stop)\n"}},
	},
	{
		name: "innocent-election-after-kill",
		why:  "the ticker sleeps for a whole election timeout, and a killed server stands for election once more",
		edits: []edit{{
			old: "\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n\t}\n}",
			new: "\t\trf.mu.Unlock()\n\t\twait := tickInterval\n\t\tif rf.role != leader {\n\t\t\twait = max(wait, time.Until(rf.electionDue))\n\t\t}\n\t\ttime.Sleep(wait)\n\t\trf.mu.Lock()\n\t\tif rf.role != leader && !time.Now().Before(rf.electionDue) {\n\t\t\trf.stand()\n\t\t}\n\t\trf.mu.Unlock()\n\t}\n}",
		}},
		notes: anyNotes,
	},
	{
		name:  "innocent-entries-with-heartbeat",
		why:   "entries travel with the next heartbeat",
		edits: []edit{{old: "\trf.sendDue = time.Now() // with whatever else comes until the next tick\n", new: ""}},
		notes: []string{noteSlow},
	},
	{
		name:  "innocent-prints",
		why:   "debug prints by the megabyte",
		edits: []edit{{old: "\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n", new: "\trf.observe(args.Term)\n\tfor k := range 20 {\n\t\tfmt.Println(\"server\", rf.me, \"handles a request of term\", args.Term, \"in term\", rf.currentTerm, k)\n\t}\n\treply.Term = rf.currentTerm\n", all: true}},
	},
	{
		name:  "innocent-outlives-kill",
		why:   "goroutines outlive Kill by half a minute",
		edits: []edit{{old: "\tgo rf.applier()\n\treturn rf\n", new: "\tgo rf.applier()\n\tgo func() {\n\t\tfor !rf.killed() {\n\t\t\ttime.Sleep(30 * time.Second)\n\t\t}\n\t}()\n\treturn rf\n"}},
		notes: []string{noteBlocked},
	},
	{
		name:  "innocent-polls",
		why:   "everything polls with sleeps of a millisecond",
		edits: []edit{{old: "tickInterval      = 10 * time.Millisecond", new: "tickInterval      = time.Millisecond"}},
	},
	{
		name:  "innocent-tickers",
		why:   "a time.Ticker drives the server",
		edits: []edit{{old: "\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tnow := time.Now()", new: "\ttick := time.NewTicker(tickInterval)\n\tdefer tick.Stop()\n\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tnow := time.Now()"}, {old: "\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n", new: "\t\trf.mu.Unlock()\n\t\t<-tick.C\n"}},
	},
	{
		name:  "innocent-lock-across-sleep",
		why:   "a goroutine holds the lock while it sleeps for a millisecond",
		edits: []edit{{old: "\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n", new: "\t\ttime.Sleep(time.Millisecond)\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n"}},
		test:  someOfEach,
		notes: []string{noteClock},
	},
	{
		name: "innocent-own-rpcs",
		why:  "RPCs and their fields have names of their own",
		edits: []edit{
			{old: "AppendEntries", new: "Replicate", all: true}, {old: "RequestVote", new: "Ballot", all: true}, {old: "InstallSnapshot", new: "Image", all: true},
			{old: "VoteGranted", new: "Yes", all: true}, {old: "Success", new: "Fine", all: true},
		},
	},
	{
		name:  "innocent-registers",
		why:   "the package registers types with labgob",
		edits: []edit{{old: "const nobody = -1\n", new: "const nobody = -1\n\nfunc init() { labgob.Register(Entry{}); labgob.Register(\"\") }\n"}},
	},
}

// anyNotes stands for notes that may come or not.
var anyNotes = []string{"*"}

// condInstall is CondInstallSnapshot as the lab of 2021 taught it.
const condInstall = `	go func() {
		select {
		case rf.applyCh <- ApplyMsg{SnapshotValid: true, Snapshot: args.Data, SnapshotTerm: args.LastIncludedTerm, SnapshotIndex: args.LastIncludedIndex}:
		case <-rf.stop:
		}
	}()
}

// CondInstallSnapshot installs a snapshot that the service has received, unless the
// log has committed later entries.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if lastIncludedIndex <= rf.commitIndex {
		return false
	}
	rf.compact(lastIncludedIndex, lastIncludedTerm, snapshot)
	rf.commitIndex, rf.lastApplied = lastIncludedIndex, lastIncludedIndex
	rf.persist()
	return true
}
`

// Edits that take a part out of the plain Raft and leave the lab's skeleton there.
var (
	noPersistence = []edit{
		{old: "\trf.persister.Save(state.Bytes(), rf.snapshot)\n", new: "\t// Your code here (2C).\n"},
		{old: "\tstate := rf.persister.ReadRaftState()\n", new: "\tvar state []byte // Your code here (2C).\n"},
	}
	noSnapshots = []edit{
		{old: "\tif index <= rf.firstIndex || index > rf.lastApplied {\n\t\treturn\n\t}\n\trf.compact(index, rf.termAt(index), snapshot)\n\trf.persist()\n", new: "\t// Your code here (2D).\n"},
		{old: "\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n\tif args.Term < rf.currentTerm {\n\t\treturn\n\t}\n\trf.role = follower\n\trf.resetElectionTimer()\n\tif args.LastIncludedIndex <= rf.commitIndex {\n\t\treturn // what is committed here will be applied\n\t}\n\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commit(args.LastIncludedIndex)\n", new: "\tpanic(\"part 2D is missing\")\n"},
	}
	noLog = []edit{
		{old: "\tif rf.role != leader || rf.killed() {\n\t\treturn -1, rf.currentTerm, false\n\t}\n\trf.log = append(rf.log, Entry{rf.currentTerm, command})\n\trf.persist()\n\trf.sendDue = time.Now() // with whatever else comes until the next tick\n\treturn rf.lastIndex(), rf.currentTerm, true\n", new: "\t// Your code here (2B).\n\treturn -1, -1, true\n"},
		{old: "\t\tcase rf.applyCh <- msg: // without the lock", new: "\t\tcase make(chan ApplyMsg) <- msg: // without the lock"},
	}
)

// partials are submissions of the first parts alone. The tests of a part need no
// later part.
var partials = []control{
	{name: "partial-2A", why: "elections alone", edits: join(noPersistence, noSnapshots, noLog), test: "2A"},
	{name: "partial-2B", why: "no persistence and no snapshots", edits: join(noPersistence, noSnapshots), test: "2A|2B"},
	{name: "partial-2C", why: "no snapshots", edits: noSnapshots, test: "2A|2B|2C"},
	{name: "partial-3A", why: "a Raft without snapshots below the key/value service", edits: noSnapshots, pkg: "./kvraft", test: "3A"},
	{
		name: "partial-4A", why: "a Raft without snapshots below the shard controller", edits: noSnapshots, pkg: "./shardctrler",
		test: "^(TestBasic4A|TestMove4A|TestMinimalMoves4A|TestConcurrentUnreliable4A|TestExactlyOnceUnderDuplication4A)$",
	},
	{name: "skeleton", why: "nothing is implemented", source: "mutants/skeleton/raft.go", nothing: true},
}

func join(edits ...[]edit) (all []edit) {
	for _, e := range edits {
		all = append(all, e...)
	}
	return all
}
