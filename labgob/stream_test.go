package labgob_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

type Entry struct {
	Term    int
	Command any
}

type Op struct {
	Kind, Key, Value string
	Client           int64
	Seq              int
}

type AppendArgs struct {
	Term, LeaderID, PrevLogIndex, PrevLogTerm int
	Entries                                   []Entry
	LeaderCommit                              int
}

type PlainArgs struct {
	Term, Candidate int
	Data            []byte
	Names           map[string]int
	Next            *PlainArgs
	When            time.Time
}

type Box struct{ Inside any }

type Unknown struct{ A int }

func init() {
	labgob.Register(Op{})
	labgob.Register(Box{})
	labgob.Register(&PlainArgs{})
	labgob.Register(map[string]int{})
}

// values holds one value of each kind for the stream tests. A round trip does
// not change the values.
func values() []any {
	return []any{
		7, "text", []byte{1, 2}, 2.5, true, uint8(200), complex(1, 2), []string{"a", ""}, map[string]int{"x": 1},
		Op{"Put", "k", "v", 1 << 60, 3},
		PlainArgs{Term: 1, Data: []byte("d"), Names: map[string]int{"a": 0}, Next: &PlainArgs{Term: 2}, When: time.Unix(5, 0).UTC()},
		AppendArgs{Term: 3, Entries: []Entry{{1, 5}, {1, "s"}, {2, nil}, {2, Op{Key: "k"}}}},
		AppendArgs{Term: 3, Entries: []Entry{{1, Op{Key: "q"}}}},
		AppendArgs{Term: 3, Entries: []Entry{{1, Box{Box{Op{Key: "deep"}}}}, {1, 7}}},
		Box{Box{Box{map[string]int{"y": 2}}}},
		[3]int{1, 0, 3}, [][]Entry{{{1, true}}, nil}[:1],
	}
}

type encoder interface{ Encode(any) error }
type decoder interface{ Decode(any) error }

// TestStreams sends all kinds of values on one stream, forwards and backwards,
// with each pair of this package and encoding/gob.
func TestStreams(t *testing.T) {
	all := values()
	for i := len(all) - 1; i >= 0; i-- {
		all = append(all, all[i])
	}
	encoders := map[string]func(io.Writer) encoder{
		"gob":    func(w io.Writer) encoder { return gob.NewEncoder(w) },
		"labgob": func(w io.Writer) encoder { return labgob.NewEncoder(w) },
	}
	decoders := map[string]func(io.Reader) decoder{
		"gob":    func(r io.Reader) decoder { return gob.NewDecoder(r) },
		"labgob": func(r io.Reader) decoder { return labgob.NewDecoder(r) },
	}
	for from, newEncoder := range encoders {
		for to, newDecoder := range decoders {
			t.Run(from+" to "+to, func(t *testing.T) {
				for range 2 { // cold and warm
					testStream(t, all, newEncoder, newDecoder)
				}
			})
		}
	}
}

func testStream(t *testing.T, all []any, newEncoder func(io.Writer) encoder, newDecoder func(io.Reader) decoder) {
	var buf bytes.Buffer
	enc, dec := newEncoder(&buf), newDecoder(&buf)
	for _, v := range all {
		require.NoError(t, enc.Encode(v), "encode %#v", v)
		got := reflect.New(reflect.TypeOf(v))
		require.NoError(t, dec.Decode(got.Interface()), "decode %#v", v)
		require.Equal(t, v, got.Elem().Interface())
	}
	var extra int
	require.Equal(t, io.EOF, dec.Decode(&extra))
}

// TestSameBytes compares the output with gob's output, for streams of values
// without interfaces.
func TestSameBytes(t *testing.T) {
	var ours, theirs bytes.Buffer
	enc, want := labgob.NewEncoder(&ours), gob.NewEncoder(&theirs)
	for i, v := range []any{1, Op{Key: "a"}, PlainArgs{Term: 1}, Op{Key: "b"}, "x", []PlainArgs{{Term: 2}}, &Op{Seq: 1}} {
		require.NoError(t, errors.Join(enc.Encode(v), want.Encode(v)))
		require.Equal(t, theirs.Bytes(), ours.Bytes(), "value %d", i)
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	for range 2 {
		for _, v := range []any{nil, 7, -1, "s", "", []byte("b"), true, 1.5, Op{Key: "k"}, Op{}, Box{Op{Key: "in"}}, &PlainArgs{Term: 3}, map[string]int{"a": 1}} {
			data, err := labgob.Marshal(v)
			require.NoError(t, err)
			got, err := labgob.Unmarshal(data)
			require.NoError(t, err, "%#v", v)
			require.Equal(t, v, got)
		}
	}
}
