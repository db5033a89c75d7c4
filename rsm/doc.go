// Package rsm replicates a state machine over Raft: what stands between a
// service's commands and a log of them, written once for every service.
//
// A service is a [StateMachine]: a deterministic Apply, and a way to save and
// restore its state. A [Replica] joins it to one Raft server:
//
//   - [Replica.Submit] proposes a command, waits until it is applied here, and
//     returns its own result; or tells that its place in the log went to
//     another command, or that this server no longer leads.
//   - Client sessions make a retried command take effect once (thesis 6.3). See
//     [Sessions] for when a session ends.
//   - Snapshots are taken when Raft's state has grown to a bound, encoded beside
//     the running service, and restored on restart or when the leader sends one.
//   - A new leader proposes a command of its own, so that what its predecessors
//     left is committed although no client says anything (section 8 of the paper).
//
// Any Raft with the lab's interface will do. One that also tells when its term
// or leadership changes ([Notifier]; package raft's does) is watched through
// that; another is asked a few times a second.
//
// The order in which the parts come to life is the lab's: restore, then start
// Raft, then run.
//
//	replica, err := rsm.New(machine, persister.ReadSnapshot(), rsm.Options{...})
//	applyCh := make(chan raft.ApplyMsg)
//	rf := raft.Make(peers, me, persister, applyCh)
//	replica.Run(rf, applyCh)
//	defer replica.Kill()
package rsm
