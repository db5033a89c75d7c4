package shardkv

import "raftlab/shardctrler"

type Err string

const (
	OK             Err = "OK"
	ErrWrongGroup  Err = "ErrWrongGroup"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrNotReady    Err = "ErrNotReady"
)

type OpArgs struct {
	Kind     string // Get, Put or Append
	Key      string
	Value    string
	ClientId int64
	Seq      int
}

type OpReply struct {
	Err   Err
	Value string
}

// PullArgs requests the shards that the caller has gained in config Num.
type PullArgs struct {
	Num    int
	Shards []int
}

type PullReply struct {
	Err     Err
	Data    map[int]map[string]string
	LastSeq map[int64]int
}

// DeleteArgs confirms the arrival of shards gained in config Num.
type DeleteArgs struct {
	Num    int
	Shards []int
}

type DeleteReply struct {
	Err Err
}

func key2shard(key string) int {
	if key == "" {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}
