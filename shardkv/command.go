package shardkv

import (
	"fmt"
	"slices"

	"raftlab/kv"
	"raftlab/shardctrler"
)

// Kind says how a command is executed. Logs hold the numbers, so a kind keeps its
// number.
type Kind uint8

const (
	// KindOp applies one operation to a shard.
	KindOp Kind = 0
	// KindTxn executes a transaction. The command's shard coordinates.
	KindTxn Kind = 1
	// KindPrepare asks a participant to lock the keys of a transaction and to vote.
	KindPrepare Kind = 2
	// KindOutcome tells a participant to commit or to abort.
	KindOutcome Kind = 3
	// KindInstall hands a piece of a shard to the shard's new owner.
	KindInstall Kind = 4
	// KindFetch asks a participant for the values that a transaction read.
	KindFetch Kind = 9

	// A group's leader alone submits the kinds below. A command of such a kind is
	// refused if the command comes over the network.

	kindConfig Kind = 5 // advance to the next configuration
	kindRemove Kind = 6 // delete a shard after the new owner has installed the shard
	kindDecide Kind = 7 // record the outcome of a transaction at the coordinator
	kindForget Kind = 8 // delete the coordinator's record of a finished transaction
)

// internal reports whether only the group's own leader submits the kind.
func (k Kind) internal() bool {
	return k == kindConfig || k == kindRemove || k == kindDecide || k == kindForget
}

// Command is a command of the service. Kind says which fields count.
type Command struct {
	Kind  Kind
	Shard int
	Op    kv.Op // KindOp
	// Num is the number of a configuration. For KindInstall and kindRemove the
	// configuration made the receiver the owner of the shard. For kindConfig the
	// configuration is the one that the group has before the command.
	Num    int
	Piece  *Piece              // KindInstall
	Config *shardctrler.Config // kindConfig: the next configuration
	Txn    *Txn                // KindTxn
	Phase  *Phase              // KindPrepare, KindOutcome, KindFetch, kindDecide, kindForget
	// Limited says that the limits of transactions apply. The server sets Limited.
	// Commands in logs of earlier versions are not limited, since their effects
	// were acknowledged.
	Limited bool
}

// Result is the result of a command.
type Result struct {
	Code   Code
	KV     kv.Result // KindOp
	Txn    *Outcome  // KindTxn
	Vote   *Vote     // KindPrepare
	Values *Values   // KindFetch, and KindTxn if one shard has all keys
}

// Code says whether a command was executed. A command whose code is neither
// Served nor Partial has changed nothing and can be sent again.
type Code uint8

const (
	// Served: the command was executed.
	Served Code = iota
	// WrongGroup: by the group's own log the group does not own the shard.
	WrongGroup
	// Arriving: the group owns the shard and has not yet received the shard's data.
	// For KindInstall: the group has not yet reached the configuration of the move.
	Arriving
	// Locked: a transaction holds a lock on one of the keys.
	Locked
	// Pending: the transaction has begun and has no outcome yet.
	Pending
	// Over: the participant has already committed or aborted the transaction.
	Over
	// Partial: the group has stored the piece of a shard and wants the next piece.
	Partial
	// Malformed: no clerk and no group sends such a command.
	Malformed
	// Busy: the shard has as many transactions in progress as the shard's bounds
	// allow. The command can be sent again soon.
	Busy
	// Gone: the participant no longer has the values that the transaction read.
	Gone
)

var codeNames = [...]string{
	Served: "served", WrongGroup: "wrong group", Arriving: "shard is arriving", Locked: "locked by a transaction",
	Pending: "transaction is in progress", Over: "transaction is over", Partial: "piece of the shard is stored",
	Malformed: "malformed command", Busy: "too many transactions in progress", Gone: "values are no longer kept",
}

// String returns the code in words.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

// soon reports whether the same command is likely to get another answer soon.
func (c Code) soon() bool { return c == Arriving || c == Locked || c == Pending || c == Busy }

// final reports whether the code answers a clerk's command for good.
func (c Code) final() bool { return c == Served || c == Malformed || c == Gone }

// key2shard returns the shard of a key: the key's first byte modulo the number of
// shards, and 0 for the empty key.
func key2shard(key string) int {
	if key == "" {
		return 0
	}
	return int(key[0]) % shardctrler.NShards
}

// ShardOf returns the shard of a key.
func ShardOf(key string) int { return key2shard(key) }

// wellFormed reports whether the command has the fields of its kind and only keys of
// its shard.
func (c *Command) wellFormed() bool {
	if !isShard(c.Shard) {
		return false
	}
	switch c.Kind {
	case KindOp:
		// The key of a scan is the start of the range, in any shard.
		return c.Op.Kind == kv.KindScan || key2shard(c.Op.Key) == c.Shard
	case KindTxn:
		return c.Txn != nil && c.Txn.check() == nil && c.Txn.shards()[0] == c.Shard
	case KindPrepare:
		return c.Phase.wellFormed() && c.Phase.Part != nil && c.Phase.Part.check() == nil &&
			slices.Equal(c.Phase.Part.shards(), []int{c.Shard})
	case KindOutcome, KindFetch:
		return c.Phase.wellFormed()
	case KindInstall:
		return c.Piece.wellFormed()
	case kindDecide, kindForget:
		return c.Phase.wellFormed() && c.Phase.ID.Shard == c.Shard
	}
	return true
}

// size returns the total size of the keys and values.
func (c *Command) size() int {
	size := len(c.Op.Key) + len(c.Op.Value)
	if c.Txn != nil {
		size += c.Txn.size()
	}
	if c.Phase != nil && c.Phase.Part != nil {
		size += c.Phase.Part.size()
	}
	return size
}

// large reports whether the command or its result is large, so that sending the command
// again is costly.
func (c *Command) large() bool {
	return c.size() > largeBytes || c.Kind == KindFetch && c.Phase != nil && c.Phase.Outcome.Bytes > largeBytes
}

// readOnly reports whether executing the command again is harmless.
func (c *Command) readOnly() bool {
	switch c.Kind {
	case KindOp:
		return c.Op.ReadOnly()
	case KindTxn:
		return len(c.Txn.shards()) == 1 && !c.Txn.writes()
	}
	return false
}

func (p *Phase) wellFormed() bool { return p != nil && isShard(p.ID.Shard) }

func isShard(shard int) bool { return shard >= 0 && shard < shardctrler.NShards }
