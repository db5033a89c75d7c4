package shardctrler

const NShards = 10

type Config struct {
	Num    int
	Shards [NShards]int
	Groups map[int][]string
}

type Err string

const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader"
)

// ID identifies an operation.
type ID struct {
	Client int64
	Seq    int64
}

type JoinArgs struct {
	ID      ID
	Servers map[int][]string
}

type LeaveArgs struct {
	ID   ID
	GIDs []int
}

type MoveArgs struct {
	ID    ID
	Shard int
	GID   int
}

type QueryArgs struct {
	ID  ID
	Num int
}

type Reply struct {
	Err    Err
	Config Config
}
