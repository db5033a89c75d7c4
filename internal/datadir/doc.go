// Package datadir is the data directory of a member of a cluster: its format, and what
// operators do with a directory of a member that does not run.
//
//	m, err := datadir.Read("n1.raftlab")          // whose data
//	r, err := datadir.Inspect("n1.raftlab")       // a picture, without changing a byte
//	r, err := datadir.Verify("n1.raftlab")        // a check of every byte that counts
//	err := datadir.Restore(backup, options)       // a backup as a new cluster
//	err := datadir.Recover("n1.raftlab", options) // a new cluster of one survivor
//
// # Files
//
//	member.yaml   the manifest: the format, the cluster, the member, the log's directory
//	log/          the log and the snapshots (package raft/wal)
//
// The manifest comes last when a directory is made, and is replaced as a whole. So a
// crash leaves a directory of before or of after, and nothing in between.
//
// # Identity
//
// Operators choose the name of a cluster. A restored or recovered cluster also has a
// number. Members of clusters with different numbers refuse each other, so the old cluster
// and the new one stay apart under one name.
package datadir
