package shardkv

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"raftlab/kv"
	"raftlab/rsm"
	"raftlab/shardctrler"
)

// Image is the state of a group without a server, for programs that read a group's log.
// An Image is used by one goroutine at a time.
type Image struct {
	state   *state
	replica *rsm.Replica[Command, Result]
	// departed has the data of shards that have left. Without the log of the next owner,
	// this data is the newest.
	departed map[int]*Extract
}

// NewImage returns the state of group gid in a snapshot, or the initial state for an empty
// snapshot. The limits are those of the servers.
func NewImage(gid int, snapshot []byte, limits kv.Limits) (*Image, error) {
	st := newState(gid, limits, rsm.DefaultMaxSessions)
	replica, err := rsm.New(st, snapshot, rsm.Options{})
	if err != nil {
		return nil, err
	}
	return &Image{st, replica, make(map[int]*Extract)}, nil
}

// Status returns a picture of the state. Term and IsLeader are not set.
func (m *Image) Status() Status {
	s := Status{Applied: int(m.replica.Applied())}
	m.state.describe(&s)
	return s
}

// Pairs passes the pairs of a shard whose data is at the group to do, in the order of the
// keys.
func (m *Image) Pairs(shard int, do func(kv.Pair)) {
	if d := m.state.shards[shard].data; d != nil {
		d.pairs(do)
	}
}

// WriteSnapshot writes the state as the snapshot of a log up to index.
func (m *Image) WriteSnapshot(w io.Writer, index uint64) error {
	return m.replica.WriteSnapshot(w, index)
}

// Sum returns a hash of the configuration, of the owners of the shards, and of all pairs.
// The servers of a group have the same sum after the same entry of the log.
func (m *Image) Sum() [sha256.Size]byte {
	h := sha256.New()
	number(h, uint64(m.state.config.Num))
	for i := range shardctrler.NShards {
		s := &m.state.shards[i]
		fmt.Fprintf(h, "%d %t %t %d %v\n", i, s.data != nil, s.Assigned, s.Passed, s.Tenures)
		if s.data == nil {
			continue
		}
		number(h, s.data.store.Version())
		m.Pairs(i, func(p kv.Pair) {
			number(h, p.Version)
			text(h, p.Key)
			text(h, p.Value)
		})
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func number(h hash.Hash, n uint64) { h.Write(binary.BigEndian.AppendUint64(nil, n)) }

func text(h hash.Hash, s string) {
	number(h, uint64(len(s)))
	h.Write([]byte(s))
}
