package shardkv

import (
	"maps"
	"slices"

	"raftlab/shardctrler"
)

// Reconcile ends all transactions of the extracts of all shards. The extracts may be of
// different moments, as after the loss of logs. Decided transactions take effect in the
// shards that hold their locks, and the others are aborted. Reconcile returns the number of
// transactions that may have taken effect in part. Effects that have left no trace do not
// count.
func Reconcile(extracts [shardctrler.NShards]*Extract) (torn int) {
	r := reconciliation{extracts, make(map[TxnID]bool)}
	for shard, e := range r.extracts {
		for _, number := range slices.Sorted(maps.Keys(e.data.txns.records)) {
			r.end(TxnID{Shard: shard, Number: number})
		}
	}
	for _, e := range r.extracts {
		for _, id := range slices.SortedFunc(maps.Keys(e.data.txns.prepared), compareIDs) {
			r.torn[id] = true // the coordinator does not know the transaction
			e.data.finish(aborted(id))
		}
	}
	r.renumber()
	return len(r.torn)
}

type reconciliation struct {
	extracts [shardctrler.NShards]*Extract
	torn     map[TxnID]bool
}

func aborted(id TxnID) *Phase {
	return &Phase{ID: id, Outcome: Outcome{ID: id, Problem: Delayed}}
}

// end ends a transaction that the coordinator knows.
func (r *reconciliation) end(id TxnID) {
	coordinator := r.extracts[id.Shard].data
	decided := coordinator.txns.records[id.Number].Decided
	if !decided {
		coordinator.decide(aborted(id))
	}
	record := coordinator.txns.records[id.Number]
	phase := &Phase{ID: id, Outcome: record.Outcome}
	commits := record.Outcome.Problem == 0
	for _, shard := range record.Txn.shards() {
		d := r.extracts[shard].data
		over := d.txns.observe(phase)
		if over && !decided || !over && commits && d.txns.prepared[id] == nil {
			r.torn[id] = true
		}
		d.finish(phase)
	}
	coordinator.txns.forget(id.Number)
}

// renumber has no coordinator give a number again that a participant has seen.
func (r *reconciliation) renumber() {
	for _, e := range r.extracts {
		l := e.data.txns
		for shard, oldest := range l.Oldest {
			next := &r.extracts[shard].data.txns.Next
			*next = max(*next, oldest)
		}
		for id := range l.finished {
			next := &r.extracts[id.Shard].data.txns.Next
			*next = max(*next, id.Number+1)
		}
	}
}
