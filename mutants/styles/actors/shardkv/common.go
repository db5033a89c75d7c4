package shardkv

import (
	"maps"

	"raftlab/shardctrler"
)

// Outcome says how a request ended.
type Outcome int

// The outcomes.
const (
	Retry Outcome = iota // ask another server, or later
	Done
	WrongGroup
)

// Command is an operation of a client.
type Command struct {
	Kind   string // "get", "put" or "append"
	Key    string
	Value  string
	Clerk  string
	Number uint64
}

// Answer is the answer to a request.
type Answer struct {
	Outcome Outcome
	Value   string
}

// Content has the values of a shard, and the last number of each writing clerk.
type Content struct {
	Values map[string]string
	Seen   map[string]uint64
}

func newContent() Content {
	return Content{make(map[string]string), make(map[string]uint64)}
}

func (c Content) copy() Content {
	n := newContent()
	maps.Copy(n.Values, c.Values)
	maps.Copy(n.Seen, c.Seen)
	return n
}

// Parcel names a shard on the way to a group in a configuration.
type Parcel struct {
	Shard int
	Num   int
}

// Delivery hands a shard over.
type Delivery struct {
	Parcel  Parcel
	Content Content
}

func key2shard(key string) int {
	if key == "" {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}
