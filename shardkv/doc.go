// Package shardkv is a key/value store whose keys are spread over several Raft
// groups. A [ShardKV] runs beside each Raft server of each group. A [Clerk] is a client
// of the whole store. The configuration service (package shardctrler) assigns each
// shard to a group. When the assignment changes, the shards move and the store
// goes on serving.
//
// The operations on a key are those of package kv: get, put, append, delete, writes
// that are conditional on a version, and scans. Transactions combine operations on
// keys in any shards ([Txn]).
//
//	ck := shardkv.MakeClerk(ctrlers, makeEnd)
//	ck.Put("a", "1")
//	ck.Txn(ctx, shardkv.Txn{
//		If:   []shardkv.Compare{shardkv.CompareValue("a", shardkv.Equal, "1")},
//		Then: []kv.Op{kv.Put("a", "2"), kv.Put("b", "2")},
//	})
//
// Single operations are linearizable. A write takes effect once, however often its
// clerk sends the write and wherever the shard moves. Transactions and single
// operations together are strictly serializable.
//
// # Moving shards
//
// A shard is a state machine of its own. The state consists of keys, client sessions,
// and the shard's part in transactions. There are [shardctrler.NShards] shards. A group replicates the shards that the group owns.
//
//	configuration n   the old owner                   the new owner
//	       |
//	       |---------> reaches n, stops serving
//	       |----------------------------------------> reaches n, waits for the shard
//	                   leader: Install(pieces) -----> commits the pieces, serves
//	                   deletes the shard <----------- acknowledges
//
// Each group advances through the configurations in order, through its log. A group
// does not wait for the shards of a configuration before the group advances to the
// next one. The group records its spans of ownership of each shard. The data may come later and belongs to the first such span. If that span
// is over, the data goes on to the next owner. So a dead group delays the shards
// that have to come from the group, and no other shards. The leader of the old owner
// hands the data over until the new owner has committed the data. If the leader
// changes, the next leader repeats the hand-over. A new owner that has the data, or
// has passed the data on, acknowledges again. Only then the old owner deletes its
// copy.
//
// Shards outside of a change are served all the time, and an arriving shard is served
// as soon as all its data is there. A group decides from its own log alone whether
// the group may serve a shard, never from a clerk's view.
//
// A shard moves in pieces of 256 KiB. Each piece is an entry in the new owner's log
// and part of its state. So a large shard does not block others, and a move
// continues after a crash of any server. After the last piece the new owner decodes
// the whole shard and serves nothing for that moment. So shards have no size limit,
// but a move of much more than 64 MB is noticeable (BenchmarkServiceBesideALargeMove).
//
// A group notices a change within about 100 ms, and all movable shards have moved
// within a second. Both hold on a network that loses one request or reply in ten. An
// election at that moment takes longer.
//
// If no group is left, the last owners keep their shards, and hand them over when a
// group joins.
//
// # Transactions
//
// A transaction over several shards is a two-phase commit between the shards (see
// ledger.go). A transaction within one shard is a single log entry. The first shard
// coordinates. The commit point is an entry in the log of that shard's group. The records of a transaction and its locks are part of the shards and move
// with them. The leader of the coordinator's group drives the transaction to its
// end. After a crash the next leader, or the leader of the next owner, continues.
//
// A transaction locks its shards in ascending order, so there are no deadlocks. A
// transaction without all its locks after 2 s is aborted, and the clerk tries again. The usual cause is a group that is down. Operations on locked
// keys wait, and all others go on. The crash of a single server blocks nothing. But
// two-phase commit depends on the coordinator. While the whole group of a
// coordinator is down, the locks of its transactions in other groups stay.
//
// Transactions are bounded in bytes ([MaxTxnBytes], [MaxTxnResultBytes]). The values
// that a transaction reads go from the participants to the client and enter neither a
// log nor a client session.
//
// # Differences from the lab's design
//
// In the lab's design groups pull shards. Here the old owner pushes, which saves a
// message exchange, and the old owner alone decides when to delete. A clerk has a
// separate session with each shard, since sessions move with the shards.
package shardkv
