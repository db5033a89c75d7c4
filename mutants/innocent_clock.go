package main

// clockInnocents are variants of the plain Raft that use the clock and random numbers
// in other ways.
var clockInnocents = []control{
	{
		name: "innocent-clock-seeds",
		why:  "each random number comes from a source that is seeded with the clock",
		edits: []edit{
			{old: "\t\"math/rand/v2\"\n", new: "\t\"math/rand\"\n"},
			{old: "rand.N(electionTimeout)", new: "time.Duration(rand.New(rand.NewSource(time.Now().UnixNano())).Int63n(int64(electionTimeout)))"},
		},
	},
	{
		name: "innocent-clock-seeds-once",
		why:  "each server seeds a source with the clock at its start",
		edits: []edit{
			{old: "\t\"math/rand/v2\"\n", new: "\t\"math/rand\"\n"},
			{old: "\tkill      sync.Once\n", new: "\tkill      sync.Once\n\trandom    *rand.Rand\n"},
			{old: "\trf.committed = sync.NewCond(&rf.mu)\n", new: "\trf.committed = sync.NewCond(&rf.mu)\n\trf.random = rand.New(rand.NewSource(time.Now().UnixMicro()))\n"},
			{old: "rand.N(electionTimeout)", new: "time.Duration(rf.random.Int63n(int64(electionTimeout)))"},
		},
	},
	{
		name: "innocent-fixed-timeouts",
		why:  "each server has an election timeout of its own, which never changes",
		edits: []edit{
			{old: "\t\"math/rand/v2\"\n", new: ""},
			{old: "electionTimeout + rand.N(electionTimeout)", new: "electionTimeout + time.Duration(rf.me)*80*time.Millisecond"},
		},
	},
	{
		name: "innocent-short-timeouts",
		why:  "election timeouts of the paper, 150 to 300 ms, and a heartbeat each 50 ms",
		edits: []edit{
			{old: "heartbeatInterval = 100 * time.Millisecond", new: "heartbeatInterval = 50 * time.Millisecond"},
			{old: "electionTimeout   = 300 * time.Millisecond", new: "electionTimeout   = 150 * time.Millisecond"},
		},
	},
	{
		name: "innocent-long-timeouts",
		why:  "election timeouts from 1 to 2 s, and a heartbeat each 150 ms",
		edits: []edit{
			{old: "heartbeatInterval = 100 * time.Millisecond", new: "heartbeatInterval = 150 * time.Millisecond"},
			{old: "electionTimeout   = 300 * time.Millisecond", new: "electionTimeout   = 1000 * time.Millisecond"},
		},
	},
	{
		name: "innocent-ticker-2023",
		why:  "the ticker sleeps for 50 to 350 ms, as in the skeleton of 2023, and then looks at the last heartbeat; another goroutine sends heartbeats",
		edits: []edit{{
			old: "\tfor !rf.killed() {\n\t\trf.mu.Lock()\n\t\tnow := time.Now()\n\t\tif rf.role == leader && !now.Before(rf.sendDue) {\n\t\t\trf.broadcast()\n\t\t}\n\t\tif rf.role != leader && !now.Before(rf.electionDue) {\n\t\t\trf.stand()\n\t\t}\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(tickInterval)\n\t}\n",
			new: `	go func() {
		for !rf.killed() {
			rf.mu.Lock()
			if rf.role == leader && !time.Now().Before(rf.sendDue) {
				rf.broadcast()
			}
			rf.mu.Unlock()
			time.Sleep(tickInterval)
		}
	}()
	for !rf.killed() {
		rf.mu.Lock()
		if rf.role != leader && !time.Now().Before(rf.electionDue) {
			rf.stand()
		}
		rf.mu.Unlock()
		time.Sleep(time.Duration(50+rand.N(300)) * time.Millisecond)
	}
`,
		}},
	},
	{
		name: "innocent-slow-applier",
		why:  "the applier looks each 100 ms for something to apply",
		edits: []edit{{
			old: "\tfor rf.lastApplied >= rf.commitIndex && !rf.killed() {\n\t\trf.committed.Wait()\n\t}\n",
			new: "\tfor rf.lastApplied >= rf.commitIndex && !rf.killed() {\n\t\trf.mu.Unlock()\n\t\ttime.Sleep(100 * time.Millisecond)\n\t\trf.mu.Lock()\n\t}\n",
		}},
		notes: []string{noteSlow},
	},
	{
		name: "innocent-timer-goroutines",
		why:  "each reset of the election timer starts a goroutine that sleeps for the whole timeout",
		edits: []edit{
			{old: "\t\tif rf.role != leader && !now.Before(rf.electionDue) {\n\t\t\trf.stand()\n\t\t}\n", new: ""},
			{old: "\telectionDue time.Time // a follower or candidate stands for election then\n", new: "\tresets      int // of the election timer\n"},
			{
				old: "\trf.electionDue = time.Now().Add(electionTimeout + rand.N(electionTimeout))\n",
				new: "\trf.resets++\n\tgo func(resets int) {\n\t\ttime.Sleep(electionTimeout + rand.N(electionTimeout))\n\t\trf.mu.Lock()\n\t\tdefer rf.mu.Unlock()\n\t\tif resets == rf.resets && !rf.killed() {\n\t\t\tif rf.role == leader {\n\t\t\t\trf.resetElectionTimer()\n\t\t\t\treturn\n\t\t\t}\n\t\t\trf.stand()\n\t\t}\n\t}(rf.resets)\n",
			},
		},
	},
	{
		name: "innocent-pretty-prints",
		why:  "debug prints carry the time since the start of the program",
		edits: []edit{
			{old: "const nobody = -1\n", new: "const nobody = -1\n\nvar debugStart = time.Now()\n\nfunc debug(topic, format string, a ...any) {\n\tat := time.Since(debugStart).Microseconds() / 100\n\tlog.Printf(fmt.Sprintf(\"%06d %v \", at, topic)+format, a...)\n}\n"},
			{old: "\t\"fmt\"\n", new: "\t\"fmt\"\n\t\"log\"\n"},
			{old: "\trf.observe(args.Term)\n\treply.Term = rf.currentTerm\n", new: "\trf.observe(args.Term)\n\tdebug(\"RPC\", \"S%d T%d <- %+v\", rf.me, rf.currentTerm, args)\n\treply.Term = rf.currentTerm\n", all: true},
		},
	},
}
