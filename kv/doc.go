// Package kv is the key/value store of the services. It defines the operations, the
// results, and the store as a deterministic state machine. The package knows
// neither Raft nor a network. Package kvraft replicates one [Store], and package
// shardkv one for each shard.
//
// Every write gives the key a version. Versions rise with each write to the store
// and are never used twice. A write may require a version of the key
// (compare-and-swap). Version 0 stands for a missing key.
//
//	s := kv.NewStore(kv.Limits{})
//	r := s.Apply(kv.Put("k", "1"))                  // r.Version is 1
//	r = s.Apply(kv.Put("k", "2").IfVersion(r.Version)) // done: version 2
//	r = s.Apply(kv.Put("k", "3").IfVersion(1))      // r.Code is VersionMismatch
package kv
