package kvraft_test

import (
	"context"
	"fmt"

	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/raft"
)

// Three servers and a clerk on a simulated network.
func Example() {
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	ends := func(from string) []*labrpc.ClientEnd {
		ends := make([]*labrpc.ClientEnd, 3)
		for to := range ends {
			name := fmt.Sprint(from, " to ", to)
			ends[to] = net.MakeEnd(name)
			net.Connect(name, to)
			net.Enable(name, true)
		}
		return ends
	}
	for me := range 3 {
		persister := raft.MakePersister()
		kv := kvraft.StartKVServer(ends(fmt.Sprint(me)), me, persister, -1)
		defer kv.Kill()
		server := labrpc.MakeServer()
		server.AddService(labrpc.MakeService(kv))
		server.AddService(labrpc.MakeService(kvraft.RaftOf(kv)))
		net.AddServer(me, server)
	}

	ck := kvraft.MakeClerk(ends("clerk"))
	ck.Put("greeting", "hello")
	ck.Append("greeting", ", world")
	fmt.Println(ck.Get("greeting"))

	ctx := context.Background()
	found, _ := ck.PutIf(ctx, "greeting", "goodbye", 1)
	fmt.Println(found.Code)
	done, _ := ck.PutIf(ctx, "greeting", "goodbye", found.Version)
	fmt.Println(done.Code)
	// Output:
	// hello, world
	// version mismatch
	// ok
}
