package labtrace

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/msgpack"
)

// The reader agrees with the project's encoder about each kind of value, and says no to a part of one.
func TestViewMsgpack(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	wide := make([]any, 70_000)
	many := make(map[any]any)
	for i := range int64(20) {
		many[i] = "y"
	}
	for _, v := range []any{
		nil, true, false, int64(0), int64(127), int64(-1), int64(-32), int64(-33), int64(-200), int64(-70_000), int64(math.MinInt64), uint64(math.MaxUint64),
		1.5, "", "text", long[:40], long[:300], long, []byte{1, 2}, []byte(long[:300]), []byte(long), []any{}, []any{int64(1), []any{"a"}}, wide[:20], wide,
		map[any]any{"k": int64(-5)}, many,
	} {
		data, err := msgpack.Encode(v)
		require.NoError(t, err)
		got, ok := viewMsgpack(data)
		require.True(t, ok, "%T", v)
		require.Equal(t, v, got)
		for n := range min(len(data), 100) {
			_, ok := viewMsgpack(data[:n])
			require.False(t, ok, "%d of the bytes of %T", n, v)
		}
		_, ok = viewMsgpack(append(data, 0))
		require.False(t, ok, "another byte")
	}
	for n, want := range map[uint64]uint64{200: 200, 70_000: 70_000, 1 << 40: 1 << 40} {
		data, err := msgpack.Encode(n)
		require.NoError(t, err)
		got, ok := viewMsgpack(data)
		require.True(t, ok)
		require.EqualValues(t, want, got)
	}
	_, ok := viewMsgpack([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	require.False(t, ok, "a list of four billion values")
	_, ok = viewMsgpack([]byte(strings.Repeat("\x91", 100)))
	require.False(t, ok, "deep nesting")
}

func FuzzViewMsgpack(f *testing.F) {
	f.Add([]byte{0x95, 1, 2, 0xa1, 'a', 0x81, 1, 2, 0xca, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) { viewMsgpack(data) })
}
