package kvraft

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

type Clerk struct {
	clnt    *tester.Clnt
	servers []string
	leader  int
}

func MakeClerk(clnt *tester.Clnt, servers []string) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, servers: servers}
}

func (ck *Clerk) next() {
	ck.leader = (ck.leader + 1) % len(ck.servers)
	time.Sleep(20 * time.Millisecond)
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	for {
		reply := rpc.GetReply{}
		ok := ck.clnt.Call(ck.servers[ck.leader], "KVServer.Get", &rpc.GetArgs{Key: key}, &reply)
		if ok && reply.Err != rpc.ErrWrongLeader {
			return reply.Value, reply.Version, reply.Err
		}
		ck.next()
	}
}

func (ck *Clerk) Put(key string, value string, version rpc.Tversion) rpc.Err {
	args := rpc.PutArgs{Key: key, Value: value, Version: version}
	for first := true; ; first = false {
		reply := rpc.PutReply{}
		ok := ck.clnt.Call(ck.servers[ck.leader], "KVServer.Put", &args, &reply)
		if ok && reply.Err == rpc.ErrVersion && !first {
			return rpc.ErrMaybe
		}
		if ok && reply.Err != rpc.ErrWrongLeader {
			return reply.Err
		}
		ck.next()
	}
}
