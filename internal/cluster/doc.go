// Package cluster runs all replicas of a replicated key/value store in one
// process, for `raftlab serve`. Each replica is a member with etcd's API (package
// etcdapi), on a host of its own (package node) with its own data file (package
// boltstore). In a store of several groups a replica has a server of shardkv for each
// group instead. The replicas of a group talk over a network in memory (package
// memnet), and groups call one another over package labrpc. So each replica can be
// stopped and started like a machine, while the others go on.
//
// A data directory holds these files:
//
//	raftlab.json    the manifest: cluster id, numbers of replicas and groups
//	lock            held by the process that uses the directory
//	replica-1.bolt  a replica's hard state, log and snapshot
//
// # Data files
//
// A data file carries the cluster id, the group, the replica and the size of the
// group. [Open] compares them with the manifest. Each file also records the
// sequences of the other files of its group. A file with a lower sequence than the
// others have recorded is an older copy ([ErrRolledBack]), because the replica has
// acknowledged later updates. A replica with a damaged, lost, foreign or older file
// does not start. The other replicas serve as long as they are a majority, and
// Repair rebuilds the file from theirs.
//
// # Exactly once
//
// [Cluster.Do] finds the leader, and tries again when leadership changes. Every
// write therefore has a client session (see package rsm). The session is one of the
// cluster's own, or belongs to the client's idempotency key. So all retries, also
// the client's, are one write.
package cluster
