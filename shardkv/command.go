package shardkv

import (
	"fmt"

	"raftlab/kv"
	"raftlab/shardctrler"
)

// Kind is what a command does.
type Kind uint8

const (
	// KindOp carries out an operation on a shard.
	KindOp Kind = iota
	// KindInstall hands a shard over to its new owner.
	KindInstall

	// What follows is a group's own, and refused when it comes over the network.

	kindConfig // take the next configuration
	kindRemove // delete a shard that its new owner has
)

// Command is a command of the service. Which fields count depends on Kind.
type Command struct {
	Kind  Kind
	Shard int
	Op    kv.Op // of Op
	// Num is, of Install and remove, the configuration that makes the receiver
	// the shard's owner; of config, the configuration that the group has.
	Num    int
	Data   []byte              // of Install: the shard, as this package encodes it
	Config *shardctrler.Config // of config: the one to take
}

// Result is a command's result.
type Result struct {
	Status Status
	KV     kv.Result // of Op
}

// Status says whether a command was carried out. Anything but Served has
// changed nothing, and the command can be sent again.
type Status uint8

const (
	// Served: it was.
	Served Status = iota
	// WrongGroup: the group does not own the shard, as far as it knows.
	WrongGroup
	// Arriving: the group owns the shard but does not have it yet; or, of an
	// Install, is to own the shard and does not know it yet.
	Arriving
	// WrongShard: the shard is not one, or not the key's.
	WrongShard
)

// String returns the status in words.
func (s Status) String() string {
	switch s {
	case Served:
		return "served"
	case WrongGroup:
		return "wrong group"
	case Arriving:
		return "shard is on its way"
	case WrongShard:
		return "not the key's shard"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// key2shard returns the shard that a key belongs to: its first byte modulo the
// number of shards; 0 for "".
func key2shard(key string) int {
	if key == "" {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}

// ShardOf returns the shard that a key belongs to.
func ShardOf(key string) int { return key2shard(key) }

// wellFormed says whether a command names a shard, and the one of its keys.
func (c *Command) wellFormed() bool {
	if c.Shard < 0 || c.Shard >= shardctrler.NShards {
		return false
	}
	// A scan's key is where it begins, in whichever shard.
	return c.Kind != KindOp || c.Op.Kind == kv.KindScan || key2shard(c.Op.Key) == c.Shard
}
