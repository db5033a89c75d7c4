// Package core is the Raft protocol as a pure state machine.
//
// A [Core] is one server of the paper ("In Search of an Understandable Consensus Algorithm",
// extended version). Section numbers below are the paper's, and "thesis" is Ongaro's
// dissertation. A Core has no clock, no goroutine, no lock and no IO. Events go in by
// methods, and the work to be done comes out as data:
//
//	Step(message)    a request or a reply from another server
//	Tick()           one unit of time has passed
//	Propose(data)    a client's command, accepted by a leader only
//
//	Ready()          messages to send, state to save
//	NextToApply()    committed entries for the service's state machine
//
// The same code therefore runs below a lab harness, in production and under a simulator that
// owns every event. The host decides about time, disk and network.
//
// # The host's duties
//
// The host calls the core from one goroutine at a time and works through each [Ready] in
// this order:
//
//  1. Send rd.Messages. They depend on no unsaved state, so a leader replicates while its
//     own disk is busy (thesis 10.2.1).
//  2. Save rd.HardState, rd.Snapshot and rd.Entries, durably and in one step. Write down
//     rd.Chunks.
//  3. Send rd.AfterSave. Votes and acknowledgements promise saved state.
//  4. Call Saved(rd).
//
// Between Ready and Saved, every other method may be called. The effects are collected for
// the next Ready, so many commands share one write to the disk and one message.
// [Core.Outgoing] returns messages while the disk is busy.
//
// RequestVote, AppendEntries, InstallSnapshot and Quiesce are requests. A request carries a
// Call number of the host's choice, and its one reply carries the same number, for
// transports with paired replies. The other messages go one way. The transport may lose,
// delay, repeat and reorder messages, but must name the true sender. After a known loss, the
// host calls Unreachable.
//
// # What a host may use beyond that
//
// Every feature below is off in the zero Config.
//
//   - Reads. [Core.ReadIndex] on any server begins a linearizable read, and [Core.Reads]
//     returns its index (thesis 6.4). The host calls Reads after each Ready or Outgoing.
//     Reads need [Config.LeaderNoOp]. [Config.LeaseTicks] saves the round of messages.
//   - Membership. [Core.ProposeConfiguration] changes any number of members at once (thesis
//     4.3). [Core.Configuration], [Core.Members] and [Status].Removed show the result.
//     Applied entries of type [ConfigurationEntry] report commits. The host saves
//     [Core.SnapshotHeader] with each snapshot. Messages may go to former members for a
//     while.
//   - Leadership. See [Core.TransferLeadership], [Core.StepDown], and [Member].Priority
//     (thesis 3.10).
//   - Long logs. With [Config.MaxCachedBytes] only the newest entries stay in memory, and
//     New takes a [StoredLog]. The host reads older entries for followers ([Core.Loads],
//     [Core.Loaded]) and for the service ([Core.LoadToApply]).
//   - Large snapshots. With [Config.SnapshotChunkBytes] the leader's host fills each
//     InstallSnapshot with a chunk, and the follower's host writes Ready.Chunks down (Figure
//     13). The core asks again for a chunk that does not leave within two election timeouts.
//   - Idle clusters. With [Config.Quiesce] an idle cluster falls silent until the next
//     request, and the host need not call Tick while [Core.Quiescent]. The host calls
//     [Core.Wake] when the leader's host may be down.
//   - Bounds. See [Config.MaxUncommittedBytes], [Config.MaxPendingReads] and
//     [Config.AdaptiveWindow].
//
// # Reading order
//
// Read Figure 2 of the paper beside messages.go (the RPCs) and core.go (the state), then
// election.go (5.2, 5.4.1, and the pre-vote of thesis 9.6), replication.go (5.3, 5.4.2) and
// snapshot.go (7). membership.go (6, thesis 4), reads.go (thesis 6.4) and transfer.go
// (thesis 3.10) follow the dissertation. loads.go and quiesce.go are about memory and idle
// time, and have no place in the paper.
//
// Tests hold the rules. paper_*_test.go has a test for each sentence of the paper, testdata
// has stories about small clusters to read, and coretest has a simulated cluster with every
// fault, checked after each step and expected to recover.
package core
