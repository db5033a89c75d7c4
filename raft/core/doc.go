// Package core is the Raft protocol as a pure state machine.
//
// A [Core] is one server of the paper ("In Search of an Understandable
// Consensus Algorithm", extended version; section numbers below are its own,
// "thesis" is Ongaro's dissertation). It has no clock, no goroutine, no lock
// and no IO. What happens to a server goes in by three methods, and what the
// server wants done comes out as data:
//
//	Step(message)    a request or a reply from another server
//	Tick()           one unit of time has passed
//	Propose(data)    a client's command, accepted by a leader only
//
//	Ready()          what to save and what to send
//	NextToApply()    what to hand to the service's state machine
//
// So the same code runs below a lab harness, in production and under a
// simulator that owns every event: whoever drives it decides what time, disk
// and network are.
//
// # The host's duties
//
// The host calls the core from one goroutine at a time and works through each
// [Ready] in this order:
//
//  1. send rd.Messages (they depend on nothing that is yet to be saved: a
//     leader replicates while its own disk is busy, thesis 10.2.1);
//  2. save rd.HardState, rd.Snapshot and rd.Entries, durably and in one step;
//  3. send rd.AfterSave (votes and acknowledgements promise what was saved);
//  4. call Saved(rd).
//
// Between Ready and Saved, Step, Tick and Propose may be called freely; what
// they cause is collected for the next Ready, which is how many commands come
// to share one write to the disk and one message. Only what may leave at once
// need not wait: [Core.Outgoing] returns it at any time. A request carries a Call
// number of the host's choice, and its one reply carries the same number, so a
// transport in which replies belong to requests can pair them. The transport
// may lose, delay, repeat and reorder messages; where it knows that one was
// lost, the host says so by Unreachable.
//
// # Reading order
//
// Figure 2 of the paper beside messages.go (the three RPCs) and core.go (the
// state); then election.go (5.2, 5.4.1, and the pre-vote of thesis 9.6),
// replication.go (5.3, 5.4.2), snapshot.go (7). log.go, progress.go and
// majority.go hold the nouns these stand on.
//
// The rules are held by tests of the same names: paper_*_test.go has one for each
// sentence of the paper, testdata has stories about small clusters to read, and
// coretest a simulated cluster that is broken on purpose, checked after each step
// and expected to recover.
package core
