// Package cluster runs all replicas of a replicated key/value store in one
// process: what `raftlab serve` serves. Each replica is a kvraft server on a
// Raft server of its own, with a data file of its own (package boltstore); they
// talk over a network within the process (package labrpc), so that each can be
// stopped and started like a machine, while the others go on.
//
// A data directory holds
//
//	raftlab.json    the manifest: what the directory was made with
//	lock            held by the process that uses the directory
//	replica-1.bolt  a replica's hard state, log and snapshot
//
// # Once, however often it is tried
//
// [Cluster.Do] finds the leader, and tries again when leadership changes under
// a request. Every write therefore has a client session (see package rsm): a
// session that the cluster keeps for itself, or one that stands for the key
// that the client gave, so that the client's own retries are one write too.
package cluster
