package wal

import (
	"bytes"
	"math"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// decodedRecord is a record as go-msgpack decodes it.
type decodedRecord struct {
	Kind, Group, Term, VotedFor uint64
	Compacted, CompactedTerm    uint64
	Snapshot                    *decodedSnapshot
	First                       uint64
	Entries                     []decodedEntry
}

type decodedSnapshot struct {
	Index, Term    uint64
	Configuration  []byte
	Size, Checksum uint64
	File           uint64
	Reset          bool
}

type decodedEntry struct {
	Term, Type uint64
	Data       []byte
}

// numbers lie on both sides of each change of msgpack's encoding.
var numbers = []uint64{0, 1, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64}

func sampleRecords() []record {
	var records []record
	for i, n := range numbers {
		r := record{
			kind: recordKind(i) % 5, group: node.GroupID(n), hardState: core.HardState{CurrentTerm: n, VotedFor: core.NodeID(n)},
			compacted: n, compactedTerm: n,
		}
		if i%2 == 0 {
			r.snapshot = &snapshotRecord{file: n, reset: i%4 == 0, header: node.SnapshotHeader{
				Index: n, Term: n, Size: n, Checksum: n, Configuration: bytes.Repeat([]byte{7}, i*i*i),
			}}
		}
		for k := range []int{0, 1, 15, 16, 70000, 3, 2}[i%7] {
			r.first = 5
			e := core.Entry{Index: 5 + uint64(k), Term: n, Type: core.EntryType(k), Data: []byte{}}
			if k < 3 {
				e.Data = make([]byte, []int{255, 256, 70000}[k])
			}
			r.entries = append(r.entries, e)
		}
		records = append(records, r)
	}
	return records
}

// What is laid out by hand is msgpack: go-msgpack reads it.
func TestRecordsAreMsgpack(t *testing.T) {
	handle := &codec.MsgpackHandle{WriteExt: true}
	handle.StructToArray = true
	for _, r := range sampleRecords() {
		encoded := r.append(nil)
		require.LessOrEqual(t, int64(len(encoded)), r.maxSize())
		var got decodedRecord
		d := codec.NewDecoderBytes(encoded, handle)
		require.NoError(t, d.Decode(&got))
		require.Equal(t, len(encoded), d.NumBytesRead())
		want := decodedRecord{
			Kind: uint64(r.kind), Group: uint64(r.group), Term: r.hardState.CurrentTerm, VotedFor: uint64(r.hardState.VotedFor),
			Compacted: r.compacted, CompactedTerm: r.compactedTerm, First: r.first, Entries: []decodedEntry{},
		}
		if s := r.snapshot; s != nil {
			want.Snapshot = &decodedSnapshot{s.header.Index, s.header.Term, s.header.Configuration, s.header.Size, s.header.Checksum, s.file, s.reset}
		}
		for _, e := range r.entries {
			want.Entries = append(want.Entries, decodedEntry{e.Term, uint64(e.Type), e.Data})
		}
		require.Equal(t, want, got)
	}
}

func TestRecordsComeBack(t *testing.T) {
	var encoded []byte
	records := sampleRecords()
	for i := range records {
		encoded = records[i].append(encoded)
	}
	var scratch record
	i := 0
	require.NoError(t, eachRecord(encoded, &scratch, func(got *record) {
		want := records[i]
		require.Equal(t, len(want.entries), len(got.entries))
		if len(want.entries) == 0 {
			got.entries, want.entries = nil, nil
		}
		require.Equal(t, want, *got)
		i++
	}))
	require.Equal(t, len(records), i)
}

// The decoder takes any bytes without a panic, and what it takes it can write.
func FuzzRecord(f *testing.F) {
	for _, r := range sampleRecords() {
		if encoded := r.append(nil); len(encoded) < 1000 {
			f.Add(encoded)
		}
	}
	f.Add([]byte{0x99, 0, 0, 0, 0, 0, 0, codeNil, 0xcf, 255, 255, 255, 255, 255, 255, 255, 255, 0x92})
	f.Fuzz(func(t *testing.T, data []byte) {
		var scratch, again record
		_ = eachRecord(data, &scratch, func(r *record) {
			encoded := r.append(nil)
			require.NoError(t, eachRecord(encoded, &again, func(second *record) {
				require.Equal(t, encoded, second.append(nil))
			}))
		})
	})
}
