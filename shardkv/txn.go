package shardkv

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"raftlab/kv"
)

// Txn is a transaction over keys in any shards. If all comparisons of If hold,
// the operations of Then are executed in their order, otherwise those of Else.
// Either all operations of the branch take effect, at one moment, or none.
// Operations are gets, puts, appends and deletes without a condition of their own.
type Txn struct {
	If   []Compare
	Then []kv.Op
	Else []kv.Op
}

// Limits of a transaction. A transaction beyond a limit is refused with an error
// that names the limit, and changes nothing.
const (
	// MaxTxnSize bounds the number of comparisons and operations.
	MaxTxnSize = 256
	// MaxTxnBytes bounds the total size of the keys and values in the comparisons
	// and operations.
	MaxTxnBytes = 4 << 20
	// MaxTxnResultBytes bounds the total size of the values in the results. A value
	// that is read twice counts twice.
	MaxTxnResultBytes = 4 << 20
)

// Compare compares the value or the version of a key with an expected one.
// CompareValue and CompareVersion make comparisons.
type Compare struct {
	Key       string
	Relation  Relation
	ByVersion bool // compare versions, not values
	Value     string
	Version   uint64
}

// Relation is the required relation between the key's value or version, on the
// left, and the expected one.
type Relation uint8

const (
	Equal Relation = iota
	NotEqual
	Less
	Greater
)

// CompareValue compares the value of a key, byte by byte. A missing key has the
// value "".
func CompareValue(key string, r Relation, value string) Compare {
	return Compare{Key: key, Relation: r, Value: value}
}

// CompareVersion compares the version of a key. A missing key has version 0.
func CompareVersion(key string, r Relation, version uint64) Compare {
	return Compare{Key: key, Relation: r, ByVersion: true, Version: version}
}

// TxnResult is the result of a transaction.
type TxnResult struct {
	// Succeeded reports whether all comparisons held, so that Then was executed.
	Succeeded bool
	// Results are the results of the operations of Then or of Else. If the keys of
	// the transaction are in several shards, the version of a key that the
	// transaction wrote is 0.
	Results []kv.Result
}

// Errors of Clerk.Txn. Except for ErrTxnResultsLost they mean that the
// transaction changed nothing.
var (
	// ErrTxnInvalid: the transaction breaks a rule. The text names the rule.
	ErrTxnInvalid = errors.New("shardkv: invalid transaction")
	// ErrTxnTooLarge: a key or a value would exceed the limits of the store. The
	// text names the key, the size and the limit.
	ErrTxnTooLarge = errors.New("shardkv: transaction over the store's limits")
	// ErrTxnLimit: the transaction exceeds MaxTxnBytes, or the values in its results
	// exceed MaxTxnResultBytes. The text names the size and the limit.
	ErrTxnLimit = errors.New("shardkv: transaction too large")
	// ErrTxnResultsLost: the transaction took effect, but the answer was lost, and
	// newer transactions have displaced the values that this one read.
	ErrTxnResultsLost = errors.New("shardkv: the transaction took effect, but the values that it read are no longer kept")
)

// checkSize returns an error if a transaction exceeds MaxTxnBytes.
func (t *Txn) checkSize() error {
	if size := t.size(); size > MaxTxnBytes {
		return fmt.Errorf("%w: %s", ErrTxnLimit, sizeDetail(size))
	}
	return nil
}

func sizeDetail(size int) string {
	return fmt.Sprintf("the keys and values of the transaction have %d bytes; the limit is %d", size, MaxTxnBytes)
}

// check returns the rule that a transaction breaks.
func (t *Txn) check() error {
	n := len(t.If) + len(t.Then) + len(t.Else)
	if n == 0 {
		return fmt.Errorf("%w: it is empty", ErrTxnInvalid)
	}
	if n > MaxTxnSize {
		return fmt.Errorf("%w: %d comparisons and operations; the limit is %d", ErrTxnInvalid, n, MaxTxnSize)
	}
	for _, c := range t.If {
		if c.Relation > Greater {
			return fmt.Errorf("%w: relation %d in the comparison of %.40q", ErrTxnInvalid, c.Relation, c.Key)
		}
	}
	for _, op := range slices.Concat(t.Then, t.Else) {
		switch op.Kind {
		case kv.KindGet, kv.KindPut, kv.KindAppend, kv.KindDelete:
		default:
			return fmt.Errorf("%w: %v of %.40q", ErrTxnInvalid, op.Kind, op.Key)
		}
		if op.Conditional {
			return fmt.Errorf("%w: the %v of %.40q has a condition of its own; compare its version", ErrTxnInvalid, op.Kind, op.Key)
		}
	}
	return nil
}

// size returns the total size of the keys and values.
func (t *Txn) size() int {
	size := 0
	for _, c := range t.If {
		size += len(c.Key) + len(c.Value)
	}
	for _, op := range slices.Concat(t.Then, t.Else) {
		size += len(op.Key) + len(op.Value) + len(op.End)
	}
	return size
}

// writes reports whether an operation of either branch writes.
func (t *Txn) writes() bool {
	return slices.ContainsFunc(slices.Concat(t.Then, t.Else), func(op kv.Op) bool { return !op.ReadOnly() })
}

// shards returns the shards of all keys, sorted. The first shard coordinates.
func (t *Txn) shards() []int {
	var shards []int
	for _, c := range t.If {
		shards = append(shards, key2shard(c.Key))
	}
	for _, op := range slices.Concat(t.Then, t.Else) {
		shards = append(shards, key2shard(op.Key))
	}
	slices.Sort(shards)
	return slices.Compact(shards)
}

// part returns the comparisons and operations on keys of one shard.
func (t *Txn) part(shard int) *Txn {
	within := func(ops []kv.Op) []kv.Op {
		return slices.DeleteFunc(slices.Clone(ops), func(op kv.Op) bool { return key2shard(op.Key) != shard })
	}
	return &Txn{
		If:   slices.DeleteFunc(slices.Clone(t.If), func(c Compare) bool { return key2shard(c.Key) != shard }),
		Then: within(t.Then),
		Else: within(t.Else),
	}
}

// branch returns the operations to execute.
func (t *Txn) branch(succeeded bool) []kv.Op {
	if succeeded {
		return t.Then
	}
	return t.Else
}

// keys returns the read-only keys of a transaction and the keys of its writes.
func (t *Txn) keys() (reads, writes []string) {
	for _, op := range slices.Concat(t.Then, t.Else) {
		if !op.ReadOnly() {
			writes = append(writes, op.Key)
		}
	}
	read := func(key string) {
		if !slices.Contains(writes, key) {
			reads = append(reads, key)
		}
	}
	for _, c := range t.If {
		read(c.Key)
	}
	for _, op := range slices.Concat(t.Then, t.Else) {
		if op.ReadOnly() {
			read(op.Key)
		}
	}
	return unique(reads), unique(writes)
}

func unique(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// holds reports whether all comparisons hold in a store.
func (t *Txn) holds(store *kv.Store) bool {
	for _, c := range t.If {
		if !c.holds(store.Apply(kv.Get(c.Key))) {
			return false
		}
	}
	return true
}

func (c *Compare) holds(found kv.Result) bool {
	order := strings.Compare(found.Value, c.Value)
	if c.ByVersion {
		order = cmp.Compare(found.Version, c.Version)
	}
	switch c.Relation {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	}
	return order > 0
}
