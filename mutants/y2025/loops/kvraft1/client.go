package kvraft

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// Clerk is a client.
type Clerk struct {
	clnt    *tester.Clnt
	servers []string
	last    int // the server that answered last
}

func MakeClerk(clnt *tester.Clnt, servers []string) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, servers: servers}
}

// each calls try with the servers in turn until one answers, and returns the number of
// calls.
func (ck *Clerk) each(try func(server string) rpc.Err) (err rpc.Err, calls int) {
	for {
		for range ck.servers {
			calls++
			if err := try(ck.servers[ck.last]); err != rpc.ErrWrongLeader {
				return err, calls
			}
			ck.last = (ck.last + 1) % len(ck.servers)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	var r rpc.GetReply
	err, _ := ck.each(func(server string) rpc.Err {
		r = rpc.GetReply{}
		if !ck.clnt.Call(server, "KVServer.Get", &rpc.GetArgs{Key: key}, &r) {
			return rpc.ErrWrongLeader
		}
		return r.Err
	})
	return r.Value, r.Version, err
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	err, calls := ck.each(func(server string) rpc.Err {
		var r rpc.PutReply
		if !ck.clnt.Call(server, "KVServer.Put", &rpc.PutArgs{Key: key, Value: value, Version: version}, &r) {
			return rpc.ErrWrongLeader
		}
		return r.Err
	})
	if err == rpc.ErrVersion && calls > 1 {
		return rpc.ErrMaybe
	}
	return err
}
