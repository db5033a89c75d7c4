// Package labtest is the harness of the lab suites: a cluster of Raft servers
// over labrpc, with everything that can happen to one, and checks that run all
// the time.
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
// It knows of package raft only what every edition of the course has: Make,
// Start, GetState, Snapshot, Kill, ApplyMsg and the Persister, and
// CondInstallSnapshot where there is one. So any package with these names can be
// put in the place of raft and be graded.
//
// # What is checked at all times
//
//   - State Machine Safety: all servers apply the same command at an index.
//   - Commands are applied in order, each once, from the first one after the
//     snapshot that a server starts from.
//   - A snapshot on applyCh is never older than what was applied, and holds the
//     state that the same commands lead to.
//   - Election Safety: no two servers lead one term, restarted or not.
//   - A running server's term never goes back.
//   - On the wire, by the fields Term, VoteGranted and PreVote where they exist: at
//     most one server sends AppendEntries or InstallSnapshot in a term, and has
//     asked for votes in it before; a server has at most one vote in a term.
//
// # An adversary
//
// [Cluster.Direct] lets a test decide over each message by its sender, receiver,
// kind and term, and by the commands it carries: tests name commands such that
// their bytes are found in what was sent.
package labtest
