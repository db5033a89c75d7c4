package shardctrler

// NShards is the number of shards.
const NShards = 10

// Config assigns the shards to groups. Group 0 is nobody.
type Config struct {
	Num    int
	Shards [NShards]int
	Groups map[int][]string
}

// Err is the outcome of an RPC.
type Err string

// The outcomes.
const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader"
)

// Request numbers the commands of a client.
type Request struct {
	Client int64
	Number int
}

// JoinArgs add groups.
type JoinArgs struct {
	Req     Request
	Servers map[int][]string
}

// LeaveArgs remove groups.
type LeaveArgs struct {
	Req  Request
	GIDs []int
}

// MoveArgs give a shard to a group.
type MoveArgs struct {
	Req   Request
	Shard int
	GID   int
}

// QueryArgs ask for a configuration.
type QueryArgs struct {
	Req Request
	Num int
}

// Reply answers each of the commands. Only Query fills Config.
type Reply struct {
	Err    Err
	Config Config
}
