package shardkv

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
)

// state is a group's state machine. The methods that a Replica calls change it;
// the others may be called from any goroutine.
type state struct {
	gid         int
	limits      kv.Limits
	maxSessions int

	mu      sync.Mutex
	config  shardctrler.Config // the newest that was taken
	shards  [shardctrler.NShards]shard
	changed chan struct{} // closed when anything changes but what an operation writes
}

var _ rsm.SessionKeeper[Command, Result] = (*state)(nil)

func newState(gid int, limits kv.Limits, maxSessions int) *state {
	return &state{gid: gid, limits: limits, maxSessions: maxSessions, changed: make(chan struct{})}
}

// Apply executes a command that has no session.
func (st *state) Apply(c Command) Result {
	result, _ := st.ApplyFor(0, 0, c) // without a session there is no error
	return result
}

// ApplyFor executes the command seq of client, once.
func (st *state) ApplyFor(client, seq uint64, c Command) (Result, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if c.Kind == kindConfig {
		st.take(c.Config, c.Num)
		return Result{}, nil
	}
	if !c.wellFormed() {
		return Result{Status: Malformed}, nil
	}
	s := &st.shards[c.Shard]
	switch c.Kind {
	case KindInstall:
		return Result{Status: st.install(s, c.Num, c.Piece)}, nil
	case kindRemove:
		s.pass(c.Num)
		st.tell()
		return Result{}, nil
	}
	d, status := s.serving()
	if status != Served {
		return Result{Status: status}, nil
	}
	result, told, err := d.apply(client, seq, &c)
	if told {
		st.tell()
	}
	return result, err
}

// EndSession ends a client's session. Its sessions with several shards have different
// names.
func (st *state) EndSession(client uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.shards {
		if d, status := st.shards[i].serving(); status == Served {
			d.sessions.End(client)
		}
	}
}

// tell wakes those who wait for a change.
func (st *state) tell() {
	close(st.changed)
	st.changed = make(chan struct{})
}

// take moves on to the configuration that follows number after, if that is the
// one the group has.
func (st *state) take(c *shardctrler.Config, after int) {
	if c == nil || st.config.Num != after || c.Num <= after {
		return
	}
	st.config = *c
	for i := range st.shards {
		if st.shards[i].assign(c, i, st.gid) {
			st.shards[i].data = newData(st.limits, st.maxSessions)
		}
	}
	st.tell()
}

// install takes over a piece of a shard's data, and with the last one the shard,
// once.
func (st *state) install(s *shard, num int, p *Piece) Verdict {
	status, wanted := s.wants(num, st.config.Num, p)
	if !wanted {
		return status
	}
	encoded, whole := s.collect(p)
	if !whole {
		return Partial
	}
	d, err := decodeData(encoded, st.limits, st.maxSessions)
	if err != nil || p.Sum != checksum(encoded) {
		// The sender's and this program do not understand each other. The data
		// stays where it is.
		return Malformed
	}
	s.data = d
	st.tell()
	return Served
}

// watch returns a channel that is closed at the next change. To miss nothing,
// call it before looking.
func (st *state) watch() <-chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.changed
}

// current returns the newest configuration that was taken.
func (st *state) current() shardctrler.Config {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.config
}

// foretell returns what can be said of a command without the log; fresh: nothing.
// What is applied is committed, so a result that is known here is the result. What
// is not known here may be in the log all the same, a client's session too: a
// leader that is new has yet to apply what others have committed. So the answers
// that are not a result are such that the sender tries again.
func (st *state) foretell(client, seq uint64, c *Command) (result Result, fresh bool) {
	if !c.wellFormed() {
		return Result{Status: Malformed}, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s := &st.shards[c.Shard]
	if c.Kind == KindInstall {
		status, wanted := s.wants(c.Num, st.config.Num, c.Piece)
		return Result{Status: status}, wanted
	}
	d, status := s.serving()
	if status != Served {
		return Result{Status: status}, false
	}
	result, fresh, err := d.admits(client, seq, c)
	return result, fresh || err != nil
}

// duty is something that the group's leader is to see to: that a shard gets to
// its next owner, or that a transaction comes to its end.
type duty struct {
	shard int
	num   int    // of a move: the configuration that makes the receiver the owner; else 0
	txn   uint64 // of a transaction: its number at this shard, the coordinator; else 0
}

// duties returns what there is to see to.
func (st *state) duties() []duty {
	st.mu.Lock()
	defer st.mu.Unlock()
	var all []duty
	for i := range st.shards {
		s := &st.shards[i]
		if t, ok := s.outgoing(); ok {
			all = append(all, duty{shard: i, num: t.Until})
		}
		if d, status := s.serving(); status == Served {
			for n := range d.txns.records {
				all = append(all, duty{shard: i, txn: n})
			}
		}
	}
	return all
}

// record returns a transaction that a shard coordinates, and the number of the
// oldest there; false if the transaction is over or the shard not here.
func (st *state) record(id TxnID) (r record, oldest uint64, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	d, status := st.shards[id.Shard].serving()
	if status != Served {
		return record{}, 0, false
	}
	r, ok = d.txns.records[id.Number]
	return r, d.txns.oldest(), ok
}

// load returns what a move carries, as a function that encodes it, and where to;
// false if it has been made.
func (st *state) load(m duty) (encode func() ([]byte, error), gid int, servers []string, ok bool) {
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

// image is the state as it is in a snapshot.
type image struct {
	Format uint8
	Config shardctrler.Config
	Shards []shardImage
}

type shardImage struct {
	Shard    shard
	Here     bool
	Data     pieces
	Incoming *incoming
}

// imageFormat is the encoding that this file writes and reads.
const imageFormat = 1

// Snapshot returns a function that writes the state as it is now.
func (st *state) Snapshot() func(io.Writer) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	img := image{Format: imageFormat, Config: st.config, Shards: make([]shardImage, len(st.shards))}
	encoders := make([]func() ([]byte, error), len(st.shards))
	for i := range st.shards {
		s := &st.shards[i]
		img.Shards[i] = shardImage{
			Shard: shard{Assigned: s.Assigned, Passed: s.Passed, Tenures: append([]tenure(nil), s.Tenures...)},
			Here:  s.data != nil,
		}
		if s.incoming != nil {
			sofar := *s.incoming // what is added later lies beyond its end
			img.Shards[i].Incoming = &sofar
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
			img.Shards[i].Data = cut(encoded)
		}
		return codec.NewEncoder(w, msgpack).Encode(&img)
	}
}

// Restore replaces the state by a written one; nil is the initial one. After an
// error it is unchanged.
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
	st.tell()
	return nil
}

func (st *state) decode(snapshot []byte) error {
	var img image
	dec := codec.NewDecoderBytes(snapshot, msgpack)
	if err := dec.Decode(&img); err != nil {
		return err
	}
	switch {
	case img.Format != imageFormat:
		return fmt.Errorf("format %d; this program reads %d", img.Format, imageFormat)
	case len(img.Shards) != len(st.shards):
		return fmt.Errorf("%d shards; this program has %d", len(img.Shards), len(st.shards))
	case dec.NumBytesRead() != len(snapshot):
		return fmt.Errorf("%d bytes follow it", len(snapshot)-dec.NumBytesRead())
	}
	st.config = img.Config
	for i, s := range img.Shards {
		st.shards[i] = s.Shard
		st.shards[i].incoming = s.Incoming
		if !s.Here {
			continue
		}
		var err error
		if st.shards[i].data, err = decodeData(s.Data.join(), st.limits, st.maxSessions); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}
