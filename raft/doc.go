// Package raft replicates a log of commands over servers of which a minority
// may fail (Ongaro and Ousterhout, "In Search of an Understandable Consensus
// Algorithm", extended version).
//
// The protocol itself is the pure state machine of package raft/core. This
// package gives it a clock, a network and a disk, and the face that courses
// know: [Make], [Raft.Start], [Raft.GetState], [Raft.Snapshot], [ApplyMsg] and
// [Persister], over the ends of package labrpc.
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
// A service starts a server with [Make], proposes commands with [Raft.Start],
// and applies what comes out of its applyCh, in order; the same commands come
// out of every server's. Index 1 is the first command, and no index is taken by
// anything but a command. [Open] does the same over any [Storage], such as the
// bbolt file of package raft/boltstore.
//
// # Goroutines and locks
//
// The driver, the saver and the applier are started by Make and ended by
// [Raft.Kill]. The driver sends while the saver is at the disk, so a slow disk
// costs a leader neither its followers nor their work. RPC
// handlers belong to the network and return when answered or killed; each
// outgoing call has a goroutine of its own that ends when the network answers.
// One mutex guards the core, and no goroutine blocks while it holds it: not on
// the disk, not on the network, not on applyCh.
package raft
