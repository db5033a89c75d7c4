package shardkv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"raftlab/kv"
)

// txnLimit is how long a transaction may take to get its keys. If it has them not
// by then, a group that it needs is away or it waits for one that waits for such
// a group, and it is given up, so that others can have what it got.
const txnLimit = 2 * time.Second

// conclude takes a transaction that a shard of this group coordinates to its end,
// from wherever it stands. Others may do the same at the same time, if this
// server no longer leads without knowing it: what counts is what the logs say.
func (s *ShardKV) conclude(ctx context.Context, id TxnID) {
	wait := newBackoff(groupPause)
	for ctx.Err() == nil {
		r, oldest, ok := s.state.record(id)
		if !ok {
			return
		}
		if !r.Decided {
			if outcome, ok := s.prepare(ctx, &r, id, oldest); ok {
				s.own(ctx, kindDecide, &Step{ID: id, Outcome: outcome})
			}
		} else if s.finish(ctx, &r, id, oldest) {
			s.own(ctx, kindForget, &Step{ID: id})
		}
		if now, _, ok := s.state.record(id); ok && now.Decided == r.Decided {
			wait.pause(ctx) // no step forward
		}
	}
}

// own commits a step of the coordinator itself.
func (s *ShardKV) own(ctx context.Context, kind Kind, step *Step) {
	_, err := s.replica.Submit(ctx, 0, 0, Command{Kind: kind, Shard: step.ID.Shard, Step: step})
	s.log.Debug("transaction", "id", step.ID, "step", kind, "error", err)
}

// prepare has the participants lock the transaction's keys, and returns the
// outcome to decide on; false if there is none to be had from here.
//
// The shards are locked in their order, and a transaction waits only at the one
// that comes next: for transactions that hold keys there, which in turn wait at
// later shards, if at all. So none can wait for itself, and there is no deadlock
// to look for.
func (s *ShardKV) prepare(ctx context.Context, r *record, id TxnID, oldest uint64) (TxnResult, bool) {
	limited, cancel := context.WithTimeout(ctx, txnLimit)
	defer cancel()
	ballots := make(map[int]*Ballot)
	for _, shard := range r.Txn.shards() {
		result, err := s.participant(limited, &Command{
			Kind: KindPrepare, Shard: shard, Step: &Step{ID: id, Oldest: oldest, Part: r.Txn.part(shard)},
		})
		switch {
		case ctx.Err() != nil:
			return TxnResult{}, false
		case err != nil:
			return TxnResult{Problem: Delayed}, true
		case result.Vote == nil:
			return TxnResult{}, false // it is over: somebody else has seen to it
		}
		ballots[shard] = result.Vote
	}
	return tally(&r.Txn, ballots, s.state.limits), true
}

// tally returns the outcome of a transaction whose participants have all voted.
func tally(t *Txn, ballots map[int]*Ballot, limits kv.Limits) TxnResult {
	outcome := TxnResult{Succeeded: true}
	for _, b := range ballots {
		outcome.Succeeded = outcome.Succeeded && b.Holds
	}
	next := make(map[int]int) // by shard
	ops := t.branch(outcome.Succeeded)
	for _, op := range ops {
		shard := key2shard(op.Key)
		results := ballots[shard].Then
		if !outcome.Succeeded {
			results = ballots[shard].Else
		}
		outcome.Results = append(outcome.Results, results[next[shard]])
		next[shard]++
	}
	if refused := tooLarge(ops, outcome.Results, limits); refused != nil {
		return *refused
	}
	return outcome
}

// finish has every participant carry out the outcome, and says whether all have.
func (s *ShardKV) finish(ctx context.Context, r *record, id TxnID, oldest uint64) bool {
	outcome := TxnResult{Succeeded: r.Outcome.Succeeded, Problem: r.Outcome.Problem}
	shards := r.Txn.shards()
	done := make([]bool, len(shards))
	var working sync.WaitGroup
	for i, shard := range shards {
		working.Go(func() {
			_, err := s.participant(ctx, &Command{
				Kind: KindFinish, Shard: shard, Step: &Step{ID: id, Oldest: oldest, Outcome: outcome},
			})
			done[i] = err == nil
		})
	}
	working.Wait()
	for _, d := range done {
		if !d {
			return false
		}
	}
	return true
}

// participant has a step taken by the group that owns its shard, whichever that
// is by now; the error is ctx's.
func (s *ShardKV) participant(ctx context.Context, c *Command) (Result, error) {
	for wait := newBackoff(groupPause); ; wait.pause(ctx) {
		config := s.state.current()
		var result Result
		var err error
		if gid := config.Shards[c.Shard]; gid == s.gid {
			result, err = s.Submit(ctx, 0, 0, *c)
		} else if gid != 0 {
			result, err = s.hand(ctx, attemptLimit, gid, config.Groups[gid], c)
		} else {
			result.Status = WrongGroup
		}
		if err == nil && (result.Status == Served || result.Status == Over) {
			return result, nil
		}
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
	}
}

// Txn carries out a transaction, once, and returns what it did. It tries until
// that is known or ctx ends; then it may have taken effect or not. Other errors
// are ErrTxnInvalid, ErrTxnTooLarge, and those of Do.
func (ck *Clerk) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	if err := t.check(); err != nil {
		return TxnResult{}, err
	}
	for wait := newBackoff(groupPause); ; wait.pause(ctx) {
		result, err := ck.execute(ctx, false, Command{Kind: KindTxn, Shard: t.shards()[0], Txn: &t})
		if err != nil {
			return TxnResult{}, err
		}
		switch {
		case result.Txn == nil:
			return TxnResult{}, ErrTxnInvalid
		case result.Txn.Problem == TooLarge:
			return TxnResult{}, fmt.Errorf("%w: %s", ErrTxnTooLarge, result.Txn.Detail)
		case result.Txn.Problem == 0:
			return *result.Txn, nil
		}
		// It was given up, and has changed nothing.
	}
}

// Read reads keys, of any shards, as they are at one moment.
func (ck *Clerk) Read(ctx context.Context, keys ...string) ([]kv.Result, error) {
	t := Txn{Then: make([]kv.Op, len(keys))}
	for i, key := range keys {
		t.Then[i] = kv.Get(key)
	}
	result, err := ck.Txn(ctx, t)
	return result.Results, err
}
