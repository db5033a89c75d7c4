// Package raft replicates a log of commands over servers of which a minority
// may fail (Ongaro and Ousterhout, "In Search of an Understandable Consensus
// Algorithm", extended version). It has the interface of the courses' labs. A
// service of your own imports package raft/node instead, which has members, TLS,
// linearizable reads and a log on disk.
//
// The pure state machine of package raft/core is the protocol. This package adds a
// clock, a network, a disk, and the interface of the courses: [Make],
// [Raft.Start], [Raft.GetState], [Raft.Snapshot], [ApplyMsg] and [Persister], over
// the ends of package labrpc.
//
//	Start, Snapshot                          applyCh
//	      |                                     ^
//	      v                                     |
//	+-----------+  Ready   +--------+   +--------------+
//	| raft/core | -------> | driver |   | applier      |
//	|  (lock)   | <------- | saver  |   | (own routine)|
//	+-----------+  Saved   +--------+   +--------------+
//	  ^  Step              |        |
//	  |                    v        v
//	RPC handlers       Storage    RPC calls, a goroutine each
//
// A service starts a server with [Make], proposes commands with [Raft.Start], and
// applies the messages of applyCh in order. Every server applies the same
// commands. Index 1 is the first command, and every index holds a command. [Open]
// starts a server on any [Storage], such as the bbolt file of package
// raft/boltstore.
//
// # Goroutines and locks
//
// Make starts the driver, the saver and the applier, and [Raft.Kill] ends them. The
// driver sends while the saver waits for the disk, so a slow disk costs a leader
// neither its followers nor their work. RPC handlers belong to the network, and
// return with the reply or after Kill. Each outgoing call has its own goroutine
// and ends with the answer of the network. One mutex guards the core. No goroutine
// holds the mutex while it waits for the disk, the network or applyCh.
package raft
