// Package coretest holds a small simulated cluster for tests of raft/core: real
// cores, and around them a host, a disk, a service and a network that do exactly
// what they are told, one step at a time.
//
// A [Cluster] owns every event. Messages lie in a pool until they are delivered,
// dropped or delivered twice; a server's host works through its duties one by one
// ([Cluster.Work]), so a crash fits between any two; a restarted server has what
// was saved and nothing else. The same calls make the same run.
//
// After each step a checker holds the cluster against the paper's properties
// (Figure 3): Election Safety, Leader Append-Only, Log Matching, Leader
// Completeness and State Machine Safety; and against what they stand on: terms,
// votes and commitIndex never go back, and nothing leaves a server that its disk
// does not bear out. [Cluster.Err] tells the first violation.
//
// [Explore] drives a cluster by a stream of choices, random or taken from a
// fuzzer's bytes, and then lets it recover: with the faults gone it must make
// progress.
package coretest
