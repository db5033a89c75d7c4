package shardkv_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// ShardCtrler is a controller that assigns all shards to one group.
type ShardCtrler struct{}

func (ShardCtrler) Await(args *shardctrler.AwaitArgs, reply *clerk.Reply[[]shardctrler.Config]) {
	config := shardctrler.Config{Num: 1, Groups: map[int][]string{1: {"group"}}}
	for i := range config.Shards {
		config.Shards[i] = 1
	}
	*reply = clerk.Reply[[]shardctrler.Config]{Code: clerk.Done, Result: []shardctrler.Config{config}}
}

// ShardKV is a server where all sessions have expired.
type ShardKV struct{}

func (ShardKV) Execute(args *clerk.Args[shardkv.Command], reply *clerk.Reply[shardkv.Result]) {
	reply.Code = clerk.Expired
}

// An expired session means that the last attempt did nothing. An earlier attempt whose
// answer was lost may have taken effect.
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
			require.ErrorIs(t, err, rsm.ErrSessionExpired)
			require.Equal(t, lost, unsure, "unsure after a lost answer")
		})
	}
}
