package labgob_test

import (
	"bytes"
	"encoding/gob"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// everything has a field of each kind that gob sends, and some that gob leaves out.
type everything struct {
	Bool    bool
	Int     int
	I8      int8
	I16     int16
	I32     int32
	I64     int64
	Uint    uint
	U8      uint8
	U16     uint16
	U32     uint32
	U64     uint64
	Pointer uintptr
	F32     float32
	F64     float64
	C64     complex64
	C128    complex128
	Text    string
	Bytes   []byte
	Named   []mark
	Fixed   [3]byte
	List    []int
	Deep    [][]string
	Pairs   map[string]int
	Structs []inner
	Array   [2]inner
	Self    *everything
	Twice   **int
	Any     any
	Anys    []any
	hidden  int
	Channel chan int
	Func    *func()
	Inner   inner
	Embedded
	embedded
}

type (
	mark     byte
	inner    struct{ A, B int }
	Embedded struct{ Name string }
	embedded struct{ Lost int }
)

// full returns a value without a zero in any field.
func full() everything {
	n := 7
	p := &n
	return everything{
		true, -1, math.MinInt8, -129, math.MaxInt32, math.MinInt64, 127, 128, 65535, 1 << 31, math.MaxUint64, 9,
		1.5, math.Inf(-1), complex(1, -2), complex(0, 3), "text", []byte("bytes"), []mark{1, 200}, [3]byte{0, 255, 1},
		[]int{0, -1, 1 << 30}, [][]string{nil, {""}, {"a", "b"}}, map[string]int{"k": 0}, []inner{{}, {1, 0}}, [2]inner{{}, {0, 2}},
		&everything{Int: 3, Any: Op{Key: "inside"}}, &p, Op{Key: "k", Value: string(make([]byte, 200))},
		[]any{nil, 1, "s", []byte{1}, Op{}, &Op{Seq: 2}, Box{Box{nil}}, Box{Op{Seq: 1}}, 1.5, false}, 1, make(chan int), nil, inner{1, 2},
		Embedded{"e"}, embedded{1},
	}
}

// The messages equal those of package gob for all kinds of values, in a stream of values of
// one type. The first value of a type describes the types, and package gob encodes it.
func TestBytesEqualGob(t *testing.T) {
	nothing := everything{F64: math.Copysign(0, -1), C128: complex(math.Copysign(0, -1), 0), List: []int{}, Pairs: map[string]int{}, Anys: []any{}}
	n, x := 0, full()
	deep := &everything{}
	for range 600 { // nested deeper than a writer goes
		deep = &everything{Self: deep, Any: Op{Seq: 1}}
	}
	for _, v := range []any{
		full(), &x, everything{}, nothing, *deep, 0, -5, &n, "", "text", []byte(nil), []byte{1}, true, 2.5, complex(1, 2), uint8(200), [3]byte{1},
		map[int]string{}, map[int]string{-3: "x"}, []any{}, []any{nil, 3}, []string{"", "a"}, [2]bool{true}, inner{}, []*inner{{}, {1, 2}}, Entry{1, nil},
		Entry{1, Op{Key: "k"}}, map[string]any{"a": Op{Seq: 5}}, map[string]*inner{"p": {1, 0}},
	} {
		for range 3 { // the second and third time without gob
			require.Equal(t, bodyOf(t, v, gobBytes), bodyOf(t, v, ourBytes), "%T", v)
		}
	}
}

// bodyOf encodes v twice, and returns the second message, which has no definitions.
func bodyOf(t *testing.T, v any, encoded func(v ...any) ([]byte, error)) string {
	t.Helper()
	once, err := encoded(v)
	require.NoError(t, err, "%T", v)
	twice, err := encoded(v, v)
	require.NoError(t, err, "%T", v)
	return string(twice[len(once):])
}

func gobBytes(values ...any) ([]byte, error) {
	var b bytes.Buffer
	e := gob.NewEncoder(&b)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func ourBytes(values ...any) ([]byte, error) {
	var b bytes.Buffer
	e := labgob.NewEncoder(&b)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

type (
	unknown struct{ A int } // registered nowhere
	onlyOwn struct{ a int }
)

// A value that gob refuses is refused with gob's error, also after a good value of its type.
func TestErrorsEqualGob(t *testing.T) {
	for _, c := range []struct{ good, bad any }{
		{[]*inner{{}}, []*inner{nil}},
		{map[int]*inner{1: {}}, map[int]*inner{1: nil}},
		{[]any{1}, []any{unknown{}}},
		{Entry{1, 1}, Entry{1, unknown{}}},
		{0, onlyOwn{1}},
		{0, make(chan int)},
	} {
		_, err := ourBytes(c.good, c.good)
		require.NoError(t, err)
		_, theirs := gobBytes(c.bad)
		_, ours := ourBytes(c.bad)
		require.Error(t, theirs, "%T", c.bad)
		require.EqualError(t, ours, theirs.Error(), "%T", c.bad)
	}
	_, err := ourBytes([]any{Op{}, (*Op)(nil)})
	require.ErrorIs(t, err, labgob.ErrNil)
}
