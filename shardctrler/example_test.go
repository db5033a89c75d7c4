package shardctrler_test

import (
	"context"
	"errors"
	"fmt"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
)

// A configuration service of one server, for brevity, on a simulated network.
func Example() {
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	end := net.MakeEnd("clerk")
	net.Connect("clerk", "server")
	net.Enable("clerk", true)
	sc := shardctrler.StartServer([]*labrpc.ClientEnd{end}, 0, raft.MakePersister())
	defer sc.Kill()
	host := labrpc.MakeServer()
	host.AddService(labrpc.MakeService(sc))
	host.AddService(labrpc.MakeService(sc.Raft()))
	net.AddServer("server", host)

	ck := shardctrler.MakeClerk([]*labrpc.ClientEnd{end})
	ck.Join(map[int][]string{1: {"a", "b", "c"}})
	ck.Join(map[int][]string{2: {"d", "e", "f"}})
	ck.Move(9, 1)
	for num := range 4 {
		fmt.Println(num, ck.Query(num).Shards)
	}
	_, err := ck.LeaveGroups(context.Background(), []int{7})
	fmt.Println(errors.Is(err, shardctrler.ErrInvalid), err)
	// Output:
	// 0 [0 0 0 0 0 0 0 0 0 0]
	// 1 [1 1 1 1 1 1 1 1 1 1]
	// 2 [1 1 1 1 1 2 2 2 2 2]
	// 3 [1 1 1 1 1 2 2 2 2 1]
	// true shardctrler: invalid change: leave of group 7: the group is not a member
}
