// Package kvraft is a key/value service that is replicated by Raft: a
// [KVServer] beside each Raft server, and a [Clerk] through which a client uses
// them as if they were one.
//
// What the service can do is package kv's: get, put, append, delete, scan, and
// writes that are conditional on a version. What replicates it is package rsm.
// Here is what stands between them and a network: the RPC, and the clerk that
// finds the leader and tries again.
//
// Operations are linearizable, reads too: each goes through the log, so a
// leader that has been deposed without knowing it, or that reaches no majority,
// answers nothing. A write takes effect once, however often the clerk has to
// send it.
//
//	ck := kvraft.MakeClerk(servers)
//	ck.Put("k", "1")
//	ck.Append("k", "2")
//	ck.Get("k") // "12"
//
// Get, Put and Append are the lab's and try for ever. Do, Delete, PutIf and Scan
// take a context and return what went wrong.
//
// A server starts in one of two ways: [StartKVServer] over the lab's
// raft.Persister, or [Open] over a Raft server that the caller makes, on
// whatever storage.
package kvraft
