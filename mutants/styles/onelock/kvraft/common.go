package kvraft

type Err string

const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
)

type PutAppendArgs struct {
	Key      string
	Value    string
	Op       string
	ClientId int64
	Seq      int
}

type PutAppendReply struct {
	Err Err
}

type GetArgs struct {
	Key      string
	ClientId int64
	Seq      int
}

type GetReply struct {
	Err   Err
	Value string
}
