package shardkv

import (
	"context"
	"fmt"
	"time"

	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
)

// Extract is the data of a shard apart from the shard's group: keys, client sessions, and
// the shard's part in transactions. An Extract is used by one goroutine at a time.
type Extract struct {
	Shard int
	// From is the number of the configuration that made the group the owner. Among the
	// copies of a shard, the one with the highest From is the newest.
	From int
	// Next is the number of the next transaction that the shard begins. Unfinished
	// is the number of the earlier ones that are not over. Only [ShardKV.Extract] sets both.
	Next       uint64
	Unfinished int

	encode func() ([]byte, error) // of an extract of a server
	data   *data                  // of other extracts
}

// Encode returns the extract for [DecodeExtract].
func (e *Extract) Encode() ([]byte, error) {
	if e.data != nil {
		return e.data.capture()()
	}
	return e.encode()
}

// Keys returns the number of keys of an extract of an [Image], or of a decoded one.
func (e *Extract) Keys() int { return e.data.store.Len() }

// Pairs passes the pairs of an extract of an [Image], or of a decoded one, to do, in the
// order of the keys.
func (e *Extract) Pairs(do func(kv.Pair)) { e.data.pairs(do) }

// pairs passes all pairs to do, in the order of the keys.
func (d *data) pairs(do func(kv.Pair)) {
	for start, more := "", true; more; {
		page := d.store.Apply(kv.Scan(start, "", 0))
		for _, p := range page.Pairs {
			do(p)
			start = p.Key + "\x00"
		}
		more = page.More
	}
}

// EmptyExtract returns a shard without keys.
func EmptyExtract(shard int, limits kv.Limits) *Extract {
	return &Extract{Shard: shard, data: newData(settings{limits, rsm.DefaultMaxSessions})}
}

// DecodeExtract returns the extract of a shard that Encode has encoded. The limits are
// those of the servers.
func DecodeExtract(shard int, encoded []byte, limits kv.Limits) (*Extract, error) {
	if !isShard(shard) {
		return nil, fmt.Errorf("shardkv: shard %d; want 0 to %d", shard, shardctrler.NShards-1)
	}
	d, err := decodeData(encoded, settings{limits, rsm.DefaultMaxSessions})
	if err != nil {
		return nil, fmt.Errorf("shardkv: decoding shard %d of %d bytes: %w", shard, len(encoded), err)
	}
	return &Extract{Shard: shard, data: d}, nil
}

// current returns the data of a shard that no other group has newer data of, nil if there
// is none here. A group without a successor keeps the data after its last tenure.
func (s *shard) current() *data {
	if s.data == nil || s.Tenures[0].Next != 0 {
		return nil
	}
	return s.data
}

// Extract returns the data of a shard with the effects of every command that was
// acknowledged before the call, or nil if the group does not have the newest data. Any
// server of the group answers. The errors are those of [rsm.Replica.Read].
func (s *ShardKV) Extract(ctx context.Context, shard int) (e *Extract, err error) {
	err = s.replica.Read(ctx, func() {
		s.state.mu.Lock()
		defer s.state.mu.Unlock()
		if d := s.state.shards[shard].current(); d != nil {
			e = &Extract{
				Shard: shard, From: s.state.shards[shard].Tenures[0].From,
				Next: d.txns.Next, Unfinished: len(d.txns.records), encode: d.capture(),
			}
		}
	})
	return e, err
}

// HoldTransactions has this server begin no transaction for some time. Clerks wait
// meanwhile. A later call replaces the time.
func (s *ShardKV) HoldTransactions(d time.Duration) {
	s.heldUntil.Store(time.Now().Add(d).UnixNano())
}

// holds reports whether a command waits for the end of [ShardKV.HoldTransactions].
func (s *ShardKV) holds(c *Command) bool {
	return c.Kind == KindTxn && time.Now().UnixNano() < s.heldUntil.Load()
}

// Apply applies the command at index of the log. Commands within the snapshot change
// nothing.
func (m *Image) Apply(index uint64, command []byte) error {
	var before [shardctrler.NShards]shard
	copy(before[:], m.state.shards[:])
	err := m.replica.Replay(index, command)
	for i := range before {
		if m.state.shards[i].data == nil && before[i].data != nil {
			m.departed[i] = &Extract{Shard: i, From: before[i].Tenures[0].From, data: before[i].data}
		}
	}
	return err
}

// Extracts returns the data of all shards at the group, and the data of shards that have
// left the group since the first command that was applied. Another group may have newer
// data. The Image is not used afterwards.
func (m *Image) Extracts() []*Extract {
	var all []*Extract
	for i := range m.state.shards {
		if s := &m.state.shards[i]; s.data != nil {
			all = append(all, &Extract{Shard: i, From: s.Tenures[0].From, data: s.data})
		} else if e := m.departed[i]; e != nil {
			all = append(all, e)
		}
	}
	return all
}

// Assigned reports whether the group knows that a shard had an owner, and so may have data.
func (m *Image) Assigned(shard int) bool { return m.state.shards[shard].Assigned }

// ImageOf returns the state of group gid in a new store, whose first configuration is
// config. The group takes over the extracts of its shards.
func ImageOf(gid int, config shardctrler.Config, extracts []*Extract, limits kv.Limits) (*Image, error) {
	m, err := NewImage(gid, nil, limits)
	if err != nil {
		return nil, err
	}
	m.state.advance(&config, 0)
	for _, e := range extracts {
		if s := &m.state.shards[e.Shard]; s.data != nil {
			s.data = e.data
		}
	}
	return m, nil
}
