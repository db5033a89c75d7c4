// Package raft is the interface of the courses' labs. A service of your own imports
// package raft/node instead. Package raft/node has members, TLS, linearizable reads and
// a log on disk.
//
// Package raft replicates a log of commands over servers. A minority of the servers may
// fail (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
// extended version). A service starts a server with [Make], proposes commands with
// [Raft.Start], and applies the messages of applyCh in order. Every server applies
// the same commands. Index 1 is the first command, and every index holds a command.
//
// # How a server is made
//
// Package raft/core is the protocol, and package raft/node gives the protocol its
// time, its disk and its network. This package adapts raft/node to the labs:
//
//		  Start, GetState, Snapshot      applyCh
//		            |                       ^
//		            v                       |
//		+--------- Raft ----------------- service ---------+
//		|                 raft/node.Node                   |
//		+---- storage ------------------ transport --------+
//		         |                         |    ^
//		         v                         v    |
//		     Persister              labrpc ends  RPC handlers
//
//	  - service.go is the state machine. It decodes commands with labgob and puts them
//	    on applyCh.
//	  - transport.go sends each message as an RPC of Figure 2. A reply travels in the
//	    reply of its RPC.
//	  - storage.go keeps the log, the term and the vote in a [Persister], in the compact
//	    form of encodedlog.go.
//
// # Goroutines and locks
//
// [Raft.Kill] ends the goroutines of the node. An RPC handler belongs to the network,
// runs the protocol itself, and returns with the reply or after Kill. Each outgoing
// call has a goroutine of its own. The goroutine ends with the answer of the network.
// No goroutine holds a lock while waiting for the network or for the reader of applyCh,
// so the reader may call any method.
package raft
