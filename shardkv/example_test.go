package shardkv_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Two groups and a controller run on a simulated network, with one server each for
// brevity.
func Example() {
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	var made atomic.Int64
	dial := func(name string) *labrpc.ClientEnd {
		id := fmt.Sprintf("%d to %s", made.Add(1), name)
		end := net.MakeEnd(id)
		net.Connect(id, name)
		net.Enable(id, true)
		return end
	}
	host := func(name string, services ...any) {
		server := labrpc.MakeServer()
		for _, s := range services {
			server.AddService(labrpc.MakeService(s))
		}
		net.AddServer(name, server)
	}

	ctrl := shardctrler.StartServer([]*labrpc.ClientEnd{dial("ctrl")}, 0, raft.MakePersister())
	defer ctrl.Kill()
	host("ctrl", ctrl, ctrl.Raft())
	ctrlers := []*labrpc.ClientEnd{dial("ctrl")}
	for gid, name := range map[int]string{1: "one", 2: "two"} {
		kv := shardkv.StartServer([]*labrpc.ClientEnd{dial(name)}, 0, raft.MakePersister(), 1000, gid, ctrlers, dial)
		defer kv.Kill()
		host(name, kv, shardkv.RaftOf(kv))
	}
	admin := shardctrler.MakeClerk(ctrlers)
	admin.Join(map[int][]string{1: {"one"}, 2: {"two"}})

	ck := shardkv.MakeClerk(ctrlers, dial)
	ck.Put("alice", "90")
	ck.Put("bob", "110")
	admin.Leave([]int{1}) // the shards of group 1 move to group 2
	result, err := ck.Txn(context.Background(), shardkv.Txn{
		If:   []shardkv.Compare{shardkv.CompareValue("alice", shardkv.Equal, "90")},
		Then: []kv.Op{kv.Put("alice", "100"), kv.Put("bob", "100"), kv.Get("bob")},
	})
	fmt.Println(result.Succeeded, result.Results[2].Value, err)
	fmt.Println(ck.Get("alice"), ck.Get("bob"), ck.Get("carol") == "")
	// Output:
	// true 100 <nil>
	// 100 100 true
}
