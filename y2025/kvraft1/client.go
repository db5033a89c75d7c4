// Package kvraft is a replicated key/value service, whose keys have versions.
package kvraft

import (
	"raftlab/y2025/internal/group"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// Clerk is a client of the service. Any goroutine may call the methods.
type Clerk struct{ servers *group.Servers }

// MakeClerk returns a clerk of the service at servers, in any order.
func MakeClerk(clnt *tester.Clnt, servers []string) kvtest.IKVClerk {
	return &Clerk{servers: group.New(clnt, servers)}
}

// Get returns a key's value and version, or [rpc.ErrNoKey]. Get retries for ever.
func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for {
		if a := ck.servers.Get(key); a.Answered {
			return a.Reply.Value, a.Reply.Version, a.Reply.Err
		}
	}
}

// Put sets a key's value if the key has this version. Put retries for ever. If an
// earlier attempt is open when a leader refuses a later one, the error is
// [rpc.ErrMaybe].
func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	args := &rpc.PutArgs{Key: key, Value: value, Version: version}
	for open := false; ; {
		a := ck.servers.Put(args)
		open = open || a.Open
		switch {
		case a.Answered && open && a.Reply.Err != rpc.OK:
			return rpc.ErrMaybe
		case a.Answered:
			return a.Reply.Err
		}
	}
}
