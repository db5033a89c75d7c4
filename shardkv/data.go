package shardkv

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"raftlab/kv"
	"raftlab/rsm"
)

// data is a shard's contents: a state machine of its own, which moves from group
// to group as a whole.
type data struct {
	limits   kv.Limits
	store    *kv.Store
	sessions *rsm.Sessions[Result]
	txns     *ledger
}

func newData(limits kv.Limits, maxSessions int) *data {
	return &data{limits: limits, store: kv.NewStore(limits), sessions: rsm.NewSessions[Result](maxSessions), txns: newLedger()}
}

// admits says what can be said of a command without executing it; fresh: nothing.
func (d *data) admits(client, seq uint64, c *Command) (result Result, fresh bool, err error) {
	if client != 0 {
		result, done, err := d.sessions.Lookup(client, seq)
		if done || err != nil {
			return result, false, err
		}
	}
	switch c.Kind {
	case KindOp:
		if d.txns.blocksOp(c.Op) {
			return Result{Status: Locked}, false, nil
		}
	case KindTxn:
		if d.txns.underWay(client, seq) {
			return Result{Status: Pending}, false, nil
		}
		if reads, writes := c.Txn.part(c.Shard).keys(); d.txns.blocked(reads, writes) && len(c.Txn.shards()) == 1 {
			return Result{Status: Locked}, false, nil
		}
	case KindPrepare:
		return d.admitsPrepare(c.Step)
	}
	return Result{}, true, nil
}

func (d *data) admitsPrepare(s *Step) (Result, bool, error) {
	if v := d.txns.prepared[s.ID]; v != nil {
		return Result{Vote: &v.Ballot}, false, nil
	}
	if reads, writes := s.Part.keys(); d.txns.blocked(reads, writes) {
		return Result{Status: Locked}, false, nil
	}
	return Result{}, true, nil
}

// apply executes the command seq of client, once. told says whether others may
// wait for what it changed.
func (d *data) apply(client, seq uint64, c *Command) (result Result, told bool, err error) {
	result, fresh, err := d.admits(client, seq, c)
	if !fresh {
		return result, false, err
	}
	switch c.Kind {
	case KindOp:
		result = Result{KV: d.store.Apply(c.Op)}
	case KindTxn:
		if len(c.Txn.shards()) > 1 {
			return d.begin(client, seq, c.Txn), true, nil
		}
		result = Result{Txn: d.transact(c.Txn)}
	case KindPrepare:
		return d.prepare(c.Step), false, nil
	case KindFinish:
		return d.finish(c.Step), true, nil
	case kindDecide:
		d.decide(c.Step)
		return Result{}, true, nil
	case kindForget:
		delete(d.txns.records, c.Step.ID.Number)
		return Result{}, true, nil
	}
	if client != 0 {
		d.sessions.Record(client, seq, result)
	}
	return result, false, nil
}

// transact carries out a transaction that has all its keys in this shard and is
// not blocked.
func (d *data) transact(t *Txn) *TxnResult {
	r := &TxnResult{Succeeded: t.holds(d.store)}
	ops := t.branch(r.Succeeded)
	if refused := tooLarge(ops, carryOut(d.store.Copy(), ops), d.limits); refused != nil {
		return refused
	}
	r.Results = carryOut(d.store, ops)
	return r
}

// begin notes a transaction over several shards, of which this is the
// coordinator.
func (d *data) begin(client, seq uint64, t *Txn) Result {
	n := d.txns.Next
	d.txns.Next++
	d.txns.records[n] = record{Number: n, Txn: *t, Client: client, Seq: seq}
	return Result{Status: Pending}
}

// prepare locks the keys of a transaction, which are free, and votes.
func (d *data) prepare(s *Step) Result {
	if d.txns.heed(s) {
		return Result{Status: Over}
	}
	v := &vote{ID: s.ID, Part: *s.Part, Ballot: Ballot{
		Holds: s.Part.holds(d.store),
		Then:  d.foresee(s.Part.Then),
		Else:  d.foresee(s.Part.Else),
	}}
	d.txns.lock(v)
	return Result{Vote: &v.Ballot}
}

// foresee returns what operations will yield as long as their keys are locked.
// Versions that they will give are not known: other keys are written meanwhile.
func (d *data) foresee(ops []kv.Op) []kv.Result {
	results := carryOut(d.store.Copy(), ops)
	for i := range results {
		if results[i].Version > d.store.Version() {
			results[i].Version = 0
		}
	}
	return results
}

// finish carries out a transaction's outcome, once, and frees its keys.
func (d *data) finish(s *Step) Result {
	if d.txns.heed(s) {
		return Result{}
	}
	if v := d.txns.prepared[s.ID]; v != nil {
		if s.Outcome.Problem == 0 {
			carryOut(d.store, v.Part.branch(s.Outcome.Succeeded))
		}
		d.txns.unlock(v)
	}
	d.txns.finished[s.ID] = true
	return Result{}
}

// decide notes a transaction's outcome, if it has none yet.
func (d *data) decide(s *Step) {
	r, ok := d.txns.records[s.ID.Number]
	if !ok || r.Decided {
		return
	}
	r.Decided, r.Outcome = true, s.Outcome
	d.txns.records[r.Number] = r
	if _, done, err := d.sessions.Lookup(r.Client, r.Seq); !done && err == nil {
		outcome := s.Outcome
		d.sessions.Record(r.Client, r.Seq, Result{Txn: &outcome})
	}
}

// dataImage is a shard's contents as they are encoded.
type dataImage struct {
	Format   uint8
	Store    pieces
	Sessions []rsm.Session[Result]
	Txns     ledgerImage
}

// dataFormat is the encoding that this file writes and reads.
const dataFormat = 1

// msgpack writes a struct as the array of its fields, in their order.
var msgpack = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	return h
}()

// capture returns a function that encodes the contents as they are now. It takes
// constant time but for the transactions that are under way.
func (d *data) capture() func() ([]byte, error) {
	write, sessions, txns := d.store.Snapshot(), d.sessions.Copy(), d.txns.image()
	return func() (encoded []byte, err error) {
		var store bytes.Buffer
		if err := write(&store); err != nil {
			return nil, err
		}
		img := dataImage{Format: dataFormat, Store: cut(store.Bytes()), Sessions: sessions.Records(), Txns: txns}
		err = codec.NewEncoderBytes(&encoded, msgpack).Encode(&img)
		return encoded, err
	}
}

// decodeData reads what capture encoded.
func decodeData(encoded []byte, limits kv.Limits, maxSessions int) (*data, error) {
	var img dataImage
	dec := codec.NewDecoderBytes(encoded, msgpack)
	if err := dec.Decode(&img); err != nil {
		return nil, err
	}
	switch {
	case img.Format != dataFormat:
		return nil, fmt.Errorf("format %d; this program reads %d", img.Format, dataFormat)
	case dec.NumBytesRead() != len(encoded):
		return nil, errors.New("more follows the shard")
	}
	d := newData(limits, maxSessions)
	if err := d.store.Restore(img.Store.join()); err != nil {
		return nil, err
	}
	d.sessions.Merge(img.Sessions)
	d.txns = img.Txns.load()
	return d, nil
}
