package shardkv

import (
	"context"
	"slices"
	"sync"
	"time"
)

// lockTimeout bounds how long a transaction may take to lock its keys. After the
// timeout the transaction is aborted and releases its locks. The usual cause is a group that is down, directly or behind another
// transaction.
const lockTimeout = 2 * time.Second

// coordinate drives a transaction of this group's shard to its end, from any
// intermediate state. A deposed leader may do the same at the same time. The
// entries in the logs decide.
func (s *ShardKV) coordinate(ctx context.Context, id TxnID) {
	wait := newBackoff(groupPause)
	for ctx.Err() == nil {
		r, oldest, ok := s.state.record(id)
		if !ok {
			return
		}
		if !r.Decided {
			if outcome, ok := s.prepare(ctx, &r, id, oldest); ok {
				s.logPhase(ctx, kindDecide, &Phase{ID: id, Outcome: outcome})
			}
		} else if s.finish(ctx, &r, id, oldest) {
			s.logPhase(ctx, kindForget, &Phase{ID: id})
		}
		if now, _, ok := s.state.record(id); ok && now.Decided == r.Decided {
			wait.pause(ctx) // no progress
		}
	}
}

// logPhase commits an entry of the coordinator in the group's own log.
func (s *ShardKV) logPhase(ctx context.Context, kind Kind, phase *Phase) {
	_, err := s.replica.Submit(ctx, 0, 0, Command{Kind: kind, Shard: phase.ID.Shard, Phase: phase})
	s.log.Debug("transaction", "id", phase.ID, "kind", kind, "error", err)
}

// prepare asks the participants to lock the transaction's keys, and returns the
// outcome to record. ok is false if this server cannot determine an outcome.
//
// A transaction locks its shards in ascending order and waits at the next shard
// only. Transactions that hold locks there wait for locks in later shards, if at
// all. So there is no cycle of waiting transactions and no deadlock to detect.
func (s *ShardKV) prepare(ctx context.Context, r *record, id TxnID, oldest uint64) (outcome Outcome, ok bool) {
	if size := r.Txn.size(); size > MaxTxnBytes { // only in a log of an earlier version
		return Outcome{ID: id, Problem: OverLimit, Detail: sizeDetail(size)}, true
	}
	limited, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	votes := make(map[int]*Vote)
	for _, shard := range r.Txn.shards() {
		result, err := s.askParticipant(limited, &Command{
			Kind: KindPrepare, Shard: shard, Phase: &Phase{ID: id, Oldest: oldest, Part: r.Txn.part(shard)},
		})
		switch {
		case ctx.Err() != nil:
			return Outcome{}, false
		case err != nil:
			return Outcome{ID: id, Problem: Delayed}, true
		case result.Vote == nil:
			return Outcome{}, false // another leader has finished the transaction
		}
		votes[shard] = result.Vote
	}
	return tally(id, &r.Txn, votes, s.state.limits), true
}

// finish tells every participant to commit or to abort, and reports whether all
// participants have done so.
func (s *ShardKV) finish(ctx context.Context, r *record, id TxnID, oldest uint64) bool {
	outcome := r.Outcome
	outcome.Results, outcome.Detail = nil, ""
	shards := r.Txn.shards()
	done := make([]bool, len(shards))
	var working sync.WaitGroup
	for i, shard := range shards {
		working.Go(func() {
			_, err := s.askParticipant(ctx, &Command{
				Kind: KindOutcome, Shard: shard, Phase: &Phase{ID: id, Oldest: oldest, Outcome: outcome},
			})
			done[i] = err == nil
		})
	}
	working.Wait()
	return !slices.Contains(done, false)
}

// askParticipant sends a command to the group that owns the command's shard,
// until one has executed the command. The shard may move meanwhile. The error is
// that of ctx.
func (s *ShardKV) askParticipant(ctx context.Context, c *Command) (Result, error) {
	for wait := newBackoff(groupPause); ; wait.pause(ctx) {
		config := s.state.current()
		var result Result
		var err error
		if gid := config.Shards[c.Shard]; gid == s.gid {
			result, err = s.Submit(ctx, 0, 0, *c)
		} else if gid != 0 {
			result, err = s.askGroup(ctx, attemptTimeout, gid, config.Groups[gid], c)
		} else {
			result.Code = WrongGroup
		}
		if err == nil && (result.Code == Served || result.Code == Over) {
			return result, nil
		}
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
	}
}
