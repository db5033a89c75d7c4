package tcp_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// slowLink passes one connection on to an address, at some bytes a second in the
// direction of the caller's data.
func slowLink(t *testing.T, address func() string, rate int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			in.(*net.TCPConn).SetReadBuffer(64 << 10)
			out, err := net.Dial("tcp", address())
			if err != nil {
				in.Close()
				continue
			}
			running.Go(func() { io.Copy(in, out); in.Close() })
			running.Go(func() {
				defer out.Close()
				buf := make([]byte, 32<<10)
				for {
					n, err := in.Read(buf)
					if err != nil {
						return
					}
					time.Sleep(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
					if _, err := out.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// The answers to pings take long behind a long queue on a slow link. The link works
// all the same.
func TestSlowLinkIsNotCutOff(t *testing.T) {
	opts := tcp.Options{IdleTimeout: 800 * time.Millisecond}
	direct := make(chan string, 100)
	opts.Advertise = slowLink(t, func() string { return <-direct }, 16<<20)
	opts.Listen = reserved(t)
	for range cap(direct) {
		direct <- opts.Listen
	}
	b := listen(t, identity(2), opts)
	a := listen(t, identity(1), tcp.Options{IdleTimeout: opts.IdleTimeout})
	a.SetPeer(2, b.Address())
	waitFor(t, "a connection", func() bool { return a.ups(2) > 0 })
	const messages = 128 // which take more than twice the timeout
	for i := range messages {
		a.Send(2, []node.Message{{Group: 1, Body: &core.AppendEntries{Term: 1, LeaderID: 1, Entries: []core.Entry{
			{Index: uint64(i) + 1, Term: 1, Data: bytes.Repeat([]byte("x"), 256<<10)},
		}}}})
	}
	waitFor(t, "the messages", func() bool { return len(b.from(1)) == messages })
	require.NoError(t, a.reason(2))
}

// reserved returns an address that was free a moment ago.
func reserved(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
