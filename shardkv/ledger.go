package shardkv

import (
	"cmp"
	"maps"
	"slices"

	"raftlab/kv"
	"raftlab/shardctrler"
)

// ledger holds everything that a shard records about transactions over several
// shards. The ledger is a part of the shard's data and moves with the shard.
//
// Such a transaction is a two-phase commit between shards. The group that owns a
// shard replicates the shard's part. The shard with the lowest number coordinates.
//
//  1. The coordinator records the transaction under the next number (begin).
//  2. Each participant, in the order of the shards, locks its keys and votes
//     (prepare). A vote says whether the participant's comparisons hold, and
//     gives the results of both branches without the values. The coordinator is
//     a participant too.
//  3. The coordinator records the outcome, and with it the client's result
//     (decide). This entry in one log is the commit point.
//  4. Each participant commits or aborts and releases the locks.
//  5. The coordinator deletes its record (forget).
//
// The client fetches the values that the transaction read from the participants.
// A participant has them while the locks are held, and keeps them afterwards for
// a while (kept.go).
//
// The leader of the coordinator's group drives each recorded transaction through the
// remaining steps. Every step may be repeated and takes
// effect once. A participant remembers a finished transaction for as long as
// the coordinator may repeat a step.
type ledger struct {
	Next     uint64                      // number of the next transaction that begins here
	records  map[uint64]record           // transactions that began here and are not over, by number
	prepared map[TxnID]*prepared         // transactions that hold locks here
	finished map[TxnID]bool              // transactions that were finished here and may still be in a coordinator's records
	Oldest   [shardctrler.NShards]uint64 // by coordinator: transactions with lower numbers are over
	writers  map[string]TxnID            // keys locked for writing
	readers  map[string]int              // keys locked for reading, with the number of locks

	recordBytes   int // total size of records
	preparedBytes int // total size of prepared
}

// Bounds of a ledger. A transaction that would exceed a bound is answered with
// Busy before anything is logged, and waits. A ledger without records accepts
// any valid transaction, and likewise one in which nothing is prepared.
const (
	// maxLedgerBytes bounds the records of a coordinator, and separately the
	// prepared transactions of a participant.
	maxLedgerBytes = 4 << 20
	// maxUnfinished bounds how far the oldest transaction of a coordinator may lag
	// behind the next one, and so the finished transactions that participants
	// remember.
	maxUnfinished = 1 << 16
	// txnOverhead counts for the bookkeeping of one transaction.
	txnOverhead = 256
)

// TxnID names a transaction over several shards.
type TxnID struct {
	Shard  int    // the coordinator
	Number uint64 // there, from 1
}

// record is the coordinator's record of a transaction.
type record struct {
	Number      uint64
	Txn         Txn
	Client, Seq uint64
	Decided     bool
	Outcome     Outcome // if Decided
}

// prepared is a participant's record of a transaction that holds locks.
type prepared struct {
	ID   TxnID
	Part Txn
}

// Phase is the argument of a command in a transaction over several shards.
type Phase struct {
	ID      TxnID
	Oldest  uint64  // the coordinator's oldest transaction that is not over
	Part    *Txn    // KindPrepare: the participant's part
	Outcome Outcome // kindDecide; KindOutcome and KindFetch: without results
}

func newLedger() *ledger {
	return &ledger{
		Next:     1,
		records:  make(map[uint64]record),
		prepared: make(map[TxnID]*prepared),
		finished: make(map[TxnID]bool),
		writers:  make(map[string]TxnID),
		readers:  make(map[string]int),
	}
}

// fullForRecord reports whether a coordinator has to refuse another transaction for now.
func (l *ledger) fullForRecord(t *Txn) bool {
	return len(l.records) > 0 &&
		(l.recordBytes+t.size()+txnOverhead > maxLedgerBytes || l.Next-l.oldest() >= maxUnfinished)
}

// fullForPart reports whether a participant has to refuse another prepare for now.
// Transactions prepare their shards in the same order, so waiting here cannot
// lead to a deadlock.
func (l *ledger) fullForPart(part *Txn) bool {
	return len(l.prepared) > 0 && l.preparedBytes+part.size()+txnOverhead > maxLedgerBytes
}

// add records a transaction at its coordinator.
func (l *ledger) add(r record) {
	l.records[r.Number] = r
	l.recordBytes += r.Txn.size() + txnOverhead
}

// forget deletes the record of a transaction.
func (l *ledger) forget(number uint64) {
	if r, ok := l.records[number]; ok {
		l.recordBytes -= r.Txn.size() + txnOverhead
		delete(l.records, number)
	}
}

// blocked reports whether a lock blocks reading or writing the given keys.
func (l *ledger) blocked(reads, writes []string) bool {
	for _, key := range reads {
		if _, locked := l.writers[key]; locked {
			return true
		}
	}
	for _, key := range writes {
		if _, locked := l.writers[key]; locked || l.readers[key] > 0 {
			return true
		}
	}
	return false
}

// blocksOp reports whether an operation has to wait for a lock.
func (l *ledger) blocksOp(op kv.Op) bool {
	switch {
	case op.Kind == kv.KindScan:
		for key := range l.writers {
			if key >= op.Key && (op.End == "" || key < op.End) {
				return true
			}
		}
		return false
	case op.ReadOnly():
		return l.blocked([]string{op.Key}, nil)
	}
	return l.blocked(nil, []string{op.Key})
}

// lock locks the keys of a transaction.
func (l *ledger) lock(p *prepared) {
	l.prepared[p.ID] = p
	l.preparedBytes += p.Part.size() + txnOverhead
	reads, writes := p.Part.keys()
	for _, key := range reads {
		l.readers[key]++
	}
	for _, key := range writes {
		l.writers[key] = p.ID
	}
}

// unlock releases the locks of a transaction.
func (l *ledger) unlock(p *prepared) {
	delete(l.prepared, p.ID)
	l.preparedBytes -= p.Part.size() + txnOverhead
	reads, writes := p.Part.keys()
	for _, key := range reads {
		if l.readers[key]--; l.readers[key] == 0 {
			delete(l.readers, key)
		}
	}
	for _, key := range writes {
		delete(l.writers, key)
	}
}

// undecided reports whether a client's transaction has begun here and has no
// outcome yet.
func (l *ledger) undecided(client, seq uint64) bool {
	for _, r := range l.records {
		if r.Client == client && r.Seq == seq && !r.Decided {
			return true
		}
	}
	return false
}

// oldest returns the number of the oldest transaction that is not over.
func (l *ledger) oldest() uint64 {
	oldest := l.Next
	for n := range l.records {
		oldest = min(oldest, n)
	}
	return oldest
}

// observe learns from a coordinator's command which transactions are over, and
// reports whether the command's own transaction is over here.
func (l *ledger) observe(p *Phase) (over bool) {
	oldest := &l.Oldest[p.ID.Shard]
	if p.Oldest > *oldest {
		*oldest = p.Oldest
		maps.DeleteFunc(l.finished, func(id TxnID, _ bool) bool {
			return id.Shard == p.ID.Shard && id.Number < p.Oldest
		})
	}
	return p.ID.Number < *oldest || l.finished[p.ID]
}

// ledgerBody is the encoding of a ledger. Equal ledgers have equal encodings.
type ledgerBody struct {
	Next     uint64
	Records  []record
	Prepared []*prepared
	Finished []TxnID
	Oldest   [shardctrler.NShards]uint64
}

// body returns the ledger's present contents. Later changes to the ledger leave
// the body unchanged.
func (l *ledger) body() ledgerBody {
	b := ledgerBody{Next: l.Next, Oldest: l.Oldest}
	for _, n := range slices.Sorted(maps.Keys(l.records)) {
		b.Records = append(b.Records, l.records[n])
	}
	for _, id := range slices.SortedFunc(maps.Keys(l.prepared), compareIDs) {
		b.Prepared = append(b.Prepared, l.prepared[id])
	}
	b.Finished = slices.SortedFunc(maps.Keys(l.finished), compareIDs)
	return b
}

func compareIDs(a, b TxnID) int {
	return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Number, b.Number))
}

// load returns the ledger of a body.
func (b *ledgerBody) load() *ledger {
	l := newLedger()
	l.Next, l.Oldest = b.Next, b.Oldest
	for _, r := range b.Records {
		r.Outcome.strip()
		l.add(r)
	}
	for _, p := range b.Prepared {
		l.lock(p)
	}
	for _, id := range b.Finished {
		l.finished[id] = true
	}
	return l
}
