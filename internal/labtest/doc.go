// Package labtest is the harness of the lab suites. A [Cluster] runs Raft servers
// over labrpc. A test can crash, restart, disconnect and partition the servers.
// Background checks run throughout the test.
//
//	func TestAgreement2B(t *testing.T) {
//		labtest.Run(t, func(t *testing.T) {
//			c := labtest.New(t, 3)
//			c.Disconnect(c.Leader())
//			c.One("x", 2)
//			c.Heal()
//			c.One("y", 3)
//		})
//	}
//
// The harness uses only the names of package raft common to all editions of the
// course. The names are Make, Start, GetState, Snapshot, Kill, ApplyMsg, the
// Persister, and CondInstallSnapshot if the package has that method. Therefore any
// package with these names can replace raft and be graded.
//
// # Background checks
//
//   - All servers apply the same command at an index (State Machine Safety).
//   - A server applies each command once and in order. The first command follows the
//     snapshot of the server's start.
//   - A snapshot on applyCh is never older than the applied state, and equals the
//     state after the same commands.
//   - No two servers lead one term, even across restarts (Election Safety).
//   - A running server's term never decreases.
//   - At most one server sends AppendEntries or InstallSnapshot in a term, and that
//     server has asked for votes in the term before. A server has at most one vote in
//     a term. These checks read the fields Term, VoteGranted and PreVote of messages,
//     where the fields exist.
//
// # An adversary
//
// [Cluster.Direct] lets a test decide the fate of each message by sender, receiver,
// kind, term and commands. Tests use distinctive strings as commands and find the
// strings in the bytes of messages.
package labtest
