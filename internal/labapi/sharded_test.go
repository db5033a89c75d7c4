package labapi_test

import (
	"reflect"
	"testing"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// The signatures of 4A and 4B.
var (
	_ func([]*labrpc.ClientEnd, int, *raft.Persister) *shardctrler.ShardCtrler = shardctrler.StartServer
	_ interface {
		Kill()
		Raft() *raft.Raft
	} = (*shardctrler.ShardCtrler)(nil)
	_ func([]*labrpc.ClientEnd) *shardctrler.Clerk = shardctrler.MakeClerk
	_ interface {
		Query(num int) shardctrler.Config
		Join(servers map[int][]string)
		Leave(gids []int)
		Move(shard int, gid int)
	} = (*shardctrler.Clerk)(nil)
	_                          = shardctrler.Config{Num: int(0), Shards: [shardctrler.NShards]int{}, Groups: map[int][]string(nil)}
	_ [shardctrler.NShards]int = [10]int{}

	_ func([]*labrpc.ClientEnd, int, *raft.Persister, int, int, []*labrpc.ClientEnd, func(string) *labrpc.ClientEnd) *shardkv.ShardKV = shardkv.StartServer
	_ interface{ Kill() }                                                                                                             = (*shardkv.ShardKV)(nil)
	_ func([]*labrpc.ClientEnd, func(string) *labrpc.ClientEnd) *shardkv.Clerk                                                        = shardkv.MakeClerk
	_ interface {
		Get(key string) string
		Put(key string, value string)
		Append(key string, value string)
	} = (*shardkv.Clerk)(nil)
)

// A harness, which is compiled into the packages, reaches for the field rf.
func TestShardedServersHaveTheirRaft(t *testing.T) {
	for _, server := range []any{shardctrler.ShardCtrler{}, shardkv.ShardKV{}} {
		typ := reflect.TypeOf(server)
		if f, ok := typ.FieldByName("rf"); !ok || f.Type != reflect.TypeFor[*raft.Raft]() {
			t.Errorf("%v has no field rf *raft.Raft", typ)
		}
	}
}
