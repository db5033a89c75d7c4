package shardkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"raftlab/kv"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
)

// Txn executes a transaction at most once and returns its result. Txn retries
// until the result is known or ctx ends. After the end of ctx the transaction may
// or may not take effect. Other errors are ErrTxnInvalid, ErrTxnTooLarge,
// ErrTxnLimit, ErrTxnResultsLost, and those of Do.
func (ck *Clerk) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	if err := t.check(); err != nil {
		return TxnResult{}, err
	}
	if err := t.checkSize(); err != nil {
		return TxnResult{}, err
	}
	for wait := newBackoff(groupPause); ; wait.pause(ctx) {
		result, err := ck.execute(ctx, false, Command{Kind: KindTxn, Shard: t.shards()[0], Txn: &t})
		if err != nil {
			return TxnResult{}, err
		}
		o := result.Txn
		if o == nil {
			return TxnResult{}, ErrTxnInvalid
		}
		if o.Problem != 0 {
			if err := o.err(); err != nil {
				return TxnResult{}, err
			}
			continue // aborted without effect; another try may succeed
		}
		err = ck.fillIn(ctx, &t, o, result.Values)
		if errors.Is(err, ErrTxnResultsLost) && !o.Keep {
			continue // nothing was written, so the transaction can run again
		}
		return TxnResult{Succeeded: o.Succeeded, Results: o.Results}, err
	}
}

// Read reads keys of any shards at one moment. The limits are those of Txn.
func (ck *Clerk) Read(ctx context.Context, keys ...string) ([]kv.Result, error) {
	t := Txn{Then: make([]kv.Op, len(keys))}
	for i, key := range keys {
		t.Then[i] = kv.Get(key)
	}
	result, err := ck.Txn(ctx, t)
	return result.Results, err
}

// fillIn adds the values to the results of an outcome. values came with the outcome
// or are nil.
func (ck *Clerk) fillIn(ctx context.Context, t *Txn, o *Outcome, values *Values) error {
	ops := t.branch(o.Succeeded)
	if len(o.Results) != len(ops) {
		return ErrTxnInvalid
	}
	if o.Bytes == 0 {
		return nil
	}
	var fetched [shardctrler.NShards]*Values
	if shards := t.shards(); values != nil && len(shards) == 1 {
		fetched[shards[0]] = values
	} else {
		var err error
		busy := admit(ctx, ck.shared.fetching, o.Bytes, func() { err = ck.fetchAll(ctx, ops, o, &fetched) })
		if busy != nil && o.Keep {
			busy = fmt.Errorf("%w: %v", ErrTxnResultsLost, busy) // the transaction has taken effect
		}
		if err := cmp.Or(busy, err); err != nil {
			return err
		}
	}
	var next [shardctrler.NShards]int
	for i, op := range ops {
		shard := key2shard(op.Key)
		if op.ReadOnly() {
			value, ok := fetched[shard].value(next[shard])
			if !ok {
				return ErrTxnResultsLost
			}
			o.Results[i].Value = value
		}
		next[shard]++
	}
	return nil
}

// fetchAll fetches the values from all shards in which operations read.
func (ck *Clerk) fetchAll(ctx context.Context, ops []kv.Op, o *Outcome, fetched *[shardctrler.NShards]*Values) error {
	var reads [shardctrler.NShards]bool
	for _, op := range ops {
		if op.ReadOnly() {
			reads[key2shard(op.Key)] = true
		}
	}
	var errs [shardctrler.NShards]error
	var fetching sync.WaitGroup
	for shard := range fetched {
		if reads[shard] {
			fetching.Go(func() { fetched[shard], errs[shard] = ck.fetch(ctx, shard, o) })
		}
	}
	fetching.Wait()
	return errors.Join(errs[:]...)
}

// fetch fetches the values that a transaction read in one shard.
func (ck *Clerk) fetch(ctx context.Context, shard int, o *Outcome) (*Values, error) {
	phase := &Phase{ID: o.ID, Outcome: Outcome{Succeeded: o.Succeeded, Bytes: o.Bytes}}
	c := Command{Kind: KindFetch, Shard: shard, Phase: phase}
	result, _, err := ck.route(ctx, shard, &clerk.Args[Command]{Command: c})
	if err == nil && result.Code == Gone {
		err = ErrTxnResultsLost
	}
	return result.Values, err
}
