// Package coretest simulates a small cluster for tests of raft/core. The cores are
// real. Their hosts, disks, services, clocks and network do exactly as they are told,
// one step at a time.
//
// A [Cluster] owns every event. Messages stay in a pool until they are delivered,
// dropped or delivered twice. A host works through its duties one by one
// ([Cluster.Work]), so a crash fits between any two. A restarted server has its disk and
// nothing else. The same calls make the same run.
//
// After each step a checker compares the cluster with the paper's properties (Figure 3),
// Election Safety, Leader Append-Only, Log Matching, Leader Completeness and State
// Machine Safety. The checker also holds their foundations. Terms, votes and commitIndex
// never go back, every message is covered by its sender's disk, votes and commitment
// follow the configuration in force, and no read is stale. [Cluster.Err] returns the
// first violation.
//
// [Explore] drives a cluster by a stream of choices, random or from a fuzzer's bytes, and
// then ends all faults. The cluster must make progress from there.
package coretest
