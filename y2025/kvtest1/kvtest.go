// Package kvtest has the interface of the clerks of all key/value services.
package kvtest

import (
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// IKVClerk is a client of a key/value service with versions.
type IKVClerk interface {
	// Get returns a key's value and version, or rpc.ErrNoKey. Get retries for ever.
	Get(key string) (string, rpc.Tversion, rpc.Err)
	// Put sets a key's value if the key has this version, and raises the version by
	// one. Version 0 stands for a missing key. The error is rpc.ErrVersion or
	// rpc.ErrNoKey if the Put had no effect, and rpc.ErrMaybe if the Put may have taken
	// effect.
	Put(key string, value string, version rpc.Tversion) rpc.Err
}

// RandValue returns a random value of n characters.
func RandValue(n int) string { return tester.Randstring(n) }
