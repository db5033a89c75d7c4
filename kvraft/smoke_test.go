package kvraft_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/raft"
)

func TestSmoke(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		net := labrpc.MakeNetworkSeed(testkit.Seed(t))
		n := 3
		var kvs []*kvraft.KVServer
		mk := func(from string) []*labrpc.ClientEnd {
			ends := make([]*labrpc.ClientEnd, n)
			for j := range ends {
				name := fmt.Sprintf("%s-%d", from, j)
				ends[j] = net.MakeEnd(name)
				net.Connect(name, j)
				net.Enable(name, true)
			}
			return ends
		}
		for i := 0; i < n; i++ {
			kv := kvraft.StartKVServer(mk(fmt.Sprint(i)), i, raft.MakePersister(), 1000)
			srv := labrpc.MakeServer()
			srv.AddService(labrpc.MakeService(kv))
			srv.AddService(labrpc.MakeService(kvraft.RaftOf(kv)))
			net.AddServer(i, srv)
			kvs = append(kvs, kv)
		}
		ck := kvraft.MakeClerk(mk("ck"))
		start := time.Now()
		ck.Put("a", "1")
		t.Log("first", time.Since(start))
		start = time.Now()
		for range 1000 {
			ck.Append("a", "x")
		}
		t.Log("1000 appends", time.Since(start))
		if got := ck.Get("a"); len(got) != 1001 {
			t.Fatal(len(got))
		}
		r, err := ck.Scan(context.Background(), "", "", 0)
		t.Log(len(r.Pairs), err)
		t.Log(ck.Close(context.Background()))
		for _, kv := range kvs {
			t.Logf("%+v", kv.Status())
			kv.Kill()
			kv.Wait()
		}
		net.Cleanup()
	})
}
