// Package shardstore runs a store whose keys are spread over groups of replicas, on
// packages shardkv, shardctrler and raft/node.
//
//	part, err := shardstore.Start(shardstore.Config{
//		Host: host, Name: "n1", Members: members, Groups: 3, Network: network,
//	})
//	result, err := part.Do(ctx, "", kv.Put("key", "value"))
//
// A [Part] is a process's part of the store. The process has one host with one log, and
// the host has a replica of each group of shards and of the group of controllers. A
// [Client] reads, writes and changes the layout from any process. Servers and clients
// call one another over package labrpc, by names that do not depend on addresses. The
// [Network] of a process of its own is TCP with TLS. The network of a test is a simulated
// one, so the same code runs in virtual time.
//
// # Names
//
// "n1/2" is the server of group 2 in process n1, and "n1/controller" the server of the
// controllers. The configurations in the controllers' log have these names, so processes
// may restart with other addresses.
package shardstore
