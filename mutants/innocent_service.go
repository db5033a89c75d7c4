package main

// serviceStyle is the implementation below serviceInnocents.
const serviceStyle = "idiom2023"

// serviceInnocents are variants of the services of a style with habits of real
// submissions.
var serviceInnocents = []control{
	{
		name: "innocent-clock-clerk", why: "the time is the identity of a clerk",
		style: serviceStyle, source: "kvraft/client.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{{old: "clientID: nrand()", new: "clientID: time.Now().UnixNano()"}},
		notes: anyNotes,
	},
	{
		name: "innocent-clock-clerk-4A", why: "the time is the identity of a controller's clerk",
		style: serviceStyle, source: "shardctrler/client.go", pkg: "./shardctrler", test: "4A",
		edits: []edit{{old: "int64(binary.LittleEndian.Uint64(b[:]) >> 1)", new: "time.Now().UnixNano() + 0*int64(binary.LittleEndian.Uint64(b[:])>>1)"}},
		notes: anyNotes,
	},
	{
		name: "innocent-clock-clerk-4B", why: "the time is the identity of a sharded store's clerk",
		style: serviceStyle, source: "shardkv/client.go", pkg: "./shardkv", test: "4B",
		edits: []edit{{old: "clientID: nrand()", new: "clientID: time.Now().UnixNano()"}},
		notes: anyNotes,
	},
	{
		name: "innocent-slow-clerk", why: "a clerk pauses for 100 ms after each refusal",
		style: serviceStyle, source: "kvraft/client.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{{old: "\tif ck.leader == 0 {\n\t\ttime.Sleep(20 * time.Millisecond)\n\t}\n", new: "\ttime.Sleep(100 * time.Millisecond)\n"}},
		notes: anyNotes,
	},
	{
		name: "innocent-forgetful-clerk", why: "a clerk asks the servers in the same order for each operation, and pauses for 300 ms after each refusal",
		style: serviceStyle, source: "kvraft/client.go", pkg: "./kvraft", test: "^(TestReorderedManyClerks3A|TestReordered3B)$",
		edits: []edit{
			{old: "\tck.seq++\n", new: "\tck.seq++\n\tck.leader = 0\n", all: true},
			{old: "\tif ck.leader == 0 {\n\t\ttime.Sleep(20 * time.Millisecond)\n\t}\n", new: "\ttime.Sleep(300 * time.Millisecond)\n"},
		},
		notes: anyNotes,
	},
	{
		name: "innocent-patient-handlers", why: "handlers wait two seconds for their command",
		style: serviceStyle, source: "kvraft/server.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{{old: "commandTimeout = 400 * time.Millisecond", new: "commandTimeout = 2 * time.Second"}},
		notes: anyNotes,
	},
	{
		name: "innocent-hasty-handlers", why: "handlers wait 100 ms for their command",
		style: serviceStyle, source: "kvraft/server.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{{old: "commandTimeout = 400 * time.Millisecond", new: "commandTimeout = 100 * time.Millisecond"}},
		notes: anyNotes,
	},
	{
		name: "innocent-polling-handlers", why: "handlers look each millisecond for their result",
		style: serviceStyle, source: "kvraft/server.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{{
			old: "\tselect {\n\tcase r := <-ch:\n\t\tif r.clientID != op.ClientID || r.seq != op.Seq {\n\t\t\treturn \"\", ErrWrongLeader\n\t\t}\n\t\treturn r.value, r.err\n\tcase <-time.After(commandTimeout):\n\t\treturn \"\", ErrTimeout\n\t}\n",
			new: "\tfor start := time.Now(); time.Since(start) < commandTimeout; time.Sleep(time.Millisecond) {\n\t\tselect {\n\t\tcase r := <-ch:\n\t\t\tif r.clientID != op.ClientID || r.seq != op.Seq {\n\t\t\t\treturn \"\", ErrWrongLeader\n\t\t\t}\n\t\t\treturn r.value, r.err\n\t\tdefault:\n\t\t}\n\t}\n\treturn \"\", ErrTimeout\n",
		}},
		notes: anyNotes,
	},
	{
		name: "innocent-snapshot-ticker", why: "a goroutine looks at the size of the Raft state each 20 ms",
		style: serviceStyle, source: "kvraft/server.go", pkg: "./kvraft", test: "3A|3B",
		edits: []edit{
			{old: "\t\t\tif kv.maxraftstate != -1 && kv.persister.RaftStateSize() >= kv.maxraftstate {\n\t\t\t\tkv.rf.Snapshot(msg.CommandIndex, kv.snapshot())\n\t\t\t}\n", new: "\t\t\tkv.applied = msg.CommandIndex\n"},
			{old: "\t\t\tkv.restore(msg.Snapshot)\n\t\t} else", new: "\t\t\tkv.restore(msg.Snapshot)\n\t\t\tkv.applied = msg.SnapshotIndex\n\t\t} else"},
			{old: "\twaiting map[int]chan result\n", new: "\twaiting map[int]chan result\n\tapplied int\n"},
			{old: "\tgo kv.applier()\n", new: "\tgo kv.applier()\n\tgo func() {\n\t\tfor !kv.killed() {\n\t\t\tkv.mu.Lock()\n\t\t\tif kv.maxraftstate != -1 && kv.applied > 0 && kv.persister.RaftStateSize() >= kv.maxraftstate {\n\t\t\t\tkv.rf.Snapshot(kv.applied, kv.snapshot())\n\t\t\t}\n\t\t\tkv.mu.Unlock()\n\t\t\ttime.Sleep(20 * time.Millisecond)\n\t\t}\n\t}()\n"},
		},
		notes: anyNotes,
	},
}
