package tcp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// The files version1-dialler.hex and version1-listener.hex hold what two hosts of
// version 1 have sent to each other on one connection: magic, hello, a frame of messages
// and pings of host 1, and welcome and pongs of host 2.
const magicBytes = 13

// recorded returns the frames of a recorded side, with what precedes the first.
func recorded(t *testing.T, name string, skip int) (start []byte, frames [][]byte) {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	all, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	require.NoError(t, err)
	r := bytes.NewReader(all[skip:])
	for r.Len() > 0 {
		frames = append(frames, nextFrame(t, r))
	}
	return all[:skip], frames
}

// nextFrame reads a frame, header included.
func nextFrame(t *testing.T, r io.Reader) []byte {
	header := make([]byte, 9)
	_, err := io.ReadFull(r, header)
	require.NoError(t, err)
	payload := make([]byte, binary.LittleEndian.Uint32(header))
	_, err = io.ReadFull(r, payload)
	require.NoError(t, err)
	return append(header, payload...)
}

// A host of version 1 dials this version. This version answers as version 1 did, to the
// byte, and understands every message.
func TestOldHostDials(t *testing.T) {
	start, frames := recorded(t, "version1-dialler.hex", magicBytes)
	_, answers := recorded(t, "version1-listener.hex", 0)
	b := listen(t, identity(2), tcp.Options{})
	conn, err := net.Dial("tcp", b.Address())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(append(start, frames[0]...))
	require.NoError(t, err)
	require.Equal(t, answers[0], nextFrame(t, conn), "the welcome")
	for _, f := range frames[1:] {
		_, err := conn.Write(f)
		require.NoError(t, err)
	}
	require.Equal(t, answers[1], nextFrame(t, conn), "the pong")
	got := b.from(1)
	require.Len(t, got, 12, "a message of each kind")
	require.Equal(t, &core.QuiesceReply{Term: 1, RequestTerm: 2, Quiescent: true}, got[11].Body)
}

// This version dials a host of version 1, and sends the frames that version 1 sent, to
// the byte.
func TestOldHostIsDialled(t *testing.T) {
	_, frames := recorded(t, "version1-dialler.hex", magicBytes)
	_, answers := recorded(t, "version1-listener.hex", 0)
	old, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer old.Close()
	b := listen(t, identity(2), tcp.Options{}) // to have the recorded messages as values
	feed, err := net.Dial("tcp", b.Address())
	require.NoError(t, err)
	defer feed.Close()
	start, _ := recorded(t, "version1-dialler.hex", magicBytes)
	for _, part := range [][]byte{start, frames[0], frames[1]} {
		_, err = feed.Write(part)
		require.NoError(t, err)
	}
	waitFor(t, "the messages", func() bool { return len(b.from(1)) == 12 })

	a := listen(t, identity(1), tcp.Options{IdleTimeout: 400 * time.Millisecond})
	a.SetPeer(2, old.Addr().String())
	conn, err := old.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, magicBytes))
	require.NoError(t, err)
	nextFrame(t, conn) // the hello, with the versions of this host
	_, err = conn.Write(answers[0])
	require.NoError(t, err)
	waitFor(t, "the connection", func() bool { return a.ups(2) == 1 })
	a.Send(2, b.from(1))
	require.Equal(t, frames[1], nextFrame(t, conn), "the messages")
	isPing := func(what string) {
		frame := nextFrame(t, conn) // the payload, which the host repeats, has the time
		require.Len(t, frame, len(frames[2]), what)
		require.Equal(t, frames[2][:5], frame[:5], what)
	}
	isPing("the ping")
	_, err = conn.Write(answers[1])
	require.NoError(t, err)
	isPing("another ping, so the pong was understood")
}

// Two hosts use the highest version that both speak, and refuse each other if there is
// none.
func TestVersionIsNegotiated(t *testing.T) {
	b := listen(t, identity(2), tcp.Options{})
	start, frames := recorded(t, "version1-dialler.hex", magicBytes)
	for _, tt := range []struct{ oldest, newest, want byte }{{1, 1, 1}, {1, 2, 2}, {2, 9, 2}, {3, 9, 0}, {0, 0, 0}} {
		// The hello is an array of six, of which the versions are the first two.
		payload := bytes.Clone(frames[0][9:])
		payload[1], payload[2] = tt.oldest, tt.newest
		conn, err := net.Dial("tcp", b.Address())
		require.NoError(t, err)
		_, err = conn.Write(append(start, tcp.Frame(frames[0][4], payload)...))
		require.NoError(t, err)
		welcome := nextFrame(t, conn)
		require.Equal(t, tt.want, welcome[10], "versions %d to %d", tt.oldest, tt.newest)
		if tt.want == 0 {
			require.Contains(t, string(welcome), "and host 2 speaks 1 to 2")
		}
		require.NoError(t, conn.Close())
	}
}

// The lower limit of two hosts counts. A frame above the limit would end the
// connection, again and again.
func TestPeerWithASmallerFrameLimit(t *testing.T) {
	a := listen(t, identity(1), tcp.Options{})
	b := listen(t, identity(2), tcp.Options{MaxFrameBytes: 64 << 10})
	connectedTo(t, a, 2, b)
	large := func(size int) node.Message {
		return node.Message{Group: 7, Body: &core.AppendEntries{Term: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: make([]byte, size)}}}}
	}
	a.Send(2, []node.Message{large(40 << 10), large(40 << 10), large(100 << 10), large(63 << 10), vote(1)})
	waitFor(t, "the messages that fit", func() bool { return len(b.from(1)) == 4 })
	require.Equal(t, 1, a.ups(2), "one connection")
	require.Equal(t, 64<<10, a.MaxMessageBytes(2))
	require.Zero(t, a.MaxMessageBytes(3), "no connection")
	require.True(t, a.logged("limit=65536"))
}
