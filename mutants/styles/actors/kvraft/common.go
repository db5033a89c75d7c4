package kvraft

// Command is an operation of a client, in an RPC and in the log.
type Command struct {
	Kind   string // "get", "put" or "append"
	Key    string
	Value  string
	Clerk  string
	Number uint64
}

// Answer is the answer to a command.
type Answer struct {
	Done  bool // the command has been applied
	Value string
}
