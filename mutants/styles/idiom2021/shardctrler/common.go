package shardctrler

// NShards is the number of shards.
const NShards = 10

// Config assigns the shards to groups.
type Config struct {
	Num    int
	Shards [NShards]int
	Groups map[int][]string
}

// Err is the outcome of an RPC.
type Err string

// The outcomes of RPCs.
const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
)

// CommandArgs are the arguments of each operation, with the fields that the operation
// needs.
type CommandArgs struct {
	Op        string           // "Join", "Leave", "Move" or "Query"
	Servers   map[int][]string // of Join
	GIDs      []int            // of Leave
	Shard     int              // of Move
	GID       int              // of Move
	Num       int              // of Query
	ClientId  int64
	CommandId int
}

// CommandReply is the answer to an operation.
type CommandReply struct {
	Err    Err
	Config Config
}
