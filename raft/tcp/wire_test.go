package tcp

import (
	"bytes"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// bodies are messages of every kind, with every field set.
var bodies = []core.Body{
	&core.RequestVote{Term: 1, CandidateID: 2, LastLogIndex: 3, LastLogTerm: 4, PreVote: true, Transfer: true},
	&core.RequestVoteReply{Term: 1, VoteGranted: true, RequestTerm: 2, PreVote: true, RemovedAt: 3},
	&core.AppendEntries{Term: 1 << 40, LeaderID: 300, PrevLogIndex: 70000, PrevLogTerm: 5, LeaderCommit: 6, Round: 7, Entries: []core.Entry{
		{Index: 70001, Term: 5, Type: core.Command, Data: []byte("a command")},
		{Index: 70002, Term: 1 << 33, Type: core.NoOp},
		{Index: 70003, Term: 1 << 33, Type: core.Command, Data: []byte{}},
		{Index: 70004, Term: 1 << 33, Type: core.Command, Data: bytes.Repeat([]byte("x"), 300)},
		{Index: 70005, Term: 1 << 33, Type: core.Command, Data: bytes.Repeat([]byte("y"), separateBytes)},
	}},
	&core.AppendEntries{Term: 1, LeaderID: 2},
	&core.AppendEntriesReply{Term: 1, Success: true, RequestTerm: 2, PrevLogIndex: 3, MatchIndex: 4, HintIndex: 5, HintTerm: 6, Round: 200},
	&core.InstallSnapshot{Term: 1, LeaderID: 2, LastIncludedIndex: 3, LastIncludedTerm: 4, Data: []byte("chunk"), Chunked: true, Offset: 5, Size: 10, Checksum: 7,
		Configuration: core.Configuration{Voters: []core.NodeID{1, 2}, Learners: []core.NodeID{3}, Members: []core.Member{{ID: 1, Address: "a", Priority: 2}}}},
	&core.InstallSnapshotReply{Term: 1, RequestTerm: 2, MatchIndex: 3, LastIncludedIndex: 4, Offset: 5},
	&core.TimeoutNow{Term: 1, LeaderID: 2},
	&core.ReadIndex{Term: 1, ID: 2},
	&core.ReadIndexReply{Term: 1, ID: 2, Index: 3, Failed: true},
	&core.Quiesce{Term: 1, LeaderID: 2, CommitIndex: 3},
	&core.QuiesceReply{Term: 1, RequestTerm: 2, Quiescent: true},
}

func messages() []node.Message {
	var all []node.Message
	for i, b := range bodies {
		all = append(all, node.Message{Group: node.GroupID(i + 1), Call: uint64(i) * 1000, Body: b})
	}
	return all
}

// frame lays messages out and returns the frame in one piece.
func frame(t testing.TB, all []node.Message) []byte {
	var w frameWriter
	w.reset()
	for _, m := range all {
		require.NoError(t, w.add(m))
	}
	return bytes.Join(w.finish(nil), nil)
}

func TestEveryMessageComesBackEqual(t *testing.T) {
	f := frame(t, messages())
	frameType, payload, err := readFrame(bytes.NewReader(f), 1<<20, nil)
	require.NoError(t, err)
	require.EqualValues(t, frameMessages, frameType)
	got, aliased, err := decodeMessages(nil, payload)
	require.NoError(t, err)
	require.True(t, aliased)
	require.Equal(t, messages(), got)
}

// What is laid out by hand is what go-msgpack reads and writes.
func TestHandwrittenEncodingIsMsgpack(t *testing.T) {
	handle := &codec.MsgpackHandle{WriteExt: true}
	handle.StructToArray = true
	for _, m := range messages() {
		f := frame(t, []node.Message{m})
		dec := codec.NewDecoderBytes(f[headerBytes:], handle)
		var whole []any
		require.NoError(t, dec.Decode(&whole))
		require.Len(t, whole, 4)

		var parts struct {
			Group, Call uint64
			Kind        uint8
			Body        codec.Raw
		}
		handle.Raw = true
		require.NoError(t, codec.NewDecoderBytes(f[headerBytes:], handle).Decode(&parts))
		body := newBody(kind(parts.Kind))
		require.NoError(t, codec.NewDecoderBytes(parts.Body, handle).Decode(body))
		require.Equal(t, m.Body, body)

		var other []byte
		require.NoError(t, codec.NewEncoderBytes(&other, handle).Encode([]any{parts.Group, parts.Call, parts.Kind, m.Body}))
		back, _, err := decodeMessages(nil, other)
		require.NoError(t, err)
		require.Equal(t, []node.Message{m}, back, "what go-msgpack writes is read")
	}
}

// Frames of version 1 of the protocol are read for ever, and written the same as
// long as the version is 1.
func TestFramesOfVersion1(t *testing.T) {
	file := filepath.Join("testdata", "version1.hex")
	f := frame(t, messages())
	if os.Getenv("REWRITE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(hex.EncodeToString(f)+"\n"), 0o644))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	old, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	require.NoError(t, err)
	require.Equal(t, old, f, "the format has changed: raise newestVersion and keep this file")
	_, payload, err := readFrame(bytes.NewReader(old), 1<<20, nil)
	require.NoError(t, err)
	got, _, err := decodeMessages(nil, payload)
	require.NoError(t, err)
	require.Equal(t, messages(), got)
}

// A later version may add fields at the end of a body, and kinds of bodies.
func TestLaterVersionsAreUnderstood(t *testing.T) {
	var payload []byte
	payload = append(payload, 0x94, 1, 0, byte(kindAppendEntriesReply), 0x9a, 5, 0xc3, 5, 9, 9, 0, 0, 0, 0xa3, 'n', 'e', 'w', 0x81, 1, 2)
	payload = append(payload, 0x94, 1, 0, 99, 0x92, 1, 0xc4, 1, 0)
	payload = append(payload, 0x94, 1, 0, byte(kindAppendEntriesReply), 0x92, 7, 0xc3)
	got, _, err := decodeMessages(nil, payload)
	require.NoError(t, err)
	require.Equal(t, []node.Message{
		{Group: 1, Body: &core.AppendEntriesReply{Term: 5, Success: true, RequestTerm: 5, PrevLogIndex: 9, MatchIndex: 9}},
		{Group: 1, Body: &core.AppendEntriesReply{Term: 7, Success: true}},
	}, got)
}

func TestLargeEntriesAreNotCopied(t *testing.T) {
	data := make([]byte, 70_000)
	m := node.Message{Group: 1, Body: &core.AppendEntries{Term: 1, LeaderID: 2, Entries: []core.Entry{
		{Index: 1, Term: 1, Data: data}, {Index: 2, Term: 1, Data: []byte("small")}, {Index: 3, Term: 1, Data: data}}}}
	var w frameWriter
	w.reset()
	require.NoError(t, w.add(m))
	pieces := w.finish(nil)
	require.Len(t, pieces, 5)
	require.Same(t, &data[0], &pieces[1][0])
	_, payload, err := readFrame(bytes.NewReader(bytes.Join(pieces, nil)), 1<<20, nil)
	require.NoError(t, err)
	got, _, err := decodeMessages(nil, payload)
	require.NoError(t, err)
	require.Equal(t, []node.Message{m}, got)
}

func TestDamagedFramesAreRefused(t *testing.T) {
	f := frame(t, messages())
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		bad := bytes.Clone(f)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		_, payload, err := readFrame(bytes.NewReader(bad), 1<<20, nil)
		require.Error(t, err, "%d bytes", len(payload))
	}
	for n := range 200 {
		_, _, err := readFrame(bytes.NewReader(f[:n*len(f)/200]), 1<<20, nil)
		require.Error(t, err)
	}
	_, _, err := readFrame(bytes.NewReader(f), 100, nil)
	require.ErrorIs(t, err, errFrame)
	require.ErrorContains(t, err, "the limit is 100")
}

// A header that announces a gigabyte reserves only twice the largest frame so far. A
// frame of that size is read into its final place.
func TestFrameReaderReservesWhatWasSeen(t *testing.T) {
	const size = 1 << 20
	large := make([]byte, headerBytes+size)
	putHeader(large, frameMessages, size, checksum(frameMessages, large[headerBytes:]))
	giant := make([]byte, headerBytes)
	putHeader(giant, frameMessages, 1<<30, 0)
	r := frameReader{r: bytes.NewReader(bytes.Join([][]byte{large, large, giant}, nil)), limit: 1 << 30}
	allocated := func(f func(error)) int {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := r.next(nil)
		runtime.ReadMemStats(&after)
		f(err)
		return int(after.TotalAlloc - before.TotalAlloc)
	}
	ok := func(err error) { require.NoError(t, err) }
	require.Less(t, allocated(ok), 3*size)
	require.Less(t, allocated(ok), size+size/4)
	require.Less(t, allocated(func(err error) { require.ErrorIs(t, err, io.ErrUnexpectedEOF) }), 2*size+size/4)

	r = frameReader{r: bytes.NewReader(giant), limit: 1 << 30}
	require.Less(t, allocated(func(err error) { require.Error(t, err) }), size/4)
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(frame(f, []node.Message{m})[headerBytes:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, _, err := decodeMessages(nil, bytes.Clone(payload))
		if err != nil {
			return
		}
		// What was understood is written and read again.
		again, _, err := decodeMessages(nil, frame(t, got)[headerBytes:])
		require.NoError(t, err)
		require.Equal(t, len(got), len(again))
		for i := range got {
			require.Equal(t, got[i].Body.String(), again[i].Body.String())
		}
	})
}

func BenchmarkWire(b *testing.B) {
	entries := make([]core.Entry, 16)
	for i := range entries {
		entries[i] = core.Entry{Index: uint64(i) + 1000, Term: 3, Data: make([]byte, 128)}
	}
	m := node.Message{Group: 1, Body: &core.AppendEntries{Term: 3, LeaderID: 1, PrevLogIndex: 999, PrevLogTerm: 3, Entries: entries}}
	b.Run("encode", func(b *testing.B) {
		var w frameWriter
		var pieces [][]byte
		b.ReportAllocs()
		for range b.N {
			w.reset()
			if err := w.add(m); err != nil {
				b.Fatal(err)
			}
			pieces = w.finish(pieces)
		}
		b.SetBytes(int64(w.size))
	})
	b.Run("decode", func(b *testing.B) {
		payload := frame(b, []node.Message{m})[headerBytes:]
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for range b.N {
			if _, _, err := decodeMessages(nil, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}
