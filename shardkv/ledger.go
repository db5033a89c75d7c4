package shardkv

import (
	"cmp"
	"maps"
	"slices"

	"raftlab/kv"
	"raftlab/shardctrler"
)

// ledger is what a shard knows of transactions over several shards. It is a part
// of the shard's data and moves with it.
//
// Such a transaction is a two-phase commit between shards, each of which is
// replicated by whatever group owns it. The coordinator is the lowest of them.
//
//  1. The coordinator notes the transaction (begin), under the next number.
//  2. Each participant, in the order of the shards, locks the keys and votes
//     (prepare): whether its comparisons hold, and what either branch would
//     yield. The coordinator is a participant too.
//  3. The coordinator notes the outcome (decide), and with it the client's
//     result. This one entry of one log decides.
//  4. Each participant carries out the outcome and frees the keys (finish).
//  5. The coordinator forgets the transaction (forget).
//
// Whoever leads the group that owns the coordinator takes every transaction
// noted there through the steps that are left, from wherever it stands. Each
// step has its effect once: participants remember which transactions they have
// finished as long as the coordinator may still ask.
type ledger struct {
	Next     uint64                      // number of the next transaction that begins here
	records  map[uint64]record           // those that began here and are not over, by number
	prepared map[TxnID]*vote             // those that have keys locked here
	finished map[TxnID]bool              // those that were finished here and are not over for all that is known
	Oldest   [shardctrler.NShards]uint64 // by coordinator: transactions with lower numbers are over
	writers  map[string]TxnID            // keys locked for writing
	readers  map[string]int              // keys locked for reading, and how often
}

// TxnID names a transaction over several shards.
type TxnID struct {
	Shard  int    // the coordinator
	Number uint64 // there, from 1
}

// record is what the coordinator notes of a transaction.
type record struct {
	Number      uint64
	Txn         Txn
	Client, Seq uint64
	Decided     bool
	Outcome     TxnResult // if Decided
}

// vote is what a participant notes of a transaction, and answers.
type vote struct {
	ID   TxnID
	Part Txn
	Ballot
}

// Ballot is how a participant votes.
type Ballot struct {
	Holds bool // its comparisons do
	Then  []kv.Result
	Else  []kv.Result
}

// Step is a participant's or the coordinator's step in a transaction.
type Step struct {
	ID      TxnID
	Oldest  uint64    // the coordinator's oldest transaction that is not over
	Part    *Txn      // of prepare: what is in the participant's shard
	Outcome TxnResult // of decide; of finish, without results
}

func newLedger() *ledger {
	return &ledger{
		Next:     1,
		records:  make(map[uint64]record),
		prepared: make(map[TxnID]*vote),
		finished: make(map[TxnID]bool),
		writers:  make(map[string]TxnID),
		readers:  make(map[string]int),
	}
}

// blocked says whether keys that are to be read, or written, are locked.
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

// blocksOp says whether an operation has to wait for a lock.
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

// lock locks a transaction's keys; unlock frees them.
func (l *ledger) lock(v *vote) {
	l.prepared[v.ID] = v
	reads, writes := v.Part.keys()
	for _, key := range reads {
		l.readers[key]++
	}
	for _, key := range writes {
		l.writers[key] = v.ID
	}
}

func (l *ledger) unlock(v *vote) {
	delete(l.prepared, v.ID)
	reads, writes := v.Part.keys()
	for _, key := range reads {
		if l.readers[key]--; l.readers[key] == 0 {
			delete(l.readers, key)
		}
	}
	for _, key := range writes {
		delete(l.writers, key)
	}
}

// underWay returns the record of a client's transaction that has begun here and
// is not decided.
func (l *ledger) underWay(client, seq uint64) bool {
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

// heed notes which transactions of a coordinator are over, as a step tells. It
// says whether the step's own is over here.
func (l *ledger) heed(s *Step) (over bool) {
	oldest := &l.Oldest[s.ID.Shard]
	if s.Oldest > *oldest {
		*oldest = s.Oldest
		maps.DeleteFunc(l.finished, func(id TxnID, _ bool) bool {
			return id.Shard == s.ID.Shard && id.Number < s.Oldest
		})
	}
	return s.ID.Number < *oldest || l.finished[s.ID]
}

// ledgerImage is a ledger as it is encoded. Equal ledgers have equal images.
type ledgerImage struct {
	Next     uint64
	Records  []record
	Prepared []*vote
	Finished []TxnID
	Oldest   [shardctrler.NShards]uint64
}

// image returns the ledger as it is now. What it refers to is not changed later.
func (l *ledger) image() ledgerImage {
	img := ledgerImage{Next: l.Next, Oldest: l.Oldest}
	for _, n := range slices.Sorted(maps.Keys(l.records)) {
		img.Records = append(img.Records, l.records[n])
	}
	for _, id := range slices.SortedFunc(maps.Keys(l.prepared), compareIDs) {
		img.Prepared = append(img.Prepared, l.prepared[id])
	}
	img.Finished = slices.SortedFunc(maps.Keys(l.finished), compareIDs)
	return img
}

func compareIDs(a, b TxnID) int {
	return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Number, b.Number))
}

// load returns the ledger that an image is of.
func (img *ledgerImage) load() *ledger {
	l := newLedger()
	l.Next, l.Oldest = img.Next, img.Oldest
	for _, r := range img.Records {
		l.records[r.Number] = r
	}
	for _, v := range img.Prepared {
		l.lock(v)
	}
	for _, id := range img.Finished {
		l.finished[id] = true
	}
	return l
}
