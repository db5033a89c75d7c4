package msgpack_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/msgpack"
	_ "raftlab/internal/testkit" // -seed is a flag of every test package
)

type record struct {
	Version uint8
	Name    string
	Data    []byte
	Counts  map[string]int
}

// extended is record with a field that a later program added.
type extended struct {
	Version uint8
	Name    string
	Data    []byte
	Counts  map[string]int
	Added   int
}

func sample(size int) record {
	return record{Version: 3, Name: "n", Data: bytes.Repeat([]byte{7}, size), Counts: map[string]int{"b": 2, "a": 1, "c": 3}}
}

// Every way to encode gives the same bytes, small values and large, and decoding
// gives the value back.
func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 300, 64 << 10, 1 << 20} {
		want := sample(size)
		encoded, err := msgpack.Encode(&want)
		require.NoError(t, err)
		appended, err := msgpack.Append([]byte("head"), &want)
		require.NoError(t, err)
		require.Equal(t, append([]byte("head"), encoded...), appended)
		var written bytes.Buffer
		require.NoError(t, msgpack.Write(&written, &want))
		require.Equal(t, encoded, written.Bytes())
		var got record
		require.NoError(t, msgpack.Decode(encoded, &got))
		require.Equal(t, want.Name, got.Name)
		require.True(t, bytes.Equal(want.Data, got.Data))
		require.Equal(t, want.Counts, got.Counts)
	}
}

// Equal values have equal encodings: maps are written in the order of their keys.
func TestEncodingIsDeterministic(t *testing.T) {
	first, err := msgpack.Encode(sample(10))
	require.NoError(t, err)
	for range 50 {
		again, err := msgpack.Encode(sample(10))
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
}

// An encoding and a decoded value stay as they are when the next value is encoded
// or the input changes.
func TestNothingIsShared(t *testing.T) {
	encoded, err := msgpack.Encode(sample(10))
	require.NoError(t, err)
	before := bytes.Clone(encoded)
	_, err = msgpack.Encode(record{Name: strings.Repeat("x", 100)})
	require.NoError(t, err)
	require.Equal(t, before, encoded)

	var got record
	require.NoError(t, msgpack.Decode(encoded, &got))
	clear(encoded)
	require.Equal(t, sample(10), got)
}

// A field that was added at the end is ignored by an older reader, and zero for
// a newer one.
func TestFieldsMayBeAdded(t *testing.T) {
	old, err := msgpack.Encode(sample(3))
	require.NoError(t, err)
	next := extended{Version: 3, Name: "n", Added: 9}
	newer, err := msgpack.Encode(&next)
	require.NoError(t, err)

	var a record
	require.NoError(t, msgpack.Decode(newer, &a))
	require.Equal(t, "n", a.Name)
	var b extended
	require.NoError(t, msgpack.Decode(old, &b))
	require.Equal(t, 0, b.Added)
	require.Equal(t, []byte{7, 7, 7}, b.Data)
}

func TestDecodePrefixReturnsTheRest(t *testing.T) {
	data, err := msgpack.Encode(sample(2))
	require.NoError(t, err)
	var got record
	rest, err := msgpack.DecodePrefix(append(data, "rest"...), &got)
	require.NoError(t, err)
	require.Equal(t, "rest", string(rest))

	err = msgpack.Decode(append(data, "rest"...), &got)
	var trailing *msgpack.TrailingError
	require.ErrorAs(t, err, &trailing)
	require.Equal(t, 4, trailing.Extra)
}

// Data that ends early, at any byte, is an error and never io.EOF, which a caller
// could take for the orderly end of a stream.
func TestTruncated(t *testing.T) {
	data, err := msgpack.Encode(sample(300))
	require.NoError(t, err)
	for n := range data {
		var got record
		_, err := msgpack.DecodeVersion(data[:n], 3, &got)
		require.Error(t, err, "%d of %d bytes", n, len(data))
		require.False(t, errors.Is(err, io.EOF), "%d of %d bytes: %v", n, len(data), err)
	}
}

// The version is checked before the rest is decoded, whatever the rest is.
func TestVersion(t *testing.T) {
	data, err := msgpack.Encode(sample(1))
	require.NoError(t, err)
	var got record
	rest, err := msgpack.DecodeVersion(append(data, 'x'), 3, &got)
	require.NoError(t, err)
	require.Equal(t, "x", string(rest))
	require.Equal(t, sample(1), got)

	for _, v := range []uint8{0, 2, 4, 127, 128, 255} {
		other, err := msgpack.Encode(&struct {
			Version uint8
			Name    []int // another layout
		}{v, []int{1}})
		require.NoError(t, err)
		unchanged := record{Name: "as it was"}
		_, err = msgpack.DecodeVersion(other, 3, &unchanged)
		var wrong *msgpack.VersionError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, msgpack.VersionError{Found: uint64(v), Want: 3}, *wrong)
		require.Equal(t, record{Name: "as it was"}, unchanged)
	}
}

// A struct of more than 15 fields begins with a longer array head.
func TestVersionOfAWideStruct(t *testing.T) {
	wide := struct {
		Version                                        uint8
		A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P int
	}{Version: 1, P: 16}
	data, err := msgpack.Encode(&wide)
	require.NoError(t, err)
	got := wide
	got.P = 0
	_, err = msgpack.DecodeVersion(data, 1, &got)
	require.NoError(t, err)
	require.Equal(t, 16, got.P)
}

func TestNotAVersionedStruct(t *testing.T) {
	for _, data := range []string{"\x90", "\xc0", "text", "\x91\xa1a", "\x91\xff"} {
		var got record
		_, err := msgpack.DecodeVersion([]byte(data), 1, &got)
		require.Error(t, err, "%q", data)
	}
}

// half is a value whose encoding fails in the middle.
type half struct {
	A int
	B failing
}

type failing struct{}

var errHalf = errors.New("the second field has no encoding")

func (failing) MarshalBinary() ([]byte, error) { return nil, errHalf }
func (failing) UnmarshalBinary([]byte) error   { return errHalf }

// After an error the next value is encoded, and decoded, as if nothing had happened.
func TestErrorsLeaveNothingBehind(t *testing.T) {
	_, err := msgpack.Encode(&half{A: 1})
	require.ErrorContains(t, err, errHalf.Error())
	kept, err := msgpack.Append([]byte("kept"), &half{A: 1})
	require.Error(t, err)
	require.Equal(t, "kept", string(kept))
	var got record
	require.Error(t, msgpack.Decode([]byte{0xc1}, &got))
	data, err := msgpack.Encode(sample(5))
	require.NoError(t, err)
	require.NoError(t, msgpack.Decode(data, &got))
	require.Equal(t, sample(5), got)
}

func TestConcurrentUse(t *testing.T) {
	var running sync.WaitGroup
	errs := make(chan error, 8)
	for size := range 8 {
		running.Go(func() {
			for range 200 {
				data, err := msgpack.Encode(sample(size))
				var got record
				if err == nil {
					err = msgpack.Decode(data, &got)
				}
				if err == nil && len(got.Data) != size {
					err = errors.New("another goroutine's value")
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// Decoding survives any bytes.
func FuzzDecodeVersion(f *testing.F) {
	data, err := msgpack.Encode(sample(20))
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		var got record
		rest, err := msgpack.DecodeVersion(data, 3, &got)
		if err == nil && !bytes.HasSuffix(data, rest) {
			t.Errorf("the rest %q is no suffix of %q", rest, data)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	v := sample(128)
	v.Counts = nil
	b.ReportAllocs()
	for b.Loop() {
		if _, err := msgpack.Encode(&v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	v := sample(128)
	v.Counts = nil
	data, err := msgpack.Encode(&v)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var got record
		if err := msgpack.Decode(data, &got); err != nil {
			b.Fatal(err)
		}
	}
}
