package kvsrv

import (
	"time"

	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

type Clerk struct {
	clnt   *tester.Clnt
	server string
}

func MakeClerk(clnt *tester.Clnt, server string) kvtest.IKVClerk {
	return &Clerk{clnt: clnt, server: server}
}

func (ck *Clerk) Get(key string) (string, rpc.Tversion, rpc.Err) {
	args := rpc.GetArgs{Key: key}
	reply := rpc.GetReply{}
	for !ck.clnt.Call(ck.server, "KVServer.Get", &args, &reply) {
		time.Sleep(100 * time.Millisecond)
		reply = rpc.GetReply{}
	}
	return reply.Value, reply.Version, reply.Err
}

func (ck *Clerk) Put(key, value string, version rpc.Tversion) rpc.Err {
	args := rpc.PutArgs{Key: key, Value: value, Version: version}
	reply := rpc.PutReply{}
	first := true
	for !ck.clnt.Call(ck.server, "KVServer.Put", &args, &reply) {
		first = false
		time.Sleep(100 * time.Millisecond)
		reply = rpc.PutReply{}
	}
	if !first && reply.Err == rpc.ErrVersion {
		return rpc.ErrMaybe
	}
	return reply.Err
}
