//go:build !wasip1

package labrpc_test

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labgob"
	"raftlab/labrpc"
)

const tcpHello = "labrpc\x00\x01"

// tcpFrame is a frame as the protocol has it, with another length if length is
// not -1.
func tcpFrame(kind byte, call uint64, content string, length int) string {
	if length < 0 {
		length = 9 + len(content)
	}
	b := append(binary.BigEndian.AppendUint32(nil, uint32(length)), kind)
	return string(binary.BigEndian.AppendUint64(b, call)) + content
}

func tcpRequest(t testing.TB, call uint64, method string, args any) string {
	data, err := labgob.Encode(args)
	require.NoError(t, err)
	return tcpFrame(1, call, string([]byte{0, byte(len(method))})+method+string(data), -1)
}

// hostile is what a client may send. The server must end the connection after
// the time.
var hostile = map[string]struct {
	sends string
	drips string // and then one byte in half a second
	after time.Duration
}{
	"nothing":         {"", "", time.Second},
	"half a hello":    {"labr", "", time.Second},
	"dripped hello":   {"", "labrpc\x00\x01", time.Second},
	"garbage":         {"GET / HTTP/1.1\r\n\r\n", "", 0},
	"another version": {"labrpc\x00\x02", "", 0},
	"idle":            {tcpHello, "", 2 * time.Minute},
	"half a frame":    {tcpHello + "\x00\x00", "", 10 * time.Second},
	"half content":    {tcpHello + tcpFrame(1, 1, "\x00", 100), "", 10 * time.Second},
	"dripped frame":   {tcpHello, tcpFrame(1, 1, "\x00\x01x0000000000000000", 200), 11 * time.Second},
	"giant length":    {tcpHello + tcpFrame(1, 1, "", 1<<30), "", 0},
	"no length":       {tcpHello + tcpFrame(1, 1, "", 0), "", 0},
	"short length":    {tcpHello + tcpFrame(1, 1, "", 8), "", 0},
	"kind 0":          {tcpHello + tcpFrame(0, 1, "", -1), "", 0},
	"kind 7":          {tcpHello + tcpFrame(7, 1, "", -1), "", 0},
	"a server's kind": {tcpHello + tcpFrame(2, 1, "", -1), "", 0},
	"no method":       {tcpHello + tcpFrame(1, 1, "\x00", -1), "", 0},
	"short method":    {tcpHello + tcpFrame(1, 1, "\x00\x09Junk", -1), "", 0},
}

// A server ends the connections of hostile clients in time, takes no memory for
// bytes that have not arrived, and goes on to serve.
func TestTCPHostileClients(t *testing.T) {
	testkit.VirtualOnly(t)
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				w := newWire(t, labrpc.TCPOptions{})
				defer w.net.Close()
				conn, err := w.dial(t.Context(), "s:1")
				require.NoError(t, err)
				start := time.Now()
				ended := make(chan time.Duration, 1)
				go func() {
					_, _ = io.Copy(io.Discard, conn)
					ended <- time.Since(start)
				}()
				_, _ = io.WriteString(conn, c.sends)
				for i := 0; err == nil && i < len(c.drips); i++ {
					_, err = conn.Write([]byte{c.drips[i]})
					time.Sleep(time.Second / 2)
				}
				took := <-ended
				require.True(t, took >= c.after/2 && took <= c.after, "ended after %v", took)
				require.NoError(t, conn.Close())
				require.True(t, echo(w.end, 1))
			})
		})
	}
}

// A false length costs the receiver memory for the bytes that have arrived.
func TestTCPGiantLength(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{MaxFrameBytes: 1 << 30})
		defer w.net.Close()
		require.True(t, echo(w.end, 1))
		grown := allocated(func() {
			conn, err := w.dial(t.Context(), "s:1")
			require.NoError(t, err)
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, err = io.WriteString(conn, tcpHello+tcpFrame(1, 1, "", 1<<30))
			require.NoError(t, err)
			time.Sleep(time.Second)
			require.NoError(t, conn.Close())
		})
		require.Less(t, grown, uint64(4<<20))
	})
}

// A client that sends requests and does not read costs a bounded queue, and then
// its connection.
func TestTCPClientThatDoesNotRead(t *testing.T) {
	for name, send := range map[string]string{"pings": tcpFrame(5, 0, "", -1), "requests": tcpRequest(t, 1, "JunkServer.Block", 1)} {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				w := newWire(t, labrpc.TCPOptions{MaxCalls: 10})
				conn, err := w.dial(t.Context(), "s:1")
				require.NoError(t, err)
				_, err = io.WriteString(conn, tcpHello)
				require.NoError(t, err)
				_, err = io.ReadFull(conn, make([]byte, len(tcpHello)))
				require.NoError(t, err)
				sent := 0
				for ; err == nil && sent < 1000; sent++ {
					_, err = io.WriteString(conn, send)
				}
				require.Less(t, sent, 50)
				require.NoError(t, conn.Close())
				w.net.Close()
				close(w.js.gate)
			})
		})
	}
}

// Connections beyond the limit are closed, and a closed one makes room.
func TestTCPConnections(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{MaxConnections: 2})
		defer w.net.Close()
		var open []net.Conn
		for range 2 {
			conn, err := w.dial(t.Context(), "s:1")
			require.NoError(t, err)
			_, err = io.WriteString(conn, tcpHello)
			require.NoError(t, err)
			open = append(open, conn)
		}
		require.False(t, echo(w.end, 1))
		for _, conn := range open {
			require.NoError(t, conn.Close())
		}
		testkit.WaitFor(t, time.Second, "room", func() bool { return echo(w.end, 2) })
	})
}

// hostileServers are what a server may send after a hello of the client. The
// call must return false in time.
var hostileServers = map[string]struct {
	sends string
	after time.Duration
	log   string
}{
	"nothing":           {"", time.Second, ""},
	"garbage":           {"HTTP/1.1 400 Bad Request", 0, `the peer begins with \"HTTP/1.1\"`},
	"another version":   {"labrpc\x00\x02", 0, "the peer has version 2, and this program version 1"},
	"hello, silence":    {tcpHello, time.Second, ""},
	"a client's kind":   {tcpHello + tcpFrame(1, 1, "", -1), 0, ""},
	"giant length":      {tcpHello + tcpFrame(2, 1, "", 1<<30), 0, ""},
	"half a reply":      {tcpHello + tcpFrame(2, 1, "xx", 20), time.Second, ""},
	"reply to nobody":   {tcpHello + tcpFrame(2, 77, "xx", -1), time.Second, ""},
	"reply of no gob":   {tcpHello + tcpFrame(2, 1, "xx", -1), 0, "the reply does not fit"},
	"an empty reply":    {tcpHello + tcpFrame(2, 1, "", -1), 0, "the reply does not fit"},
	"refusal":           {tcpHello + tcpFrame(4, 1, "", -1), 0, ""},
	"mistake":           {tcpHello + tcpFrame(3, 1, "no service", -1), 0, "no service"},
	"the same mistakes": {tcpHello + tcpFrame(3, 1, "no service", -1) + tcpFrame(3, 1, "no service", -1), 0, "no service"},
}

func TestTCPHostileServers(t *testing.T) {
	testkit.VirtualOnly(t)
	for name, c := range hostileServers {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				w := newWire(t, labrpc.TCPOptions{})
				defer w.net.Close()
				l := w.listen("bad:1")
				go func() {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					_, _ = io.ReadFull(conn, make([]byte, len(tcpHello)))
					_, _ = io.WriteString(conn, c.sends[:min(8, len(c.sends))])
					_, _ = conn.Read(make([]byte, 1<<10)) // the request
					_, _ = io.WriteString(conn, c.sends[min(8, len(c.sends)):])
					_, _ = io.Copy(io.Discard, conn)
				}()
				start := time.Now()
				require.False(t, echo(w.net.MakeEnd("bad:1"), 1))
				require.NoError(t, l.Close())
				took := time.Since(start)
				require.True(t, took >= c.after/2 && took <= c.after+200*time.Millisecond, "returned after %v", took)
				require.Contains(t, w.log.String(), c.log)
				if c.log == "" {
					require.Empty(t, w.log.String())
				}
			})
		})
	}
}

// FuzzTCPServer sends bytes to a server, which must survive and go on to serve.
func FuzzTCPServer(f *testing.F) {
	testkit.VirtualOnly(f)
	for _, c := range hostile {
		f.Add([]byte(c.sends))
	}
	f.Add([]byte(tcpHello + tcpRequest(f, 1, "JunkServer.Echo", JunkArgs{1}) + tcpRequest(f, 2, "JunkServer.ByValue", 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		testkit.Run(t, func(t *testing.T) {
			w := newWire(t, labrpc.TCPOptions{})
			close(w.js.gate)
			conn, err := w.dial(t.Context(), "s:1")
			require.NoError(t, err)
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write(b)
			time.Sleep(time.Second)
			require.NoError(t, conn.Close())
			require.True(t, echo(w.end, 1))
			w.net.Close()
		})
	})
}

// FuzzTCPEnd sends bytes to an end, whose call must return and must not panic.
func FuzzTCPEnd(f *testing.F) {
	testkit.VirtualOnly(f)
	for _, c := range hostileServers {
		f.Add([]byte(c.sends))
	}
	reply, err := labgob.Encode(JunkReply{"echo 1"})
	require.NoError(f, err)
	f.Add([]byte(tcpHello + tcpFrame(2, 1, string(reply), -1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		testkit.Run(t, func(t *testing.T) {
			w := newWire(t, labrpc.TCPOptions{})
			l := w.listen("bad:1")
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = conn.Write(b)
						time.Sleep(time.Second)
						conn.Close()
					}()
					go func() { _, _ = io.Copy(io.Discard, conn) }()
				}
			}()
			var got JunkReply
			w.net.MakeEnd("bad:1").Call("JunkServer.Echo", JunkArgs{1}, &got)
			w.net.Close()
			require.NoError(t, l.Close())
			time.Sleep(2 * time.Second)
		})
	})
}

// allocated returns the bytes that f allocates, with the goroutines beside f.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Calls that time out while the server does not read keep their part of the budget
// until their requests have left. The memory for requests is bounded.
func TestTimedOutRequestsCount(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		var p pipes
		l := p.listen("s:1")
		opened := make(chan net.Conn, 1)
		go func() {
			conn := <-l.in
			hello := make([]byte, 1<<10)
			n, _ := conn.Read(hello)
			_, _ = conn.Write(hello[:n]) // both sides say the same
			opened <- conn
		}()
		tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{
			Dial: p.dial, CallTimeout: 10 * time.Millisecond, SilenceTimeout: time.Hour, FrameTimeout: time.Hour, MaxCallBytes: 250 << 10,
		})
		defer tn.Close()
		end, text := tn.MakeEnd("s:1"), strings.Repeat("x", 100<<10)
		for range 20 {
			var reply string
			require.False(t, end.Call("JunkServer.Block", text, &reply))
		}
		conn := <-opened
		received := 0
		for buf := make([]byte, 64<<10); ; {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
			n, err := conn.Read(buf)
			received += n
			if err != nil {
				break
			}
		}
		require.Less(t, received, 350<<10)
		require.Greater(t, received, 100<<10)
		conn.Close()
	})
}
