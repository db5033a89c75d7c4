package shardkv_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// ShardCtrler is a controller that has given all shards to one group.
type ShardCtrler struct{}

func (ShardCtrler) Await(args *shardctrler.AwaitArgs, reply *clerk.Reply[[]shardctrler.Config]) {
	config := shardctrler.Config{Num: 1, Groups: map[int][]string{1: {"group"}}}
	for i := range config.Shards {
		config.Shards[i] = 1
	}
	*reply = clerk.Reply[[]shardctrler.Config]{Code: clerk.Done, Result: []shardctrler.Config{config}}
}

// ShardKV is a server whose clients' sessions have expired.
type ShardKV struct{}

func (ShardKV) Execute(args *clerk.Args[shardkv.Command], reply *clerk.Reply[shardkv.Result]) {
	reply.Code = clerk.Expired
}

// An expired session says that nothing was done by the last try. What an earlier
// one did, whose answer was lost, nobody knows.
func TestExpiredAfterALostAnswer(t *testing.T) {
	for _, lost := range []bool{false, true} {
		testkit.Run(t, func(t *testing.T) {
			net := labrpc.MakeNetworkSeed(testkit.Seed(t))
			defer func() { net.Cleanup(); time.Sleep(time.Second) }()
			for name, service := range map[string]any{"controller": ShardCtrler{}, "group": ShardKV{}} {
				host := labrpc.MakeServer()
				host.AddService(labrpc.MakeService(service))
				net.AddServer(name, host)
			}
			end := func(name string) *labrpc.ClientEnd {
				e := net.MakeEnd(name)
				net.Connect(name, name)
				net.Enable(name, true)
				return e
			}
			group := end("group")
			var lose atomic.Bool // the first answer of the group
			lose.Store(lost)
			net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
				if m.Reply && m.Server == "group" && lose.Swap(false) {
					return labrpc.Never()
				}
				return labrpc.Usual()
			})
			ck := shardkv.MakeClerk([]*labrpc.ClientEnd{end("controller")}, func(string) *labrpc.ClientEnd { return group })
			_, unsure, err := ck.DoAs(t.Context(), 7, 2, kv.Put("k", "v"))
			if !errors.Is(err, rsm.ErrSessionExpired) || unsure != lost {
				t.Errorf("answer lost: %t; unsure %t, %v; want ErrSessionExpired, and unsure if it was lost", lost, unsure, err)
			}
		})
	}
}
