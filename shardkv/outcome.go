package shardkv

import (
	"fmt"
	"slices"

	"raftlab/kv"
)

// Outcome is the outcome of a transaction as the coordinator records it. An
// outcome carries no values. The participants hand the values to the client.
type Outcome struct {
	Succeeded bool // all comparisons held
	// Results are the results of the operations of the branch that was executed,
	// without values. If several shards have keys, the version of a key that the
	// transaction wrote is 0.
	Results []kv.Result
	Problem Problem // why the transaction was aborted; 0: committed
	Detail  string  // of TooLarge and OverLimit: the size and the limit
	ID      TxnID   // under which the participants keep the values
	Bytes   int     // total size of the values that Results lack
	Keep    bool    // the branch writes, so participants keep the values for retries
}

// Problem is the reason for an abort.
type Problem uint8

const (
	// Delayed: the locks were not granted in time. The transaction may succeed later.
	Delayed Problem = iota + 1
	// TooLarge: a key or a value would exceed the store's limits.
	TooLarge
	// OverLimit: the results would exceed MaxTxnResultBytes.
	OverLimit
)

// err returns the error of a client whose transaction was aborted for good.
func (o *Outcome) err() error {
	switch o.Problem {
	case TooLarge:
		return fmt.Errorf("%w: %s", ErrTxnTooLarge, o.Detail)
	case OverLimit:
		return fmt.Errorf("%w: %s", ErrTxnLimit, o.Detail)
	}
	return nil
}

// settle completes the outcome of operations whose results are known. If the store
// refuses an operation, or if limited is true and the values exceed
// MaxTxnResultBytes, the outcome becomes an abort.
func (o *Outcome) settle(ops []kv.Op, limits kv.Limits, limited bool) {
	if i := slices.IndexFunc(o.Results, func(r kv.Result) bool { return r.Code == kv.TooLarge }); i >= 0 {
		*o = Outcome{ID: o.ID, Problem: TooLarge, Detail: tooLarge(ops[i], limits)}
		return
	}
	if limited && o.Bytes > MaxTxnResultBytes {
		*o = Outcome{ID: o.ID, Problem: OverLimit, Detail: fmt.Sprintf(
			"the values that the transaction reads have %d bytes; the limit is %d", o.Bytes, MaxTxnResultBytes)}
		return
	}
	o.Keep = slices.ContainsFunc(ops, func(op kv.Op) bool { return !op.ReadOnly() })
}

// tooLarge says why a store refused an operation.
func tooLarge(op kv.Op, limits kv.Limits) string {
	switch {
	case limits.Key > 0 && len(op.Key) > limits.Key:
		return fmt.Sprintf("the key %.40q has %d bytes; the limit is %d", op.Key, len(op.Key), limits.Key)
	case op.Kind == kv.KindAppend:
		return fmt.Sprintf("with %d bytes more, the value of %.40q is over the limit of %d", len(op.Value), op.Key, limits.Value)
	}
	return fmt.Sprintf("the value of %.40q has %d bytes; the limit is %d", op.Key, len(op.Value), limits.Value)
}

// Vote is the answer of a participant that has locked the keys of a transaction.
// Votes carry no values, as either branch may be executed.
type Vote struct {
	Holds     bool        // the comparisons of the participant's shard hold
	Then      []kv.Result // the results of each branch, without values
	Else      []kv.Result
	ThenBytes int // the total size of the values in each branch
	ElseBytes int
}

// branch returns the results of the branch that is executed.
func (v *Vote) branch(succeeded bool) (results []kv.Result, bytes int) {
	if succeeded {
		return v.Then, v.ThenBytes
	}
	return v.Else, v.ElseBytes
}

// tally returns the outcome of a transaction from the votes of all participants,
// by shard.
func tally(id TxnID, t *Txn, votes map[int]*Vote, limits kv.Limits) Outcome {
	o := Outcome{ID: id, Succeeded: true}
	for _, v := range votes {
		o.Succeeded = o.Succeeded && v.Holds
	}
	for _, v := range votes {
		_, bytes := v.branch(o.Succeeded)
		o.Bytes += bytes
	}
	next := make(map[int]int) // by shard
	ops := t.branch(o.Succeeded)
	for _, op := range ops {
		shard := key2shard(op.Key)
		results, _ := votes[shard].branch(o.Succeeded)
		o.Results = append(o.Results, results[next[shard]])
		next[shard]++
	}
	o.settle(ops, limits, true)
	return o
}

// preview returns the results that operations would have in a store, without the
// values, and the total size of the values. The store does not change.
func preview(store *kv.Store, ops []kv.Op) (results []kv.Result, bytes int) {
	trial := store.Copy()
	results = make([]kv.Result, len(ops))
	for i, op := range ops {
		results[i] = trial.Apply(op)
		bytes += len(results[i].Value)
		results[i].Value = ""
	}
	return results, bytes
}

// applyAll applies operations to a store, one after the other.
func applyAll(store *kv.Store, ops []kv.Op) []kv.Result {
	results := make([]kv.Result, len(ops))
	for i, op := range ops {
		results[i] = store.Apply(op)
	}
	return results
}

// strip removes the values from an outcome. Earlier versions of this program
// recorded outcomes with values, without a bound.
func (o *Outcome) strip() {
	for i := range o.Results {
		o.Bytes += len(o.Results[i].Value)
		o.Results[i].Value = ""
	}
}
