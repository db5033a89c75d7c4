package main

// withoutTerm renames each Term but that of ApplyMsg.
var withoutTerm = []edit{
	{old: "SnapshotTerm", new: "SnapshotT__m", all: true},
	{old: "Term", new: "Epoch", all: true},
	{old: "SnapshotT__m", new: "SnapshotTerm", all: true},
}

// protocolInnocents are variants of the plain Raft with other messages, or with other
// ways to apply and to save.
var protocolInnocents = []control{
	{
		name:  "innocent-no-term",
		why:   "no field, argument or method has the name Term",
		edits: withoutTerm,
	},
	{
		name: "innocent-no-term-own-rpcs",
		why:  "RPCs and their fields have names of their own, and none is Term",
		edits: join(withoutTerm, []edit{
			{old: "AppendEntries", new: "Replicate", all: true}, {old: "RequestVote", new: "Ballot", all: true}, {old: "InstallSnapshot", new: "Image", all: true},
			{old: "VoteGranted", new: "Yes", all: true}, {old: "Success", new: "Fine", all: true},
		}),
	},
	{
		name: "innocent-chunks",
		why:  "a snapshot travels in chunks with an offset, as in Figure 13",
		edits: []edit{
			{old: "\tLastIncludedTerm  int\n\tData              []byte\n}\n", new: "\tLastIncludedTerm  int\n\tOffset            int\n\tData              []byte\n\tDone              bool\n}\n"},
			{old: "type InstallSnapshotReply struct{ Term int }\n", new: "type InstallSnapshotReply struct{ Term, Have int }\n\nconst chunkBytes = 16\n"},
			{old: "\tsnapshot    []byte\n", new: "\tsnapshot    []byte\n\tarriving    []byte // of the snapshot up to arrivingTo\n\tarrivingTo  int\n"},
			{old: "args := InstallSnapshotArgs{term, rf.me, rf.firstIndex, rf.log[0].Term, rf.snapshot}", new: "args := InstallSnapshotArgs{Term: term, LeaderID: rf.me, LastIncludedIndex: rf.firstIndex, LastIncludedTerm: rf.log[0].Term, Data: rf.snapshot}"},
			{
				old: "\trf.compact(args.LastIncludedIndex, args.LastIncludedTerm, args.Data)\n\trf.persist()\n\trf.commit(args.LastIncludedIndex)\n}\n",
				new: `	if args.Offset == 0 && rf.arrivingTo != args.LastIncludedIndex {
		rf.arriving, rf.arrivingTo = nil, args.LastIncludedIndex
	}
	if rf.arrivingTo == args.LastIncludedIndex && args.Offset == len(rf.arriving) {
		rf.arriving = append(rf.arriving, args.Data...)
		if args.Done {
			rf.compact(args.LastIncludedIndex, args.LastIncludedTerm, rf.arriving)
			rf.arriving, rf.arrivingTo = nil, 0
			rf.persist()
			rf.commit(args.LastIncludedIndex)
			return
		}
	}
	if rf.arrivingTo == args.LastIncludedIndex {
		reply.Have = len(rf.arriving)
	}
}
`,
			},
			{
				old: "\tvar reply InstallSnapshotReply\n\tif !rf.peers[peer].Call(\"Raft.InstallSnapshot\", args, &reply) {\n\t\treturn false\n\t}\n\trf.mu.Lock()\n",
				new: `	data := args.Data
	for args.Offset = 0; ; {
		end := min(args.Offset+chunkBytes, len(data))
		args.Data, args.Done = data[args.Offset:end], end == len(data)
		var reply InstallSnapshotReply
		if !rf.peers[peer].Call("Raft.InstallSnapshot", args, &reply) {
			return false
		}
		if reply.Term > args.Term {
			rf.mu.Lock()
			rf.observe(reply.Term)
			rf.mu.Unlock()
			return false
		}
		if args.Done {
			if reply.Have != 0 {
				return false // a chunk was missing; the next heartbeat begins again
			}
			break
		}
		if reply.Have == 0 {
			break // committed there already
		}
		args.Offset = reply.Have
	}
	rf.mu.Lock()
`,
			},
			{old: "\trf.observe(reply.Term)\n\tif rf.role != leader || rf.currentTerm != args.Term {\n\t\treturn false\n\t}\n\trf.matched(peer, args.LastIncludedIndex)\n", new: "\tif rf.role != leader || rf.currentTerm != args.Term {\n\t\treturn false\n\t}\n\trf.matched(peer, args.LastIncludedIndex)\n"},
		},
	},
	{
		name: "innocent-batches",
		why:  "the applier takes all committed commands at once, and sends them without the lock",
		edits: []edit{
			{
				old: "\t\tmsg, ok := rf.nextToApply()\n\t\tif !ok {\n\t\t\treturn\n\t\t}\n\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n",
				new: "\t\tmsgs, ok := rf.nextToApply()\n\t\tif !ok {\n\t\t\treturn\n\t\t}\n\t\tfor _, msg := range msgs {\n\t\t\tselect {\n\t\t\tcase rf.applyCh <- msg:\n\t\t\tcase <-rf.stop:\n\t\t\t\treturn\n\t\t\t}\n\t\t}\n",
			},
			{old: "func (rf *Raft) nextToApply() (msg ApplyMsg, ok bool) {", new: "func (rf *Raft) nextToApply() (msgs []ApplyMsg, ok bool) {"},
			{old: "\t\tmsg = ApplyMsg{SnapshotValid: true, Snapshot: rf.snapshot, SnapshotTerm: rf.log[0].Term, SnapshotIndex: rf.firstIndex}\n\t} else if rf.lastApplied < rf.commitIndex {\n", new: "\t\tmsgs = append(msgs, ApplyMsg{SnapshotValid: true, Snapshot: rf.snapshot, SnapshotTerm: rf.log[0].Term, SnapshotIndex: rf.firstIndex})\n\t}\n\tfor rf.lastApplied < rf.commitIndex {\n"},
			{old: "\t\tmsg = ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied}\n\t}\n\treturn msg, !rf.killed()\n", new: "\t\tmsgs = append(msgs, ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied})\n\t}\n\treturn msgs, !rf.killed()\n"},
		},
	},
	{
		name: "innocent-applies-under-lock",
		why:  "the applier holds the lock while it sends on applyCh, which no part before 2D forbids",
		edits: join(noSnapshots, []edit{
			{old: "\t\tmsg, ok := rf.nextToApply()\n\t\tif !ok {\n\t\t\treturn\n\t\t}\n\t\tselect {\n\t\tcase rf.applyCh <- msg: // without the lock: its reader may call Snapshot\n\t\tcase <-rf.stop:\n\t\t\treturn\n\t\t}\n", new: "\t\tif !rf.applyNext() {\n\t\t\treturn\n\t\t}\n"},
			{old: "// nextToApply waits for the next command or snapshot. ok is false after Kill.\nfunc (rf *Raft) nextToApply() (msg ApplyMsg, ok bool) {", new: "func (rf *Raft) applyNext() (ok bool) {"},
			{old: "\tif rf.lastApplied < rf.firstIndex {\n\t\trf.lastApplied = rf.firstIndex\n\t\tmsg = ApplyMsg{SnapshotValid: true, Snapshot: rf.snapshot, SnapshotTerm: rf.log[0].Term, SnapshotIndex: rf.firstIndex}\n\t} else if rf.lastApplied < rf.commitIndex {\n", new: "\tfor rf.lastApplied < rf.commitIndex && !rf.killed() {\n"},
			{old: "\t\tmsg = ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied}\n\t}\n\treturn msg, !rf.killed()\n", new: "\t\trf.applyCh <- ApplyMsg{CommandValid: true, Command: rf.log[rf.lastApplied-rf.firstIndex].Command, CommandIndex: rf.lastApplied}\n\t}\n\treturn !rf.killed()\n"},
		}),
		test:  "2A|2B|2C",
		notes: anyNotes,
	},
	{
		name: "innocent-calls-itself",
		why:  "a candidate asks itself for its vote by RPC, like all other servers",
		edits: []edit{
			{old: "\tvotes := 1\n\tfor peer := range rf.peers {\n\t\tif peer != rf.me {\n\t\t\tgo rf.askForVote(peer, args, &votes)\n\t\t}\n\t}\n", new: "\tvotes := 0\n\tfor peer := range rf.peers {\n\t\tgo rf.askForVote(peer, args, &votes)\n\t}\n"},
		},
	},
	{
		name: "innocent-steps-down",
		why:  "a leader that hears from no majority for an election timeout becomes a follower",
		edits: []edit{
			{old: "\tmatchIndex  []int // of the leader\n", new: "\tmatchIndex  []int // of the leader\n\theard       []time.Time\n"},
			{old: "\t\tif rf.role != leader && !now.Before(rf.electionDue) {\n", new: "\t\tif rf.role == leader && !rf.inTouch(now) {\n\t\t\trf.role = follower\n\t\t\trf.resetElectionTimer()\n\t\t}\n\t\tif rf.role != leader && !now.Before(rf.electionDue) {\n"},
			{old: "func (rf *Raft) lead() {\n\trf.role = leader\n", new: "func (rf *Raft) inTouch(now time.Time) bool {\n\tn := 1\n\tfor peer, at := range rf.heard {\n\t\tif peer != rf.me && now.Sub(at) < 2*electionTimeout {\n\t\t\tn++\n\t\t}\n\t}\n\treturn n > len(rf.peers)/2\n}\n\nfunc (rf *Raft) lead() {\n\trf.role = leader\n\trf.heard = make([]time.Time, len(rf.peers))\n\tfor peer := range rf.peers {\n\t\trf.heard[peer] = time.Now()\n\t}\n"},
			{old: "\tif reply.Success {\n", new: "\trf.heard[peer] = time.Now()\n\tif reply.Success {\n"},
			{old: "\trf.matched(peer, args.LastIncludedIndex)\n", new: "\trf.heard[peer] = time.Now()\n\trf.matched(peer, args.LastIncludedIndex)\n"},
		},
	},
	{
		name: "innocent-one-entry",
		why:  "each AppendEntries carries at most one entry, which parts before 2C allow",
		edits: join(noPersistence, noSnapshots, []edit{
			{old: "args := AppendEntriesArgs{term, rf.me, prev, rf.termAt(prev), rf.from(prev + 1), rf.commitIndex}", new: "entries := rf.from(prev + 1)\n\t\t\targs := AppendEntriesArgs{term, rf.me, prev, rf.termAt(prev), entries[:min(1, len(entries))], rf.commitIndex}"},
			{old: "\t\trf.matched(peer, args.PrevLogIndex+len(args.Entries))\n\t\treturn false\n", new: "\t\trf.matched(peer, args.PrevLogIndex+len(args.Entries))\n\t\treturn rf.nextIndex[peer] == args.PrevLogIndex+len(args.Entries)+1 && rf.nextIndex[peer] <= rf.lastIndex()\n"},
		}),
		test:  "2A|2B",
		notes: []string{noteBackup},
	},
	{
		name: "innocent-one-back",
		why:  "the leader steps back by one entry after a refusal, which parts before 2C allow",
		edits: join(noPersistence, noSnapshots, []edit{
			{old: "max(rf.backUp(args.PrevLogIndex, reply), rf.matchIndex[peer]+1)", new: "max(args.PrevLogIndex, rf.matchIndex[peer]+1)"},
		}),
		test:  "2A|2B",
		notes: []string{noteBackup},
	},
	{
		name: "innocent-saves-deferred",
		why:  "each handler saves at its end, whether or not something has changed",
		edits: []edit{
			{old: "\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n", new: "\tdefer rf.persist()\n\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n", all: true},
		},
	},
	{
		name: "innocent-gob",
		why:  "the state is saved with encoding/gob, and the log as bytes within",
		edits: []edit{
			{old: "\t\"bytes\"\n", new: "\t\"bytes\"\n\t\"encoding/gob\"\n"},
			{old: "\te := labgob.NewEncoder(&state)\n\tfor _, v := range []any{rf.currentTerm, rf.votedFor, rf.firstIndex, rf.log} {\n\t\tif err := e.Encode(v); err != nil {\n\t\t\tpanic(fmt.Sprintf(\"server %d cannot encode its state: %v\", rf.me, err))\n\t\t}\n\t}\n", new: "\tvar log bytes.Buffer\n\tif err := labgob.NewEncoder(&log).Encode(rf.log); err != nil {\n\t\tpanic(fmt.Sprintf(\"server %d cannot encode its log: %v\", rf.me, err))\n\t}\n\tgob.NewEncoder(&state).Encode(saved{rf.currentTerm, rf.votedFor, rf.firstIndex, log.Bytes()})\n"},
			{old: "\td := labgob.NewDecoder(bytes.NewReader(state))\n\tfor _, v := range []any{&rf.currentTerm, &rf.votedFor, &rf.firstIndex, &rf.log} {\n\t\tif err := d.Decode(v); err != nil {\n\t\t\tpanic(fmt.Sprintf(\"server %d cannot decode its state: %v\", rf.me, err))\n\t\t}\n\t}\n", new: "\tvar s saved\n\tif err := gob.NewDecoder(bytes.NewReader(state)).Decode(&s); err != nil {\n\t\tpanic(fmt.Sprintf(\"server %d cannot decode its state: %v\", rf.me, err))\n\t}\n\trf.currentTerm, rf.votedFor, rf.firstIndex = s.Term, s.VotedFor, s.First\n\tif err := labgob.NewDecoder(bytes.NewReader(s.Log)).Decode(&rf.log); err != nil {\n\t\tpanic(fmt.Sprintf(\"server %d cannot decode its log: %v\", rf.me, err))\n\t}\n"},
			{old: "const nobody = -1\n", new: "const nobody = -1\n\ntype saved struct {\n\tTerm, VotedFor, First int\n\tLog                   []byte\n}\n"},
		},
	},
	{
		name: "innocent-snapshot-later",
		why:  "Snapshot returns at once, and a goroutine discards the log",
		edits: []edit{{
			old: "\t//lab:begin 2D Discard the log up to index, and save the snapshot.\n\trf.mu.Lock()\n\tdefer rf.mu.Unlock()\n\tif index <= rf.firstIndex || index > rf.lastApplied {\n\t\treturn\n\t}\n\trf.compact(index, rf.termAt(index), snapshot)\n\trf.persist()\n",
			new: "\tgo func() {\n\t\trf.mu.Lock()\n\t\tdefer rf.mu.Unlock()\n\t\tif index <= rf.firstIndex || index > rf.lastApplied || rf.killed() {\n\t\t\treturn\n\t\t}\n\t\trf.compact(index, rf.termAt(index), snapshot)\n\t\trf.persist()\n\t}()\n",
		}},
	},
	{
		name: "innocent-serial-peers",
		why:  "a goroutine for each peer sends one request after another, and waits for each answer; the network of part 2C is too slow for that",
		edits: join(noPersistence, noSnapshots, []edit{
			{old: "\tfor peer := range rf.peers {\n\t\tif peer != rf.me {\n\t\t\tgo rf.replicate(peer, rf.currentTerm)\n\t\t}\n\t}\n}\n", new: "}\n\nfunc (rf *Raft) serve(peer, term int) {\n\tfor {\n\t\trf.mu.Lock()\n\t\tgoes := rf.role == leader && rf.currentTerm == term && !rf.killed()\n\t\trf.mu.Unlock()\n\t\tif !goes {\n\t\t\treturn\n\t\t}\n\t\trf.replicate(peer, term)\n\t\ttime.Sleep(heartbeatInterval)\n\t}\n}\n"},
			{old: "\t\trf.nextIndex[peer] = rf.lastIndex() + 1\n\t}\n\trf.broadcast()\n", new: "\t\trf.nextIndex[peer] = rf.lastIndex() + 1\n\t\tif peer != rf.me {\n\t\t\tgo rf.serve(peer, rf.currentTerm)\n\t\t}\n\t}\n"},
		}),
		test:  "2A|2B",
		notes: []string{noteSlow},
	},
	{
		name: "innocent-command-term",
		why:  "ApplyMsg has fields of its own",
		edits: []edit{
			{old: "\tCommandIndex int\n\n", new: "\tCommandIndex int\n\tCommandTerm  int\n\tUseSnapshot  bool\n\n"},
			{old: "CommandIndex: rf.lastApplied}", new: "CommandIndex: rf.lastApplied, CommandTerm: rf.termAt(rf.lastApplied)}"},
		},
	},
	{
		name: "innocent-polls-commits",
		why:  "a goroutine counts the followers of each entry at each 20 ms, and no answer of a follower does",
		edits: []edit{
			{old: "\tfor n := rf.lastIndex(); n > rf.commitIndex && rf.termAt(n) == rf.currentTerm; n-- {\n", new: "}\n\nfunc (rf *Raft) count() {\n\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tif rf.role == leader {\n\t\t\trf.advance()\n\t\t}\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(20 * time.Millisecond)\n\t}\n}\n\nfunc (rf *Raft) advance() {\n\tfor n := rf.lastIndex(); n > rf.commitIndex && rf.termAt(n) == rf.currentTerm; n-- {\n"},
			{old: "\tgo rf.applier()\n\treturn rf\n", new: "\tgo rf.applier()\n\tgo rf.count()\n\treturn rf\n"},
		},
	},
	{
		name: "innocent-channels",
		why:  "handlers report to the main goroutine by unbuffered channels, with a goroutine for each report",
		edits: []edit{
			{old: "\tkill      sync.Once\n", new: "\tkill      sync.Once\n\tbeat      chan bool\n\twon       chan bool\n"},
			{old: "\t\tstop:      make(chan struct{}),\n", new: "\t\tstop:      make(chan struct{}),\n\t\tbeat:      make(chan bool),\n\t\twon:       make(chan bool),\n"},
			{old: "\trf.electionDue = time.Now().Add(electionTimeout + rand.N(electionTimeout))\n", new: "\tgo func() { rf.beat <- true }()\n"},
			{old: "\trf.role = leader\n\trf.nextIndex", new: "\trf.role = leader\n\tgo func() { rf.won <- true }()\n\trf.nextIndex"},
			{old: "\trf.currentTerm++\n\trf.votedFor = rf.me\n\trf.persist()\n\trf.resetElectionTimer()\n", new: "\trf.currentTerm++\n\trf.votedFor = rf.me\n\trf.persist()\n"},
			{
				old: "\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tnow := time.Now()\n\t\tif rf.role == leader && !now.Before(rf.sendDue) {\n\t\t\trf.broadcast()\n\t\t}\n\t\tif rf.role != leader && !now.Before(rf.electionDue) {\n\t\t\trf.stand()\n\t\t}\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n\t}\n",
				new: `	for !rf.killed() {
		rf.mu.Lock()
		role := rf.role
		if role == leader {
			rf.broadcast()
		}
		rf.mu.Unlock()
		if role == leader {
			time.Sleep(heartbeatInterval)
			continue
		}
		select {
		case <-rf.beat:
		case <-rf.won:
		case <-time.After(electionTimeout + rand.N(electionTimeout)):
			rf.mu.Lock()
			if rf.role != leader {
				rf.stand()
			}
			rf.mu.Unlock()
		}
	}
`,
			},
			{old: "\trf.sendDue = time.Now() // with whatever else comes until the next tick\n", new: "\tfor peer := range rf.peers {\n\t\tif peer != rf.me {\n\t\t\tgo rf.replicate(peer, rf.currentTerm)\n\t\t}\n\t}\n"},
		},
		notes: []string{noteBlocked},
	},
}
