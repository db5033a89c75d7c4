package shardkv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"raftlab/internal/msgpack"
	"raftlab/kv"
	"raftlab/rsm"
)

// settings are the same for all shards of a server.
type settings struct {
	limits      kv.Limits
	maxSessions int
}

// data is the contents of a shard. The contents are a state machine of their own
// and move from group to group as a whole.
type data struct {
	settings
	store    *kv.Store
	sessions *rsm.Sessions[Result]
	txns     *ledger
	kept     *keptValues // values of transactions that also wrote
	// recent holds the values of transactions that only read. A client that finds
	// them gone runs the transaction again, so recent is neither in snapshots nor
	// moved.
	recent *keptValues
}

func newData(s settings) *data {
	return &data{
		settings: s,
		store:    kv.NewStore(s.limits),
		sessions: rsm.NewSessions[Result](s.maxSessions),
		txns:     newLedger(),
		kept:     newKeptValues(nil),
		recent:   newKeptValues(nil),
	}
}

// precheck answers a command without executing it if the applied state already
// decides the answer. Otherwise fresh is true.
func (d *data) precheck(client, seq uint64, c *Command) (result Result, fresh bool, err error) {
	if client != 0 {
		// Sessions hold no values, so a read-only command is executed again.
		result, done, err := d.sessions.Lookup(client, seq)
		if done && !c.readOnly() || err != nil {
			return result, false, err
		}
	}
	switch c.Kind {
	case KindOp:
		if d.txns.blocksOp(c.Op) {
			return Result{Code: Locked}, false, nil
		}
	case KindTxn:
		return d.precheckTxn(client, seq, c)
	case KindPrepare:
		return d.precheckPrepare(c)
	case KindFetch:
		if values := d.fetch(c.Phase); values != nil {
			return Result{Values: values}, false, nil
		}
	}
	return Result{}, true, nil
}

func (d *data) precheckTxn(client, seq uint64, c *Command) (Result, bool, error) {
	if d.txns.undecided(client, seq) {
		return Result{Code: Pending}, false, nil
	}
	if size := c.Txn.size(); c.Limited && size > MaxTxnBytes {
		return Result{Txn: &Outcome{Problem: OverLimit, Detail: sizeDetail(size)}}, false, nil
	}
	if len(c.Txn.shards()) == 1 {
		if d.txns.blocked(c.Txn.keys()) {
			return Result{Code: Locked}, false, nil
		}
	} else if c.Limited && d.txns.fullForRecord(c.Txn) {
		return Result{Code: Busy}, false, nil
	}
	return Result{}, true, nil
}

func (d *data) precheckPrepare(c *Command) (Result, bool, error) {
	p := c.Phase
	if had := d.txns.prepared[p.ID]; had != nil {
		return Result{Vote: d.vote(&had.Part)}, false, nil
	}
	if d.txns.blocked(p.Part.keys()) {
		return Result{Code: Locked}, false, nil
	}
	if c.Limited && d.txns.fullForPart(p.Part) {
		return Result{Code: Busy}, false, nil
	}
	return Result{}, true, nil
}

// apply executes the command seq of client at most once. notify reports whether
// waiting requests have to look again.
func (d *data) apply(client, seq uint64, c *Command) (result Result, notify bool, err error) {
	result, fresh, err := d.precheck(client, seq, c)
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
		result = d.transact(c)
	case KindPrepare:
		return d.prepare(c.Phase), false, nil
	case KindOutcome:
		d.finish(c.Phase)
		return Result{}, true, nil
	case KindFetch:
		return Result{Code: Gone}, false, nil
	case kindDecide:
		d.decide(c.Phase)
		return Result{}, true, nil
	case kindForget:
		d.txns.forget(c.Phase.ID.Number)
		return Result{}, true, nil
	}
	if client != 0 {
		d.record(client, seq, c, result)
	}
	return result, false, nil
}

// record remembers the result of a client's command, without the values that the
// command read.
func (d *data) record(client, seq uint64, c *Command, result Result) {
	if c.readOnly() {
		result = Result{}
	}
	result.Values = nil
	d.sessions.Record(client, seq, result)
}

// transact executes a transaction whose keys are all in this shard and not locked.
func (d *data) transact(c *Command) Result {
	t := c.Txn
	o := &Outcome{Succeeded: t.holds(d.store)}
	ops := t.branch(o.Succeeded)
	o.Results, o.Bytes = preview(d.store, ops)
	if o.settle(ops, d.limits, c.Limited); o.Problem != 0 {
		return Result{Txn: o}
	}
	if !c.Limited { // an earlier version has executed the command and answered
		applyAll(d.store, ops)
		return Result{Txn: o}
	}
	values := packValues(applyAll(d.store, ops))
	if o.Keep && o.Bytes > 0 {
		o.ID = TxnID{Shard: c.Shard, Number: d.txns.Next}
		d.txns.Next++
		d.kept.put(o.ID, values)
	}
	return Result{Txn: o, Values: values}
}

// begin records a transaction over several shards at its coordinator.
func (d *data) begin(client, seq uint64, t *Txn) Result {
	n := d.txns.Next
	d.txns.Next++
	d.txns.add(record{Number: n, Txn: *t, Client: client, Seq: seq})
	return Result{Code: Pending}
}

// prepare locks the keys of a transaction, which are not locked, and votes.
func (d *data) prepare(p *Phase) Result {
	if d.txns.observe(p) {
		return Result{Code: Over}
	}
	d.txns.lock(&prepared{ID: p.ID, Part: *p.Part})
	return Result{Vote: d.vote(p.Part)}
}

// vote returns the participant's vote on a transaction. The transaction holds its
// locks, so the vote does not change.
func (d *data) vote(part *Txn) *Vote {
	v := &Vote{Holds: part.holds(d.store)}
	v.Then, v.ThenBytes = d.previewLocked(part.Then)
	v.Else, v.ElseBytes = d.previewLocked(part.Else)
	return v
}

// previewLocked is preview without the versions that the operations will assign.
// Those depend on writes to other keys in the meantime.
func (d *data) previewLocked(ops []kv.Op) ([]kv.Result, int) {
	results, bytes := preview(d.store, ops)
	for i := range results {
		if results[i].Version > d.store.Version() {
			results[i].Version = 0
		}
	}
	return results, bytes
}

// fetch returns the values that a decided transaction read, or nil if they are
// not here. Any server that has applied the prepare has the right values, as
// nothing changes them while the locks are held.
func (d *data) fetch(p *Phase) *Values {
	if v := d.kept.byID[p.ID]; v != nil {
		return v
	}
	if v := d.recent.byID[p.ID]; v != nil {
		return v
	}
	if had := d.txns.prepared[p.ID]; had != nil {
		ops := had.Part.branch(p.Outcome.Succeeded)
		if _, bytes := preview(d.store, ops); bytes <= MaxTxnResultBytes {
			return packValues(applyAll(d.store.Copy(), ops))
		}
	}
	return nil
}

// finish commits or aborts a transaction at a participant, once, and releases the
// locks.
func (d *data) finish(p *Phase) {
	if d.txns.observe(p) {
		return
	}
	if had := d.txns.prepared[p.ID]; had != nil {
		if p.Outcome.Problem == 0 {
			d.commit(had, &p.Outcome)
		}
		d.txns.unlock(had)
	}
	d.txns.finished[p.ID] = true
}

// commit executes the participant's part and keeps the values for the client.
func (d *data) commit(p *prepared, o *Outcome) {
	ops := p.Part.branch(o.Succeeded)
	results := applyAll(d.store, ops)
	switch {
	case o.Bytes == 0 || !slices.ContainsFunc(ops, kv.Op.ReadOnly):
	case o.Keep:
		d.kept.put(p.ID, packValues(results))
	default:
		d.recent.put(p.ID, packValues(results))
	}
}

// decide records the outcome of a transaction, unless the transaction has one.
func (d *data) decide(p *Phase) {
	r, ok := d.txns.records[p.ID.Number]
	if !ok || r.Decided {
		return
	}
	r.Decided, r.Outcome = true, p.Outcome
	r.Outcome.strip()
	d.txns.records[r.Number] = r
	if _, done, err := d.sessions.Lookup(r.Client, r.Seq); !done && err == nil {
		outcome := r.Outcome
		d.sessions.Record(r.Client, r.Seq, Result{Txn: &outcome})
	}
}

// dataBody is the encoding of a shard's contents.
type dataBody struct {
	Format   uint8
	Store    pieces
	Sessions []rsm.Session[Result]
	Txns     ledgerBody
	Kept     []keptEntry // since format 2
}

const (
	// dataFormat is the version of the encoding that this program writes.
	dataFormat = 2
	// dataFormatUnbounded is an earlier version, which this program reads.
	// Outcomes of that version hold values.
	dataFormatUnbounded = 1
)

// capture returns a function that encodes the present contents. capture takes
// constant time, apart from transactions in progress and kept values.
func (d *data) capture() func() ([]byte, error) {
	write, sessions, txns := d.store.Snapshot(), d.sessions.Copy(), d.txns.body()
	kept := append([]keptEntry(nil), d.kept.order...)
	return func() (encoded []byte, err error) {
		var store bytes.Buffer
		if err := write(&store); err != nil {
			return nil, err
		}
		return msgpack.Encode(&dataBody{
			Format: dataFormat, Store: cut(store.Bytes()), Sessions: sessions.Records(), Txns: txns, Kept: kept,
		})
	}
}

// decodeData decodes the output of capture, or of an earlier version.
func decodeData(encoded []byte, s settings) (*data, error) {
	var b dataBody
	rest, err := msgpack.DecodeVersion(encoded, dataFormat, &b)
	if other := (*msgpack.VersionError)(nil); errors.As(err, &other) && other.Found == dataFormatUnbounded {
		rest, err = msgpack.DecodeVersion(encoded, dataFormatUnbounded, &b)
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the shard", len(rest))
	}
	if err != nil {
		return nil, err
	}
	d := newData(s)
	if err := d.store.Restore(b.Store.join()); err != nil {
		return nil, err
	}
	for i := range b.Sessions {
		if o := b.Sessions[i].Result.Txn; o != nil {
			o.strip()
		}
	}
	d.sessions.Merge(b.Sessions)
	d.txns = b.Txns.load()
	d.kept = newKeptValues(b.Kept)
	return d, nil
}
