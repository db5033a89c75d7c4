// Package y2025 is the 2025 edition of the MIT 6.5840 labs. Each package below this
// directory has the name, the import path behind 6.5840/, and the interface of a
// package of the course. The implementations are thin layers over the project's Raft
// and replicated state machine.
//
//	6.5840/raftapi                   the interface of a Raft server
//	6.5840/raft1                     Raft (lab 3)
//	6.5840/kvsrv1, kvsrv1/rpc, lock  a key/value server with versions (lab 2)
//	6.5840/kvraft1/rsm               a replicated state machine (lab 4A)
//	6.5840/kvraft1                   the replicated key/value service (labs 4B, 4C)
//	6.5840/shardkv1/...              the sharded service and its controller (lab 5)
//	6.5840/tester1, kvtest1          the parts of the harness that the services use
//
// A course's files run here after a change of the import paths alone. The page
// docs/edition-2025.md has the commands.
package y2025
