package labgob_test

import (
	"bytes"
	"encoding/gob"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// BenchmarkRoundTrip sends one message with a new encoder and a new decoder, as
// an RPC does, with gob and with labgob.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name string
		send any
		into func() any
	}{
		{"int", 7, func() any { return new(int) }},
		{"vote", PlainVote{3, 1, 17, 2}, func() any { return new(PlainVote) }},
		{"op", Op{"Put", "key", "value", 1 << 60, 3}, func() any { return new(Op) }},
		{"append", AppendArgs{3, 1, 17, 2, []Entry{{3, Op{"Put", "key", "value", 1 << 60, 3}}}, 16}, func() any { return new(AppendArgs) }},
	} {
		b.Run(c.name+"/gob", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var buf bytes.Buffer
				if gob.NewEncoder(&buf).Encode(c.send) != nil || gob.NewDecoder(&buf).Decode(c.into()) != nil {
					b.Fatal("failed")
				}
			}
		})
		b.Run(c.name+"/labgob", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var buf bytes.Buffer
				if labgob.NewEncoder(&buf).Encode(c.send) != nil || labgob.NewDecoder(&buf).Decode(c.into()) != nil {
					b.Fatal("failed")
				}
			}
		})
	}
}

type PlainVote struct{ Term, Candidate, LastLogIndex, LastLogTerm int }

func BenchmarkMarshal(b *testing.B) {
	for _, c := range []struct {
		name string
		v    any
	}{{"int", 7}, {"string", "hello"}, {"op", Op{"Put", "key", "value", 1 << 60, 3}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				data, err := labgob.Marshal(c.v)
				require.NoError(b, err)
				_, err = labgob.Unmarshal(data)
				require.NoError(b, err)
				b.SetBytes(int64(len(data)))
			}
		})
	}
}

// BenchmarkPersist encodes the state of a plain Raft with a log of 100 entries, as each
// change of the state does.
func BenchmarkPersist(b *testing.B) {
	entries := make([]Entry, 100)
	for i := range entries {
		entries[i] = Entry{i, Box{Op{"Put", "key", "value", 1 << 60, i}}}
	}
	for name, encode := range map[string]func(...any) ([]byte, error){"gob": gobBytes, "labgob": ourBytes} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encode(7, 2, entries); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
