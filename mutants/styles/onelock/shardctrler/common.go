package shardctrler

const NShards = 10

// Config assigns the shards to groups. No group serves the shards of group 0.
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

type Session struct {
	ClientId int64
	Seq      int
}

type JoinArgs struct {
	Session
	Servers map[int][]string
}

type LeaveArgs struct {
	Session
	GIDs []int
}

type MoveArgs struct {
	Session
	Shard int
	GID   int
}

type QueryArgs struct {
	Session
	Num int
}

type ChangeReply struct {
	Err Err
}

type QueryReply struct {
	Err    Err
	Config Config
}
