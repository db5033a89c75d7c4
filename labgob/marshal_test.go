package labgob_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

func marshaled(t testing.TB, v any) []byte {
	t.Helper()
	data, err := labgob.Marshal(v)
	require.NoError(t, err)
	return data
}

func TestBasicsAreCompact(t *testing.T) {
	for _, c := range []struct {
		v     any
		limit int
	}{{nil, 1}, {7, 8}, {100_000, 12}, {math.MinInt, 16}, {true, 9}, {"key", 14}, {[]byte("key"), 16}} {
		require.LessOrEqual(t, len(marshaled(t, c.v)), c.limit, "bytes of %#v", c.v)
	}
}

// TestCommonPrefix measures the saving for a log. Messages of one type differ
// only behind the description of the type.
func TestCommonPrefix(t *testing.T) {
	for _, c := range []struct {
		a, b any
		left int // bytes of each message behind the prefix
	}{
		{Op{"Put", "a", "1", 7, 1}, Op{"Get", "bb", "", 8, 2}, 24},
		{1, 2, 1},
		{"x", "y", 1},
		{Box{Op{Key: "a"}}, Box{Op{Key: "b"}}, 16},
	} {
		a, b := marshaled(t, c.a), marshaled(t, c.b)
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		require.LessOrEqual(t, max(len(a), len(b))-n, c.left, "%T: bytes behind %d common ones", c.a, n)
	}
}

func TestUnmarshalDoesNotAlias(t *testing.T) {
	for _, v := range []any{[]byte("bytes"), "string", Op{Key: "key"}, map[string]int{"key": 1}, Box{[]byte("inner")}} {
		data := marshaled(t, v)
		got, err := labgob.Unmarshal(data)
		require.NoError(t, err)
		for i := range data {
			data[i] = 0xaa
		}
		require.Equal(t, v, got)
	}
}

// TestConcurrentUse has many goroutines encode and decode the same types.
func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			var stream bytes.Buffer
			enc, dec := labgob.NewEncoder(&stream), labgob.NewDecoder(&stream)
			for i := range 200 {
				op := Op{Key: fmt.Sprint(g), Seq: i}
				got, err := labgob.Unmarshal(marshaled(t, op))
				if err != nil || got != op {
					t.Errorf("%v came back as %v, %v", op, got, err)
				}
				sent := AppendArgs{Term: i + 1, Entries: []Entry{{g, op}, {i, i}}}
				var args AppendArgs
				if err := enc.Encode(sent); err != nil {
					t.Error(err)
				}
				if err := dec.Decode(&args); err != nil || !reflect.DeepEqual(args, sent) {
					t.Errorf("%v came back as %v, %v", sent, args, err)
				}
			}
		})
	}
	wg.Wait()
}

type renamed struct{ A int }

func TestRegister(t *testing.T) {
	labgob.RegisterName("a name of its own", renamed{})
	labgob.RegisterName("a name of its own", renamed{}) // again: harmless
	require.Contains(t, string(marshaled(t, renamed{5})[:20]), "a name of its own")
	for name, f := range map[string]func(){
		"another name": func() { labgob.RegisterName("another", renamed{}) },
		"another type": func() { labgob.RegisterName("a name of its own", Unknown{}) },
		"nil":          func() { labgob.Register(nil) },
	} {
		require.Panics(t, f, name)
	}
	got, err := labgob.Unmarshal(marshaled(t, renamed{5}))
	require.NoError(t, err)
	require.Equal(t, renamed{5}, got, "after conflicts")
}
