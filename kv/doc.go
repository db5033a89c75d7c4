// Package kv is the key/value store that the services replicate: its operations,
// their results, and the store itself as a deterministic state machine.
// Nothing here knows of Raft or of a network; kvraft replicates one [Store],
// shardkv one for each shard.
//
// Every write gives the key a version, which is a number that rises with each
// write to the store and is never used twice. A write may demand the version
// that it found (compare-and-swap), with 0 for a key that is not there:
//
//	s := kv.NewStore(kv.Limits{})
//	r := s.Apply(kv.Put("k", "1"))                  // r.Version is 1
//	r = s.Apply(kv.Put("k", "2").IfVersion(r.Version)) // done: version 2
//	r = s.Apply(kv.Put("k", "3").IfVersion(1))      // r.Code is VersionMismatch
package kv
