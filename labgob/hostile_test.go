package labgob_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// A Tree nests without bound.
type Tree struct {
	Kids []Tree
	Next *Tree
	Any  any
}

func init() { labgob.Register(Tree{}) }

// targets returns fresh variables of the kinds into which the fuzz targets
// decode.
func targets() []any {
	return []any{new(int), new(string), new([]byte), new(Op), new(AppendArgs), new(PlainArgs), new(Tree), new(map[string]int), new([]Entry), nil}
}

// allowed bounds the memory for a decode of n bytes. Compiling a type costs
// memory, and a byte may stand for an element of some hundred bytes.
func allowed(n int) uint64 { return 4<<20 + 1000*uint64(n) }

// allocated returns the bytes allocated during f. The number is an upper bound,
// because other goroutines allocate too.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := labgob.Encode(v)
	require.NoError(t, err)
	return data
}

// TestEveryTruncation cuts valid streams after each byte.
func TestEveryTruncation(t *testing.T) {
	for _, v := range values() {
		data := encoded(t, v)
		for n := range data {
			err := labgob.NewDecoder(bytes.NewReader(data[:n])).Decode(reflect.New(reflect.TypeOf(v)).Interface())
			if n == 0 {
				require.Equal(t, io.EOF, err, "%T: no bytes", v)
			} else if err != io.ErrUnexpectedEOF {
				require.ErrorIs(t, err, labgob.ErrMalformed, "%T: %d of %d bytes", v, n, len(data))
			}
			err = labgob.Decode(data[:n], reflect.New(reflect.TypeOf(v)).Interface())
			require.ErrorIs(t, err, labgob.ErrMalformed, "%T: %d of %d bytes in one piece", v, n, len(data))
		}
	}
}

// TestEveryBitFlip damages each bit of valid messages. The decoder must not
// panic or allocate out of proportion.
func TestEveryBitFlip(t *testing.T) {
	for _, v := range values() {
		data := encoded(t, v)
		for bit := range 8 * len(data) {
			bad := bytes.Clone(data)
			bad[bit/8] ^= 1 << (bit % 8)
			into := reflect.New(reflect.TypeOf(v)).Interface()
			got := allocated(func() { labgob.Decode(bad, into) })
			require.LessOrEqual(t, got, allowed(len(bad)), "%T: bytes for %x", v, bad)
		}
	}
}

// TestLyingCounts sends counts beyond the end of the input. Gob by itself
// allocates ten megabytes for each.
func TestLyingCounts(t *testing.T) {
	list := encoded(t, []int{1, 2, 3})
	list = append(list[:len(list)-4:len(list)-4], 0xfc, 0x00, 0xff, 0xff, 0xff) // 16,777,215 elements
	list[len(list)-5-4] += 4 + 1 - 4                                            // and the message's length to fit: two bytes more, three less
	deep := bytes.Repeat([]byte{1, 0xfd, 0x0f, 0xff, 0xff}, 200)
	kids := encoded(t, Tree{Kids: []Tree{{}}})
	for name, c := range map[string]struct {
		data []byte
		into any
	}{
		"message":       {mustHex(t, "f8 000000003fffffff 04 00"), new(int)},
		"string":        {mustHex(t, "08 0c00 fc3fffffff 61"), new(string)},
		"bytes":         {mustHex(t, "08 0a00 fc3fffffff 61"), new([]byte)},
		"slice":         {list, new([]int)},
		"nested slices": {relength(kids, deep), new(Tree)},
	} {
		for kind, r := range map[string]io.Reader{"reader": bytes.NewReader(c.data), "pipe": iotest.OneByteReader(bytes.NewReader(c.data))} {
			var err error
			got := allocated(func() { err = labgob.NewDecoder(r).Decode(c.into) })
			require.Error(t, err, "%s from a %s", name, kind)
			require.LessOrEqual(t, got, uint64(1<<20), "%s from a %s: bytes for %d", name, kind, len(c.data))
		}
	}
}

// relength replaces the value in a stream of one struct by another's bytes.
func relength(stream, value []byte) []byte {
	start := 0
	for {
		size := int(stream[start])
		if stream[start] >= 0x80 {
			panic("a short message was expected")
		}
		if stream[start+1]&1 == 0 || stream[start+1] == 0xff && stream[start+2]&1 == 0 { // a positive type id
			break
		}
		start += 1 + size
	}
	id := stream[start+1 : start+2]
	if stream[start+1] == 0xff {
		id = stream[start+1 : start+3]
	}
	payload := append(bytes.Clone(id), value...)
	out := append(bytes.Clone(stream[:start]), 0xfe, byte(len(payload)>>8), byte(len(payload)))
	return append(out, payload...)
}

func TestNestingIsBounded(t *testing.T) {
	deep := &Tree{}
	for range labgob.MaxDepth {
		deep = &Tree{Next: deep}
	}
	var buf bytes.Buffer
	require.NoError(t, gob.NewEncoder(&buf).Encode(deep))
	require.ErrorIs(t, labgob.Decode(buf.Bytes(), new(Tree)), labgob.ErrMalformed)
	_, err := labgob.Encode(deep)
	require.ErrorIs(t, err, labgob.ErrTooDeep)
}

func TestUnmarshalErrors(t *testing.T) {
	op, err := labgob.Marshal(Op{Key: "k"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":         {nil, labgob.ErrMalformed},
		"only a name":     {op[:20], labgob.ErrMalformed},
		"cut":             {op[:len(op)-1], labgob.ErrMalformed},
		"more":            {append(bytes.Clone(op), 1), labgob.ErrTrailingBytes},
		"more than nil":   {[]byte{0, 0}, labgob.ErrTrailingBytes},
		"unknown name":    {[]byte("\x03abc\x03\x04\x00\x02"), labgob.ErrNotRegistered},
		"long name":       {append([]byte{0xfe, 0x04, 0x01}, make([]byte, 2000)...), labgob.ErrMalformed},
		"name of nothing": {mustHex(t, "ff"), labgob.ErrMalformed},
	} {
		_, err := labgob.Unmarshal(c.data)
		require.ErrorIs(t, err, c.want, name)
	}
	_, err = labgob.Marshal(Unknown{1})
	require.ErrorIs(t, err, labgob.ErrNotRegistered)
	_, err = labgob.Marshal((*PlainArgs)(nil))
	require.ErrorIs(t, err, labgob.ErrNil)
}

// TestErrorLeavesNothingBehind makes a decode fail and repeats a good one.
func TestErrorLeavesNothingBehind(t *testing.T) {
	good := encoded(t, Op{Key: "k", Seq: 3})
	for range 50 {
		var wrong []string
		require.Error(t, labgob.Decode(good, &wrong), "an Op into a []string")
		var got Op
		require.NoError(t, labgob.Decode(good, &got))
		require.Equal(t, Op{Key: "k", Seq: 3}, got)
	}
}
