package kvsrv

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// Clerk is a client.
type Clerk struct {
	clnt   *tester.Clnt
	server string
}

func MakeClerk(clnt *tester.Clnt, server string) kvtest.IKVClerk {
	return &Clerk{clnt, server}
}

// until calls a method until a reply arrives, and returns the number of calls.
func until[A, R any](ck *Clerk, method string, args A) (reply R, calls int) {
	pause := 10 * time.Millisecond
	for calls = 1; ; calls++ {
		var r R
		if ck.clnt.Call(ck.server, method, &args, &r) {
			return r, calls
		}
		time.Sleep(pause)
		pause = min(2*pause, 200*time.Millisecond)
	}
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	r, _ := until[rpc.GetArgs, rpc.GetReply](ck, "KVServer.Get", rpc.GetArgs{Key: key})
	return r.Value, r.Version, r.Err
}

func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err {
	r, calls := until[rpc.PutArgs, rpc.PutReply](ck, "KVServer.Put", rpc.PutArgs{Key: key, Value: value, Version: version})
	if calls > 1 && r.Err == rpc.ErrVersion {
		return rpc.ErrMaybe
	}
	return r.Err
}
