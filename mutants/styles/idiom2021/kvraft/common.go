package kvraft

import "log"

// Debug turns the debug prints on.
const Debug = false

// DPrintf prints if Debug is on.
func DPrintf(format string, a ...interface{}) {
	if Debug {
		log.Printf(format, a...)
	}
}

// Err is the outcome of an RPC.
type Err string

// The outcomes of RPCs.
const (
	OK             Err = "OK"
	ErrNoKey       Err = "ErrNoKey"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrTimeout     Err = "ErrTimeout"
)

// PutAppendArgs are the arguments of Put and Append.
type PutAppendArgs struct {
	Key       string
	Value     string
	Op        string // "Put" or "Append"
	ClientId  int64
	CommandId int
}

// PutAppendReply is the answer to Put and Append.
type PutAppendReply struct {
	Err Err
}

// GetArgs are the arguments of Get.
type GetArgs struct {
	Key       string
	ClientId  int64
	CommandId int
}

// GetReply is the answer to Get.
type GetReply struct {
	Err   Err
	Value string
}
