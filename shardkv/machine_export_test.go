package shardkv

import (
	"raftlab/kv"
	"raftlab/rsm"
)

// Machine is a group's state machine, for tests that say what its log holds.
type Machine = state

// The commands of a group's own.
const (
	KindConfig = kindConfig
	KindRemove = kindRemove
	KindDecide = kindDecide
	KindForget = kindForget
)

// NewMachine returns the state machine of a group that has no configuration.
func NewMachine(gid int) *Machine { return newState(gid, kv.Limits{}, rsm.DefaultMaxSessions) }

// Outcomes returns those of the transactions that are decided and not over.
func (st *state) Outcomes() []Outcome {
	var all []Outcome
	for i := range st.shards {
		if d := st.shards[i].data; d != nil {
			for _, r := range d.txns.records {
				if r.Decided {
					all = append(all, r.Outcome)
				}
			}
		}
	}
	return all
}

// Outgoing returns a shard's data as they go to its next owner.
func (st *state) Outgoing(shard int) []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	encoded, err := st.shards[shard].data.capture()()
	if err != nil {
		panic(err)
	}
	return encoded
}

// PieceAt returns the piece of an encoded shard that begins at offset.
func PieceAt(encoded []byte, offset int) *Piece { return piece(encoded, checksum(encoded), offset) }

// Precheck returns the answer of a leader that needs no log entry.
func (st *state) Precheck(client, seq uint64, c Command) (result Result, fresh bool) {
	return st.precheck(client, seq, &c)
}

// Extract returns a copy of a shard.
func (st *state) Extract(shard int) *Extract {
	d, err := decodeData(st.Outgoing(shard), st.settings)
	if err != nil {
		panic(err)
	}
	return &Extract{Shard: shard, data: d}
}

// NextTxn returns the number of the next transaction that the shard begins.
func (e *Extract) NextTxn() uint64 { return e.data.txns.Next }

// LockedTxns returns the number of transactions that the shard knows and are not over.
func (e *Extract) LockedTxns() int { return len(e.data.txns.records) + len(e.data.txns.prepared) }
