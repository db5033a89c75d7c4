// Package kvsrv has one goroutine that owns the map. Handlers send it functions.
package kvsrv

import (
	"sync"

	"raftlab/labrpc"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

type record struct {
	value   string
	version rpc.Tversion
}

// KVServer is the server.
type KVServer struct {
	calls chan func(map[string]record)
	quit  chan struct{}
	once  sync.Once
}

// MakeKVServer starts the goroutine.
func MakeKVServer() *KVServer {
	kv := &KVServer{calls: make(chan func(map[string]record)), quit: make(chan struct{})}
	go func() {
		records := make(map[string]record)
		for {
			select {
			case f := <-kv.calls:
				f(records)
			case <-kv.quit:
				return
			}
		}
	}()
	return kv
}

// do lets the goroutine call f, and returns when f has returned or the server is killed.
func (kv *KVServer) do(f func(map[string]record)) {
	done := make(chan struct{})
	select {
	case kv.calls <- func(records map[string]record) { f(records); close(done) }:
		<-done
	case <-kv.quit:
	}
}

func (kv *KVServer) Get(args *rpc.GetArgs, reply *rpc.GetReply) {
	kv.do(func(records map[string]record) {
		r, ok := records[args.Key]
		if !ok {
			reply.Err = rpc.ErrNoKey
			return
		}
		*reply = rpc.GetReply{Value: r.value, Version: r.version, Err: rpc.OK}
	})
}

func (kv *KVServer) Put(args *rpc.PutArgs, reply *rpc.PutReply) {
	kv.do(func(records map[string]record) {
		switch r, ok := records[args.Key]; {
		case r.version == args.Version:
			records[args.Key] = record{args.Value, r.version + 1}
			reply.Err = rpc.OK
		case ok:
			reply.Err = rpc.ErrVersion
		default:
			reply.Err = rpc.ErrNoKey
		}
	})
}

// Kill ends the goroutine.
func (kv *KVServer) Kill() { kv.once.Do(func() { close(kv.quit) }) }

func StartKVServer(_ []*labrpc.ClientEnd, _ tester.Tgid, _ int, _ *tester.Persister) []tester.IService {
	return []tester.IService{MakeKVServer()}
}
