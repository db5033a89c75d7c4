package kvraft

type Err string

const (
	OK             Err = "OK"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
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
