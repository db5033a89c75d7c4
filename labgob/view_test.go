package labgob_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

type viewedEntry struct {
	Term    int
	Command any
}

type viewed struct {
	Term    int
	From    uint64
	Granted bool
	Share   float64
	Name    string
	Body    []byte
	Entries []viewedEntry
	ByName  map[string]int
	Empty   *viewedEntry
}

// View shows each kind of value, also those inside interfaces.
func TestView(t *testing.T) {
	labgob.Register(viewedEntry{})
	data, err := labgob.Encode(viewed{
		Term: -3, From: 9, Share: math.Pi, Name: "x", Body: []byte{1, 2},
		Entries: []viewedEntry{{4, "put"}, {5, viewedEntry{6, 7}}, {Term: 8}}, ByName: map[string]int{"a": 1},
	})
	require.NoError(t, err)
	got, err := labgob.View(data)
	require.NoError(t, err)
	inner := labgob.Struct{{Name: "Term", Value: int64(6)}, {Name: "Command", Value: labgob.Named{Name: "int", Value: int64(7)}}}
	require.Equal(t, labgob.Struct{
		{Name: "Term", Value: int64(-3)}, {Name: "From", Value: uint64(9)}, {Name: "Granted", Value: false},
		{Name: "Share", Value: math.Pi}, {Name: "Name", Value: "x"}, {Name: "Body", Value: []byte{1, 2}},
		{Name: "Entries", Value: []any{
			labgob.Struct{{Name: "Term", Value: int64(4)}, {Name: "Command", Value: labgob.Named{Name: "string", Value: "put"}}},
			labgob.Struct{{Name: "Term", Value: int64(5)}, {Name: "Command", Value: labgob.Named{Name: "raftlab/labgob_test.viewedEntry", Value: inner}}},
			labgob.Struct{{Name: "Term", Value: int64(8)}, {Name: "Command", Value: nil}},
		}},
		{Name: "ByName", Value: labgob.Map{{Key: "a", Value: int64(1)}}}, {Name: "Empty", Value: nil},
	}, got)
	message, err := labgob.Marshal(viewedEntry{6, 7})
	require.NoError(t, err)
	named, err := labgob.ViewMessage(message)
	require.NoError(t, err)
	require.Equal(t, labgob.Named{Name: "raftlab/labgob_test.viewedEntry", Value: inner}, named)
	for n := range data {
		_, err := labgob.View(data[:n])
		require.ErrorIs(t, err, labgob.ErrMalformed, "the first %d bytes", n)
	}
}

// View does not panic, whatever the bytes.
func FuzzView(f *testing.F) {
	for _, v := range []any{viewed{Term: 1, Entries: []viewedEntry{{1, 2}}}, 7, "x", []string{"a"}} {
		data, err := labgob.Encode(v)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = labgob.View(data) })
}
