// Package kvraft is a key/value service that is replicated by Raft. A [KVServer] runs
// beside each Raft server, and a [Clerk] is a client's view of all servers.
//
// Package kv defines the operations: get, put, append, delete, scan, and writes with
// a condition on the version. Package rsm replicates them. This package adds the
// RPC, and the clerk that finds the leader and retries.
//
// All operations are linearizable. Reads go through the log too, so a deposed leader
// and a leader without a majority answer nothing. A write takes effect once, however
// often the clerk sends the write.
//
//	ck := kvraft.MakeClerk(servers)
//	ck.Put("k", "1")
//	ck.Append("k", "2")
//	ck.Get("k") // "12"
//
// Get, Put and Append belong to the lab's interface and retry for ever. Do, Delete,
// PutIf and Scan take a context and return errors.
//
// [StartKVServer] starts a server on the lab's raft.Persister. [Open] starts a server
// on any Raft server, with any storage.
package kvraft
