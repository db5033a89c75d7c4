package shardkv

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"raftlab/kv"
)

// Txn is a transaction, over keys in any shards: if all comparisons hold, the
// operations of Then are carried out, in their order, else those of Else; all of
// them or none, and as if at one moment. Operations are gets, puts, appends and
// deletes, without a condition of their own.
type Txn struct {
	If   []Compare
	Then []kv.Op
	Else []kv.Op
}

// MaxTxnSize is how many comparisons and operations a transaction has at most.
const MaxTxnSize = 256

// Compare is a comparison of what a key has with what is expected. CompareValue
// and CompareVersion make them.
type Compare struct {
	Key       string
	Relation  Relation
	ByVersion bool // compare versions, not values
	Value     string
	Version   uint64
}

// Relation is how the key's value or version is to be to the one expected.
type Relation uint8

const (
	Equal Relation = iota
	NotEqual
	Less
	Greater
)

// CompareValue compares a key's value, in the order of its bytes. A key that is
// not there has the value "".
func CompareValue(key string, r Relation, value string) Compare {
	return Compare{Key: key, Relation: r, Value: value}
}

// CompareVersion compares a key's version. A key that is not there has version 0.
func CompareVersion(key string, r Relation, version uint64) Compare {
	return Compare{Key: key, Relation: r, ByVersion: true, Version: version}
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Succeeded says that all comparisons held, so that Then was carried out.
	Succeeded bool
	// Results are those of the operations of Then, or of Else. The version of
	// what the transaction itself wrote is told only if all its keys are in one
	// shard; else it is 0.
	Results []kv.Result
	// Problem is why nothing was done; 0: it was.
	Problem Problem
	// Detail says of TooLarge what is, and the limit.
	Detail string
}

// Problem is why a transaction was given up.
type Problem uint8

const (
	// Delayed: not all the keys could be had in time, for other transactions or
	// because a group was not there. It may succeed later.
	Delayed Problem = iota + 1
	// TooLarge: a key or a value, as it would be, is over the store's limit.
	TooLarge
)

// Errors of Clerk.Txn.
var (
	// ErrTxnInvalid: the transaction is not one; the error's text says why.
	ErrTxnInvalid = errors.New("shardkv: invalid transaction")
	// ErrTxnTooLarge: a key or a value, as it would be, is over the store's limit;
	// the error's text says which.
	ErrTxnTooLarge = errors.New("shardkv: transaction over the store's limits")
)

// check says what is wrong with a transaction.
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
			return fmt.Errorf("%w: relation %d in the comparison of %q", ErrTxnInvalid, c.Relation, c.Key)
		}
	}
	for _, op := range slices.Concat(t.Then, t.Else) {
		switch op.Kind {
		case kv.KindGet, kv.KindPut, kv.KindAppend, kv.KindDelete:
		default:
			return fmt.Errorf("%w: %v of %q", ErrTxnInvalid, op.Kind, op.Key)
		}
		if op.Conditional {
			return fmt.Errorf("%w: the %v of %q has a condition of its own; compare its version", ErrTxnInvalid, op.Kind, op.Key)
		}
	}
	return nil
}

// shards returns the shards that a transaction has keys in, sorted. The first
// is the coordinator.
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

// part returns what of a transaction is in one shard.
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

// branch returns the operations that are carried out.
func (t *Txn) branch(succeeded bool) []kv.Op {
	if succeeded {
		return t.Then
	}
	return t.Else
}

// keys returns the keys that a transaction only reads, and those that it may
// write.
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

// holds says whether all comparisons hold in a store.
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
		order = compareVersions(found.Version, c.Version)
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

func compareVersions(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// carryOut carries out operations in a store, one after the other.
func carryOut(store *kv.Store, ops []kv.Op) []kv.Result {
	results := make([]kv.Result, len(ops))
	for i, op := range ops {
		results[i] = store.Apply(op)
	}
	return results
}

// tooLarge returns the result of a transaction that is given up since a store
// would not take what one of its operations writes; nil: it would take all.
func tooLarge(ops []kv.Op, results []kv.Result, limits kv.Limits) *TxnResult {
	i := slices.IndexFunc(results, func(r kv.Result) bool { return r.Status == kv.TooLarge })
	if i < 0 {
		return nil
	}
	op, detail := ops[i], ""
	switch {
	case limits.Key > 0 && len(op.Key) > limits.Key:
		detail = fmt.Sprintf("the key %.40q has %d bytes; the limit is %d", op.Key, len(op.Key), limits.Key)
	case op.Kind == kv.KindAppend:
		detail = fmt.Sprintf("with %d bytes more, the value of %.40q is over the limit of %d", len(op.Value), op.Key, limits.Value)
	default:
		detail = fmt.Sprintf("the value of %.40q has %d bytes; the limit is %d", op.Key, len(op.Value), limits.Value)
	}
	return &TxnResult{Problem: TooLarge, Detail: detail}
}
