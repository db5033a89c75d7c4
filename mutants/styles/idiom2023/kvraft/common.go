package kvraft

// Err is the outcome of an RPC.
type Err string

// The outcomes.
const (
	OK             Err = "OK"
	ErrNoKey       Err = "ErrNoKey"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
)

// PutAppendArgs are the arguments of Put and Append.
type PutAppendArgs struct {
	Key      string
	Value    string
	Op       string
	ClientID int64
	Seq      int64
}

// PutAppendReply is the answer to Put and Append.
type PutAppendReply struct {
	Err Err
}

// GetArgs are the arguments of Get.
type GetArgs struct {
	Key      string
	ClientID int64
	Seq      int64
}

// GetReply is the answer to Get.
type GetReply struct {
	Err   Err
	Value string
}
