package shardkv

// Err is the outcome of an RPC.
type Err string

// The outcomes.
const (
	OK             Err = "OK"
	ErrNoKey       Err = "ErrNoKey"
	ErrWrongGroup  Err = "ErrWrongGroup"
	ErrWrongLeader Err = "ErrWrongLeader"
	ErrNotReady    Err = "ErrNotReady"
)

// CommandArgs are the arguments of a client's command.
type CommandArgs struct {
	Kind     string // "Get", "Put" or "Append"
	Key      string
	Value    string
	ClientID int64
	Seq      int64
}

// CommandReply is the answer to a client.
type CommandReply struct {
	Err   Err
	Value string
}

// Shard is the content of a shard, with the last command of each of its clients.
type Shard struct {
	Data    map[string]string
	LastSeq map[int64]int64
}

// Ticket names a shard that changed its group with a configuration.
type Ticket struct {
	Config int
	Shard  int
}

// FetchReply has a shard that has left the answering group.
type FetchReply struct {
	Err   Err
	Shard Shard
}

// DropReply confirms that a shard is deleted.
type DropReply struct {
	Err Err
}
