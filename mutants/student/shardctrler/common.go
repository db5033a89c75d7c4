package shardctrler

// NShards is the number of shards.
const NShards = 10

// A Config assigns each shard to a group. Group 0 stands for no group.
type Config struct {
	Num    int              // of the configuration
	Shards [NShards]int     // the group of each shard
	Groups map[int][]string // the servers of each group
}

// Err is the outcome of a request.
type Err string

// The outcomes.
const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader" // ask another server
)

// OpArgs asks for one operation. Client and Seq identify the operation, so that a repeated
// request takes effect once.
type OpArgs struct {
	Kind    string           // "Join", "Leave", "Move" or "Query"
	Servers map[int][]string // of Join
	GIDs    []int            // of Leave
	Shard   int              // of Move
	GID     int              // of Move
	Num     int              // of Query
	Client  int64
	Seq     int64
}

// OpReply answers a request.
type OpReply struct {
	Err    Err
	Config Config // of Query
}
