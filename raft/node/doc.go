// Package node replicates a state machine over several processes with Raft.
// Services import package node.
//
// A service implements [StateMachine] and starts a member on each host:
//
//	opts := wal.Options{Identity: node.Identity{Cluster: "orders", Host: 1}}
//	err := wal.Create("data", opts) // once, on a new host
//	storage, err := wal.Open("data", opts)
//	transport, err := tcp.Listen(tcp.Options{Listen: "10.0.0.1:7000", TLS: certificates})
//	n, err := node.Start(node.HostConfig{Storage: storage, Transport: transport},
//		node.Config{Members: members, StateMachine: machine})
//
// The leader takes commands. [Node.Propose] returns the result of the state
// machine once the command is durable on a majority and applied here:
//
//	result, err := n.Propose(ctx, []byte("buy 3"))
//
// Any member serves reads. After [Node.ReadIndex] the state machine includes
// every command that was acknowledged before the call:
//
//	index, err := n.ReadIndex(ctx)
//
// # Outcomes
//
// Every error of a proposal matches ErrRefused or ErrUnknown. A refused command
// has no effect now or later. A command with an unknown outcome may have an
// effect. A client that proposes such a command again needs a state machine with client
// sessions. Package rsm has client sessions, and rsm/onnode runs rsm on a member.
//
// # Membership
//
// [Node.ChangeMembers] adds, promotes, demotes, removes and replaces any number
// of members at once. Hosts keep their ids for ever, and may change their
// addresses at any time. A new host starts with [Config.Join] and is then added
// through the leader.
//
// # Many groups
//
// [Start] hides the [Host] of a program with one group. A program with many groups
// makes one Host and calls [Host.Start] for each group. The groups share the
// transport, the storage, each sync of the storage, and a fixed number of
// goroutines. With [Config.Quiesce], idle groups send nothing.
//
// # What is durable
//
// A member answers a request for a vote or an append only after the storage has
// synced the vote or the entries. If a save fails, the host stops and [Node.Err]
// has the cause. A failed sync is never retried. If a save takes longer than an
// election timeout, a leader steps down and others take over.
//
// # Limits
//
// Pending commands, received messages, cached entries, queues to peers, the work
// of the state machine and snapshots under way have bounds, which are fields of
// [Config] and of the transport's options. A member that is down costs the others
// disk space for the log, and no memory.
//
// # Goroutines
//
// One goroutine at a time runs a group's core. A caller with work for an idle core
// runs the core itself. A host has [HostConfig.Workers] goroutines for cores,
// as many for state machines, [HostConfig.MaxSnapshots] for snapshots, as many for
// the chunks of snapshots, and one each for ticks, saves, reads of the log and
// events. Close ends all of them.
//
// # Reading order
//
// Start with config.go and statemachine.go, the face of the package. The loop
// around the core stands in run.go. Requests of callers enter by proposal.go,
// reads.go and members.go. The work for the core is done in save.go, apply.go,
// snapshot.go and transfer.go.
package node
