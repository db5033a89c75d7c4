package shardkv

import (
	"fmt"
	"io"
	"sync"

	"raftlab/internal/msgpack"
	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
)

// state is the state machine of a group. Only the Replica calls the methods that
// change the state. Any goroutine may call the others.
type state struct {
	gid int
	settings

	mu      sync.Mutex
	config  shardctrler.Config // the newest one that the group has reached
	shards  [shardctrler.NShards]shard
	changed chan struct{} // closed when anything but a store changes
}

var _ rsm.SessionKeeper[Command, Result] = (*state)(nil)

func newState(gid int, limits kv.Limits, maxSessions int) *state {
	return &state{
		gid:      gid,
		settings: settings{limits: limits, maxSessions: maxSessions},
		changed:  make(chan struct{}),
	}
}

// Apply executes a command that has no session.
func (st *state) Apply(c Command) Result {
	result, _ := st.ApplyFor(0, 0, c) // without a session there is no error
	return result
}

// ApplyFor executes the command seq of client at most once.
func (st *state) ApplyFor(client, seq uint64, c Command) (Result, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if c.Kind == kindConfig {
		st.advance(c.Config, c.Num)
		return Result{}, nil
	}
	if !c.wellFormed() {
		return Result{Code: Malformed}, nil
	}
	s := &st.shards[c.Shard]
	switch c.Kind {
	case KindInstall:
		return Result{Code: st.install(s, c.Num, c.Piece)}, nil
	case kindRemove:
		s.remove(c.Num)
		st.notify()
		return Result{}, nil
	}
	d, code := s.serving()
	if code != Served {
		return Result{Code: code}, nil
	}
	result, notify, err := d.apply(client, seq, &c)
	if notify {
		st.notify()
	}
	return result, err
}

// EndSession ends the session of a client. A clerk uses another client id for each
// shard.
func (st *state) EndSession(client uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.shards {
		if d, code := st.shards[i].serving(); code == Served {
			d.sessions.End(client)
		}
	}
}

// notify wakes the goroutines that wait for a change.
func (st *state) notify() {
	close(st.changed)
	st.changed = make(chan struct{})
}

// advance moves the group from configuration number after to the next one. If the
// group has another configuration, nothing changes.
func (st *state) advance(c *shardctrler.Config, after int) {
	if c == nil || st.config.Num != after || c.Num <= after {
		return
	}
	st.config = *c
	for i := range st.shards {
		if st.shards[i].assign(c, i, st.gid) {
			st.shards[i].data = newData(st.settings)
		}
	}
	st.notify()
}

// install stores a piece of a shard's data. The last piece puts the shard into
// service. A repeated piece changes nothing.
func (st *state) install(s *shard, num int, p *Piece) Code {
	code, wanted := s.wants(num, st.config.Num, p)
	if !wanted {
		return code
	}
	encoded, whole := s.collect(p)
	if !whole {
		return Partial
	}
	d, err := decodeData(encoded, st.settings)
	if err != nil || p.Sum != checksum(encoded) {
		// The pieces were damaged, or another version wrote them. The sender keeps
		// the data.
		return Malformed
	}
	s.data = d
	st.notify()
	return Served
}

// watch returns a channel that is closed at the next change. To miss no change, call
// watch before reading the state.
func (st *state) watch() <-chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.changed
}

// current returns the newest configuration that the group has reached.
func (st *state) current() shardctrler.Config {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.config
}

// precheck answers a command without the log if the applied state already decides
// the answer. Otherwise fresh is true. Applied entries are committed, so a
// result that is known here is final. A new leader may not have applied all
// committed entries and may not know a client's session yet. So every answer other
// than a result makes the sender try again.
func (st *state) precheck(client, seq uint64, c *Command) (result Result, fresh bool) {
	if !c.wellFormed() {
		return Result{Code: Malformed}, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.shards[c.Shard]
	if c.Kind == KindInstall {
		code, wanted := s.wants(c.Num, st.config.Num, c.Piece)
		return Result{Code: code}, wanted
	}
	d, code := s.serving()
	if code != Served {
		return Result{Code: code}, false
	}
	result, fresh, err := d.precheck(client, seq, c)
	return result, fresh || err != nil
}

// task is work for the leader of the group: a shard to hand over to its next owner,
// or a transaction to coordinate.
type task struct {
	shard int
	num   int    // of a move: the configuration that makes the receiver the owner; else 0
	txn   uint64 // of a transaction: its number at this shard, the coordinator; else 0
}

// tasks returns the work that remains.
func (st *state) tasks() []task {
	st.mu.Lock()
	defer st.mu.Unlock()
	var all []task
	for i := range st.shards {
		s := &st.shards[i]
		if t, ok := s.outgoing(); ok {
			all = append(all, task{shard: i, num: t.Until})
		}
		if d, code := s.serving(); code == Served {
			for n := range d.txns.records {
				all = append(all, task{shard: i, txn: n})
			}
		}
	}
	return all
}

// record returns a transaction that a shard coordinates, and the number of the
// shard's oldest transaction. ok is false if the transaction is over or the shard
// is not here.
func (st *state) record(id TxnID) (r record, oldest uint64, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	d, code := st.shards[id.Shard].serving()
	if code != Served {
		return record{}, 0, false
	}
	r, ok = d.txns.records[id.Number]
	return r, d.txns.oldest(), ok
}

// outgoing returns the receiver of a move, and a function that encodes the
// shard. ok is false if the move is complete.
func (st *state) outgoing(m task) (encode func() ([]byte, error), gid int, servers []string, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.shards[m.shard]
	t, ok := s.outgoing()
	if !ok || t.Until != m.num {
		return nil, 0, nil, false
	}
	servers = t.Servers
	if now, member := st.config.Groups[t.Next]; member {
		servers = now
	}
	return s.data.capture(), t.Next, servers, true
}

// body is the encoding of a group's state, the body of a snapshot. Package rsm writes
// the header.
type body struct {
	Format uint8
	Config shardctrler.Config
	Shards []shardBody
}

type shardBody struct {
	Shard    shard
	Here     bool
	Data     pieces
	Incoming *incoming
}

// bodyFormat is the version of the encoding.
const bodyFormat = 1

// Snapshot returns a function that writes the present state.
func (st *state) Snapshot() func(io.Writer) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	b := body{Format: bodyFormat, Config: st.config, Shards: make([]shardBody, len(st.shards))}
	encoders := make([]func() ([]byte, error), len(st.shards))
	for i := range st.shards {
		s := &st.shards[i]
		b.Shards[i] = shardBody{
			Shard: shard{Assigned: s.Assigned, Passed: s.Passed, Tenures: append([]tenure(nil), s.Tenures...)},
			Here:  s.data != nil,
		}
		if s.incoming != nil {
			present := *s.incoming // later pieces are appended behind the present end
			b.Shards[i].Incoming = &present
		}
		if s.data != nil {
			encoders[i] = s.data.capture()
		}
	}
	return func(w io.Writer) error {
		for i, encode := range encoders {
			if encode == nil {
				continue
			}
			encoded, err := encode()
			if err != nil {
				return err
			}
			b.Shards[i].Data = cut(encoded)
		}
		return msgpack.Write(w, &b)
	}
}

// Restore replaces the state by one that Snapshot wrote. An empty snapshot stands
// for the initial state. After an error the state is unchanged.
func (st *state) Restore(snapshot []byte) error {
	fresh := newState(st.gid, st.limits, st.maxSessions)
	if len(snapshot) > 0 {
		if err := fresh.decode(snapshot); err != nil {
			return fmt.Errorf("shardkv: decoding a state of %d bytes: %w", len(snapshot), err)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.config, st.shards = fresh.config, fresh.shards
	st.notify()
	return nil
}

func (st *state) decode(snapshot []byte) error {
	var b body
	rest, err := msgpack.DecodeVersion(snapshot, bodyFormat, &b)
	switch {
	case err != nil:
		return err
	case len(b.Shards) != len(st.shards):
		return fmt.Errorf("%d shards; this program has %d", len(b.Shards), len(st.shards))
	case len(rest) > 0:
		return fmt.Errorf("%d bytes follow the state", len(rest))
	}
	st.config = b.Config
	for i, s := range b.Shards {
		st.shards[i] = s.Shard
		st.shards[i].incoming = s.Incoming
		if !s.Here {
			continue
		}
		if st.shards[i].data, err = decodeData(s.Data.join(), st.settings); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}
