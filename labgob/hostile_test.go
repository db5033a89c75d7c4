package labgob_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"errors"
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
			if n == 0 && err != io.EOF {
				t.Fatalf("%T: no bytes: %v, want io.EOF", v, err)
			}
			if n > 0 && err != io.ErrUnexpectedEOF && !errors.Is(err, labgob.ErrMalformed) {
				t.Fatalf("%T: %d of %d bytes: %v", v, n, len(data), err)
			}
			if err := labgob.Decode(data[:n], reflect.New(reflect.TypeOf(v)).Interface()); !errors.Is(err, labgob.ErrMalformed) {
				t.Fatalf("%T: %d of %d bytes at once: %v", v, n, len(data), err)
			}
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
			if got := allocated(func() { labgob.Decode(bad, into) }); got > allowed(len(bad)) {
				t.Fatalf("%T: %x: %d bytes allocated", v, bad, got)
			}
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
			if err == nil || got > 1<<20 {
				t.Errorf("%s from a %s: %v, %d bytes allocated for %d", name, kind, err, got, len(c.data))
			}
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
	if err := labgob.Decode(buf.Bytes(), new(Tree)); !errors.Is(err, labgob.ErrMalformed) {
		t.Errorf("decoding %d levels: %v", labgob.MaxDepth+1, err)
	}
	if _, err := labgob.Encode(deep); !errors.Is(err, labgob.ErrTooDeep) {
		t.Errorf("encoding %d levels: %v", labgob.MaxDepth+1, err)
	}
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
		if v, err := labgob.Unmarshal(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, v, err, c.want)
		}
	}
	if _, err := labgob.Marshal(Unknown{1}); !errors.Is(err, labgob.ErrNotRegistered) {
		t.Errorf("unregistered type: %v", err)
	}
	if _, err := labgob.Marshal((*PlainArgs)(nil)); err == nil {
		t.Error("a nil pointer was marshaled")
	}
}

// TestErrorLeavesNothingBehind makes a decode fail and repeats a good one.
func TestErrorLeavesNothingBehind(t *testing.T) {
	good := encoded(t, Op{Key: "k", Seq: 3})
	for range 50 {
		var wrong []string
		if err := labgob.Decode(good, &wrong); err == nil {
			t.Fatal("an Op was decoded into a []string")
		}
		var got Op
		if err := labgob.Decode(good, &got); err != nil || got.Seq != 3 {
			t.Fatalf("after an error: %v %v", got, err)
		}
	}
}
