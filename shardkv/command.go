package shardkv

import (
	"fmt"
	"slices"

	"raftlab/kv"
	"raftlab/shardctrler"
)

// Kind is what a command does.
type Kind uint8

const (
	// KindOp carries out an operation on a shard.
	KindOp Kind = iota
	// KindTxn carries out a transaction, of which the shard is the coordinator.
	KindTxn
	// KindPrepare and KindFinish are a coordinator's, to the participants in a
	// transaction.
	KindPrepare
	KindFinish
	// KindInstall hands a shard over to its new owner.
	KindInstall

	// What follows is a group's own, and refused when it comes over the network.

	kindConfig // take the next configuration
	kindRemove // delete a shard that its new owner has
	kindDecide // note the outcome of a transaction
	kindForget // forget a transaction that is over
)

// Command is a command of the service. Which fields count depends on Kind.
type Command struct {
	Kind  Kind
	Shard int
	Op    kv.Op // of Op
	// Num is, of Install and remove, the configuration that makes the receiver
	// the shard's owner; of config, the configuration that the group has.
	Num    int
	Piece  *Piece              // of Install
	Config *shardctrler.Config // of config: the one to take
	Txn    *Txn                // of Txn
	Step   *Step               // of Prepare, Finish, decide and forget
}

// Result is a command's result.
type Result struct {
	Status Verdict
	KV     kv.Result  // of Op
	Txn    *TxnResult // of Txn
	Vote   *Ballot    // of Prepare
}

// Verdict says whether a command was carried out. Anything but Served has
// changed nothing, and the command can be sent again.
type Verdict uint8

const (
	// Served: it was.
	Served Verdict = iota
	// WrongGroup: the group does not own the shard, as far as it knows.
	WrongGroup
	// Arriving: the group owns the shard but does not have it yet; or, of an
	// Install, is to own the shard and does not know it yet.
	Arriving
	// Locked: a transaction that is under way has the keys.
	Locked
	// Pending: the transaction has begun; ask again.
	Pending
	// Over: the transaction was over before.
	Over
	// Partial: a piece of a shard is here, and the next one is wanted.
	Partial
	// Malformed: the command is not one that a clerk or a group sends.
	Malformed
)

// String returns the status in words.
func (v Verdict) String() string {
	switch v {
	case Served:
		return "served"
	case WrongGroup:
		return "wrong group"
	case Arriving:
		return "shard is on its way"
	case Locked:
		return "locked by a transaction"
	case Pending:
		return "transaction is under way"
	case Over:
		return "transaction is over"
	case Partial:
		return "a piece of the shard is here"
	case Malformed:
		return "malformed command"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// soon says whether the answer is likely to be another soon.
func (v Verdict) soon() bool { return v == Arriving || v == Locked || v == Pending }

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

// wellFormed says whether a command has what its kind needs, and the shard is
// that of its keys.
func (c *Command) wellFormed() bool {
	if !isShard(c.Shard) {
		return false
	}
	switch c.Kind {
	case KindOp:
		// A scan's key is where it begins, in whichever shard.
		return c.Op.Kind == kv.KindScan || key2shard(c.Op.Key) == c.Shard
	case KindTxn:
		return c.Txn != nil && c.Txn.check() == nil && c.Txn.shards()[0] == c.Shard
	case KindPrepare:
		return c.Step.wellFormed() && c.Step.Part != nil && c.Step.Part.check() == nil &&
			slices.Equal(c.Step.Part.shards(), []int{c.Shard})
	case KindFinish:
		return c.Step.wellFormed()
	case KindInstall:
		return c.Piece.wellFormed()
	case kindDecide, kindForget:
		return c.Step.wellFormed() && c.Step.ID.Shard == c.Shard
	}
	return true
}

func (s *Step) wellFormed() bool { return s != nil && isShard(s.ID.Shard) }

func isShard(shard int) bool { return shard >= 0 && shard < shardctrler.NShards }
