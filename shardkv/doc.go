// Package shardkv is a key/value store whose keys are spread over several Raft
// groups: a [ShardKV] beside each Raft server of each group, and a [Clerk] through
// which a client uses them as if they were one. Which group owns which shard the
// configuration service says (package shardctrler); when that changes, the
// shards move, and the store goes on serving.
//
// What can be done with a key is package kv's, as in kvraft: get, put, append,
// delete, writes that are conditional on a version, and scans. Besides there are
// transactions over keys in any shards ([Txn]).
//
//	ck := shardkv.MakeClerk(ctrlers, makeEnd)
//	ck.Put("a", "1")
//	ck.Txn(ctx, shardkv.Txn{
//		If:   []shardkv.Compare{shardkv.CompareValue("a", shardkv.Equal, "1")},
//		Then: []kv.Op{kv.Put("a", "2"), kv.Put("b", "2")},
//	})
//
// Single operations are linearizable, and a write takes effect once, however
// often its clerk has to send it and wherever its shard is by then.
// Transactions and single operations together are strictly serializable.
//
// # How a shard moves
//
// A shard is a state machine of its own: its keys, its clients' sessions, and the
// transactions that it has a part in ([shardctrler.NShards] of them). A group
// replicates those that it owns.
//
//	configuration n   the old owner                  the new owner
//	       |
//	       |---------> takes n: serves it no more
//	       |---------------------------------------> takes n: waits for it
//	                   leader: Install(pieces) ---> commits it, serves it
//	                   deletes it     <------------- has it
//
// Each group takes the configurations one after the other, through its log, but
// does not wait for a configuration's shards before it takes the next. It notes
// in which spans of configurations it owns a shard; the data, whenever it comes,
// belongs to the first such span, and goes on to the next owner if that span is
// over. So a group that is dead holds up the shards that have to come from it
// and nothing else. The data is handed over by the old owner's leader until the
// new owner has committed it, and again by the next leader, should it be in
// doubt: who has it already, or has passed it on, says so. Only then it is deleted.
//
// Shards that a change does not touch are served all the time, and each that has
// arrived at once. Whether a group may serve a shard follows from its own log
// alone, never from what a clerk believes.
//
// A shard goes in pieces of 256 KiB, each of which is an entry in the new owner's
// log and a part of its state: a large shard does not keep others waiting, and
// whoever crashes, the move goes on where it was. The last piece has the shard
// decoded as a whole, for which the new owner stops for a moment. So there is no
// limit to a shard, but one of much more than 64 MB is felt
// (BenchmarkServiceBesideALargeMove).
//
// A group hears of a change within about 100 ms, and what can move has moved within a
// second, on a network that loses a request or reply in ten too; unless a group or
// the configuration service has to elect a leader just then.
//
// If no group is left, those that owned shards keep them, and hand them over when
// there is a group again.
//
// # Transactions
//
// A transaction over several shards is a two-phase commit between the shards, see
// ledger.go; one that stays within a shard is a single log entry. The first of
// its shards coordinates, and its decision is an entry in the log of the group
// that owns that shard. Whatever is noted of a transaction, locks included, is a
// part of a shard and moves with it. The leader of the group that owns the
// coordinator takes a transaction to its end; if it crashes, the next one does, or
// the next owner's.
//
// Locks are taken shard by shard in the order of the shards, so there is no
// deadlock. A transaction that does not get all its locks within 2 s, since a
// group that it needs is not there, is given up by a decision like any other,
// and its clerk tries again. Operations on keys that are locked wait; all others
// go on. The crash of any server blocks nothing. But two-phase commit needs its
// coordinator: while the whole group of a coordinator is away, the keys that its
// transactions had locked in other groups stay locked.
//
// # Differences from the paper's and the lab's design
//
// The lab lets groups pull shards; here the old owner pushes, which takes one
// exchange less and lets the old owner alone judge when to delete. A clerk has a
// session with each shard that it writes to, since sessions move with shards.
package shardkv
