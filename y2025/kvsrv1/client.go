// Package kvsrv is a key/value server in one process, whose keys have versions.
package kvsrv

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// retryPause is the time between two attempts of an operation.
const retryPause = 20 * time.Millisecond

// Clerk is a client of one server. Any goroutine may call the methods.
type Clerk struct {
	clnt   *tester.Clnt
	server string
}

// MakeClerk returns a clerk of a server.
func MakeClerk(clnt *tester.Clnt, server string) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, server: server}
}

// Get returns a key's value and version, or [rpc.ErrNoKey]. Get retries for ever.
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for {
		var reply rpc.GetReply
		if ck.clnt.Call(ck.server, "KVServer.Get", &rpc.GetArgs{Key: key}, &reply) {
			return reply.Value, reply.Version, reply.Err
		}
		time.Sleep(retryPause)
	}
}

// Put sets a key's value if the key has this version. Put retries for ever. If a
// retry finds another version, an earlier attempt may be the reason, and the error is
// [rpc.ErrMaybe].
func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err {
	args := &rpc.PutArgs{Key: key, Value: value, Version: version}
	for retry := false; ; retry = true {
		var reply rpc.PutReply
		if ck.clnt.Call(ck.server, "KVServer.Put", args, &reply) {
			if retry && reply.Err == rpc.ErrVersion {
				return rpc.ErrMaybe
			}
			return reply.Err
		}
		time.Sleep(retryPause)
	}
}
