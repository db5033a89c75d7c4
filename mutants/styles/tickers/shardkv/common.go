package shardkv

import "raftlab/shardctrler"

type Err string

const (
	OK             Err = "OK"
	ErrWrongGroup  Err = "ErrWrongGroup"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
	ErrNotYet      Err = "ErrNotYet"
)

type Args struct {
	Op     string // "Get", "Put" or "Append"
	Key    string
	Value  string
	Client int64
	Seq    int64
}

type Reply struct {
	Err   Err
	Value string
}

// A Status is the state of a shard in a group.
type Status int

const (
	Elsewhere Status = iota
	Serving
	Pulling    // is ours, and the content is missing
	Leaving    // was ours, and the next owner has not taken the content yet
	Collecting // is served, and the last owner has not been told to forget it
)

type LastOp struct {
	Seq   int64
	Value string
}

type Shard struct {
	Status Status
	Data   map[string]string
	Table  map[int64]LastOp
}

// MoveArgs name shards that move to a group in configuration Num.
type MoveArgs struct {
	Num    int
	Shards []int
}

type PullReply struct {
	Err     Err
	Content map[int]Shard
}

type ForgetReply struct {
	Err Err
}

func key2shard(key string) int {
	if key == "" {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}

func emptyShard(status Status) Shard {
	return Shard{Status: status, Data: map[string]string{}, Table: map[int64]LastOp{}}
}

func (s Shard) clone() Shard {
	c := emptyShard(s.Status)
	for k, v := range s.Data {
		c.Data[k] = v
	}
	for k, v := range s.Table {
		c.Table[k] = v
	}
	return c
}
