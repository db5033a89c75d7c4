package shardkv

import "raftlab/shardctrler"

type Kind int8

const (
	get Kind = iota
	put
	add
)

type Code int8

const (
	refused Code = iota // not the leader, too early, or too late
	done
	wrongGroup
)

// Request is a client's request, and its command in the log.
type Request struct {
	Kind   Kind
	Key    string
	Value  string
	Client int64
	Seq    int64
}

type Reply struct {
	Code  Code
	Value string
}

// The other commands of the log.
type (
	// NewConfig makes the group go on to a config.
	NewConfig struct {
		Config shardctrler.Config
	}
	// Arrival brings a shard from its old owner.
	Arrival struct {
		Num   int // of the config that moves the shard
		Shard int
		Box   Box
	}
	// Departure drops a shard that the new owner has.
	Departure struct {
		Num   int
		Shard int
	}
	// Nothing lets a leader commit the entries of earlier terms.
	Nothing struct {
		Term int
	}
)

func key2shard(key string) int {
	if len(key) == 0 {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}
