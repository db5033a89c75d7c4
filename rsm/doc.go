// Package rsm replicates a state machine over Raft: what stands between a
// service's commands and a log of them, written once for every service.
//
// A service is a [StateMachine]: a deterministic Apply, and a way to save and
// restore its state. A [Replica] joins it to one Raft server:
//
//   - [Replica.Submit] proposes a command, waits until it is applied here, and
//     returns its own result; or tells that its place in the log went to
//     another command, or that this server no longer leads. Who waits is told by
//     a notification, not by looking again and again.
//   - Client sessions make a retried command take effect once (thesis 6.3). See
//     [Sessions] for when a session ends. A command that is submitted again while
//     the first submission is under way joins it and is not proposed twice.
//   - Snapshots are taken when Raft's state has grown to a bound, encoded and
//     saved beside the running service, and restored on restart or when the
//     leader sends one.
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
//
// # Sessions that move
//
// A service whose state is handed on in parts, such as the shards of a sharded
// store, has to hand on the sessions with them: a command that took effect at
// the old owner must not take effect again at the new one. It keeps a table of
// [Sessions] with each part and is a [SessionKeeper]: the Replica then tells it
// who submits each command, and keeps no table of its own.
//
//	func (s *service) ApplyFor(client, seq uint64, cmd Command) (Result, error) {
//		part := s.parts[cmd.Part]
//		if part == nil {
//			return Result{WrongGroup: true}, nil // not recorded: to be retried elsewhere
//		}
//		return part.sessions.Do(client, seq, func() Result { return part.apply(cmd) })
//	}
//
// What a part's [Sessions.Records] returns goes along with it, encoded by any
// means, and to [Sessions.Merge] where it arrives. Since a part sees only the
// commands for it, clients number their commands for each part from 1.
// Sessions.Copy takes constant time, as Snapshot must.
//
// # Goroutines and locks
//
// Run starts two goroutines, the applier and the watcher, and the applier at most
// one more, which encodes a snapshot; Kill ends them and Wait waits for them. One
// mutex guards the waiting requests and the sessions; nothing is called while it
// is held, neither the machine nor Raft.
package rsm
