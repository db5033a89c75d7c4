// Package rsm replicates a state machine over a replicated log, such as Raft's. The
// package holds the part between a service's commands and the log, once for all
// services.
//
// A service is a [StateMachine] with a deterministic Apply, and methods to save and
// restore the state. A [Replica] connects the service to one server's part in a
// [Log]:
//
//   - [Replica.Submit] proposes a command, waits until the command is applied on
//     this server, and returns the result of the command. If the command's place in
//     the log goes to another command, or if the leadership ends, Submit returns an
//     error at once. Nothing polls.
//   - Client sessions make a retried command take effect once (thesis 6.3). See
//     [Sessions] for the end of a session. A command that is submitted again during
//     its first submission joins the first one and is not proposed twice.
//   - The commands in flight are bounded, in bytes and in number. See
//     Options.MaxInFlightBytes.
//   - A snapshot is taken when enough commands were applied since the last one. The
//     snapshot is encoded and saved while the service runs. It is restored after a
//     restart, or when the leader sends it.
//   - A new leader proposes a no-op, so that the entries of earlier terms commit
//     without a client's command (section 8 of the paper). A log with a no-op of its
//     own needs none, see [OwnNoOps].
//
// The package imports no Raft. Package onnode adapts a member of package node to
// [Log], and package labraft any lab's Raft. A service starts the log, restores the
// state, and runs the replica.
//
//	log, err := onnode.Start(host, node.Config{Members: members})
//	replica, err := rsm.New(machine, log.Snapshot(), rsm.Options{...})
//	replica.Run(log)
//	defer replica.Kill()
//
// # Sessions that move
//
// Some services hand parts of their state to another replicated state machine, as a
// sharded store does. The sessions must go with the parts, or a command that took
// effect at the old owner would take effect again at the new owner. Such a service
// keeps a table of [Sessions] with each part and is a [SessionKeeper]. The Replica
// passes the client of each command to the service, and keeps no table of its own.
//
//	func (s *service) ApplyFor(client, seq uint64, cmd Command) (Result, error) {
//		part := s.parts[cmd.Part]
//		if part == nil {
//			return Result{WrongGroup: true}, nil // not recorded: to be retried elsewhere
//		}
//		return part.sessions.Do(client, seq, func() Result { return part.apply(cmd) })
//	}
//
// The old owner encodes the result of [Sessions.Records], and the new owner passes
// the records to [Sessions.Merge]. A part sees only its own commands, so clients
// number their commands for each part from 1. Sessions.Copy takes constant time, as
// Snapshot must.
//
// # Goroutines and locks
//
// Run starts three goroutines. One applies the commands, one encodes and saves
// snapshots, and one follows the leadership. Kill ends them, and Wait waits for
// them. The lock applying guards the machine and is held while the machine works.
// The lock mu guards the submissions and the sessions. Neither the machine nor the
// log is called under mu.
package rsm
