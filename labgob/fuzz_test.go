package labgob_test

import (
	"bytes"
	"encoding/gob"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// FuzzDecode decodes arbitrary bytes into each kind of target, in one piece and
// as a stream. The decoders must not panic or allocate out of proportion. Gob
// must accept every accepted input with the same result.
func FuzzDecode(f *testing.F) {
	for _, v := range values() {
		f.Add(encoded(f, v))
		var plain bytes.Buffer
		require.NoError(f, gob.NewEncoder(&plain).Encode(v))
		f.Add(plain.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, ours := range targets() {
			var err error
			got := allocated(func() { err = labgob.Decode(data, ours) })
			require.LessOrEqual(t, got, allowed(len(data)), "bytes for %d, into a %T", len(data), ours)
			stream := targets()[i]
			streamed := labgob.NewDecoder(bytes.NewReader(data)).Decode(stream)
			if err != nil {
				continue
			}
			theirs := targets()[i]
			plain := data
			if labgob.Rewrites(data) { // gob itself might skip the value wrongly
				plain = labgob.Rewritten(data, theirs)
			}
			require.NoError(t, gob.NewDecoder(bytes.NewReader(plain)).Decode(theirs), "gob refuses what we accept")
			require.NoError(t, streamed)
			require.True(t, equalDecoded(ours, theirs), "%#v by Decode, %#v by gob", ours, theirs)
			require.True(t, equalDecoded(stream, theirs), "%#v from the stream, %#v by gob", stream, theirs)
		}
	})
}

// equalDecoded compares decoded values. Not-a-number differs from itself, so same also
// compares the lengths of the encodings.
func equalDecoded(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, errA := labgob.Encode(a)
	y, errB := labgob.Encode(b)
	return errA == nil && errB == nil && len(x) == len(y)
}

// FuzzUnmarshal decodes arbitrary bytes as a message of Marshal. Every accepted
// value survives another round trip.
func FuzzUnmarshal(f *testing.F) {
	for _, v := range []any{nil, 7, "s", []byte{1}, Op{Key: "k"}, Box{Op{Seq: 1}}, &PlainArgs{Term: 1}, Tree{Kids: []Tree{{}}, Any: 1}} {
		data, err := labgob.Marshal(v)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		var err error
		got := allocated(func() { v, err = labgob.Unmarshal(data) })
		require.LessOrEqual(t, got, allowed(len(data)), "bytes for %d", len(data))
		if err != nil {
			return
		}
		again, err := labgob.Marshal(v)
		require.NoError(t, err, "what was decoded, %#v, does not encode", v)
		w, err := labgob.Unmarshal(again)
		require.NoError(t, err)
		require.IsType(t, v, w)
	})
}

// FuzzRoundTrip builds a value from the input and sends the value through each
// pair of an encoder and a decoder, labgob's and gob's.
func FuzzRoundTrip(f *testing.F) {
	f.Add(3, "key", []byte("value"), uint8(7))
	f.Add(-1, "", []byte(nil), uint8(255))
	f.Fuzz(func(t *testing.T, n int, s string, b []byte, mix uint8) {
		args := AppendArgs{Term: n, LeaderID: int(mix)}
		for i, v := range []any{n, s, b, Op{Key: s, Seq: n}, Box{s}, Tree{Any: Op{Value: s}}, &PlainArgs{Term: n, Data: b}, nil} {
			if mix>>i&1 == 1 {
				args.Entries = append(args.Entries, Entry{i, v})
			}
		}
		ours := encoded(t, args)
		var plain bytes.Buffer
		require.NoError(t, gob.NewEncoder(&plain).Encode(args))
		for name, data := range map[string][]byte{"labgob": ours, "gob": plain.Bytes()} {
			var a, c AppendArgs
			require.NoError(t, labgob.NewDecoder(bytes.NewReader(data)).Decode(&a), "from %s by labgob", name)
			require.NoError(t, gob.NewDecoder(bytes.NewReader(data)).Decode(&c), "from %s by gob", name)
			require.Equal(t, c, a, "from %s, by gob and by labgob", name)
			require.Equal(t, n, a.Term, "from %s", name)
			require.Len(t, a.Entries, len(args.Entries), "from %s", name)
		}
	})
}
