package kvraft

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
	Kind   string // "Get", "Put" or "Append"
	Key    string
	Value  string
	Client int64
	Seq    int64
}

// OpReply answers a request.
type OpReply struct {
	Err   Err
	Value string
}
