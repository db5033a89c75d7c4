//go:build !wasip1

package labrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// pipes is a machine in a bubble, where connections are pipes.
type pipes struct {
	mu     sync.Mutex
	places map[string]*place
	dialed atomic.Int64
}

// A place is a listener of pipes.
type place struct {
	in     chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *place) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
func (p *place) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }

func (p *place) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// listen puts a listener at an address, in place of an earlier one.
func (p *pipes) listen(address string) *place {
	l := &place{in: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.places == nil {
		p.places = make(map[string]*place)
	}
	p.places[address] = l
	return l
}

func (p *pipes) dial(ctx context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	l := p.places[address]
	p.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	p.dialed.Add(1)
	here, there := net.Pipe()
	select {
	case l.in <- there:
		return here, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A wire is a server "s:1" and a network that reaches the server.
type wire struct {
	pipes
	log bytes.Buffer // written by the slog handler under its lock
	net *labrpc.TCPNetwork
	js  *JunkServer
	rs  *labrpc.Server
	end *labrpc.ClientEnd
}

func newWire(t *testing.T, opts labrpc.TCPOptions) *wire {
	w := &wire{js: &JunkServer{gate: make(chan struct{})}, rs: labrpc.MakeServer()}
	w.rs.AddService(labrpc.MakeService(w.js))
	opts.Dial = w.dial
	opts.Logger = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelError}))
	w.net = labrpc.MakeTCPNetwork(opts)
	w.start(t)
	w.end = w.net.MakeEnd("s:1")
	return w
}

// start starts the server.
func (w *wire) start(t *testing.T) *labrpc.TCPListener {
	l, err := w.net.Serve(w.listen("s:1"), w.rs)
	require.NoError(t, err)
	return l
}

// call is an asynchronous call of JunkServer.Block.
func (w *wire) call(x int) <-chan bool {
	done := make(chan bool, 1)
	go func() {
		reply := 0
		done <- w.end.Call("JunkServer.Block", x, &reply) && reply == x
	}()
	return done
}

// Between real sockets, concurrent calls share one connection, and a restarted
// server is found again.
func TestTCP(t *testing.T) {
	js := &JunkServer{gate: make(chan struct{})}
	rs := labrpc.MakeServer()
	rs.AddService(labrpc.MakeService(js))
	servers, clients := labrpc.MakeTCPNetwork(labrpc.TCPOptions{}), labrpc.MakeTCPNetwork(labrpc.TCPOptions{RetryPause: time.Millisecond})
	defer servers.Close()
	defer clients.Close()
	l, err := servers.Listen("127.0.0.1:0", rs)
	require.NoError(t, err)
	address := l.Address()
	end := clients.MakeEnd(address)
	require.True(t, echo(end, 1))
	l.Close()
	require.False(t, echo(end, 2))
	_, err = servers.Listen(address, rs)
	require.NoError(t, err)
	testkit.WaitFor(t, 10*time.Second, "a connection", func() bool { return echo(end, 3) })

	big := JunkReply{strings.Repeat("x", 1<<20)}
	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			var reply JunkReply
			if i%4 == 0 && (!end.Call("JunkServer.Text", big, &reply) || reply != big) || !echo(end, i) {
				t.Error("a call failed")
			}
		})
	}
	calls.Wait()
	require.Equal(t, 5+22, rs.GetCount())
}

// A handler that blocks delays neither other calls on the connection nor the end
// of its own call.
func TestTCPBlockedHandler(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{CallTimeout: 30 * time.Second})
		defer w.net.Close()
		blocked, start := w.call(1), time.Now()
		for i := range 100 {
			require.True(t, echo(w.end, i))
		}
		require.True(t, echo(w.net.MakeEnd("s:1"), 100), "through another end")
		require.EqualValues(t, 1, w.dialed.Load())
		require.False(t, <-blocked)
		require.Equal(t, 30*time.Second, time.Since(start))
		close(w.js.gate) // the late reply goes to nobody
		require.True(t, <-w.call(2))
	})
}

// Calls to nowhere return false soon, and do not spin.
func TestTCPNobody(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{})
		end := w.net.MakeEnd("nobody:1")
		start := time.Now()
		for range 10 {
			require.False(t, echo(end, 1))
		}
		took := time.Since(start)
		require.True(t, took >= 500*time.Millisecond && took <= time.Second, "10 calls took %v", took)
		w.net.Close()
		w.net.Close()
		start = time.Now()
		require.False(t, echo(w.end, 1))
		require.NotZero(t, time.Since(start), "after Close")
		_, err := w.net.Serve(w.listen("s:1"), w.rs)
		require.ErrorIs(t, err, net.ErrClosed)
		require.Empty(t, w.log.String())
	})
}

// A call under way when its connection breaks returns false at once. Its handler
// runs once, although the end connects again.
func TestTCPBrokenConnection(t *testing.T) {
	testkit.VirtualOnly(t)
	for name, breaks := range map[string]func(*testing.T, *wire, *labrpc.TCPListener){
		"listener": func(t *testing.T, w *wire, l *labrpc.TCPListener) { l.Close() },
		"network":  func(t *testing.T, w *wire, l *labrpc.TCPListener) { w.net.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				w := newWire(t, labrpc.TCPOptions{})
				l := w.start(t)
				done := w.call(1)
				time.Sleep(time.Second)
				start := time.Now()
				breaks(t, w, l)
				require.False(t, <-done)
				require.Zero(t, time.Since(start))
				if name == "listener" {
					require.False(t, echo(w.end, 0))
					w.start(t)
					require.True(t, echo(w.end, 1))
					w.net.Close()
				}
				require.LessOrEqual(t, w.rs.GetCount(), 2)
				close(w.js.gate)
			})
		})
	}
}

// A mistake between two programs is logged once, and Call returns false.
func TestTCPMistakes(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{MaxFrameBytes: 1 << 10})
		var text, big string
		w.rs.AddService(labrpc.MakeService(&Grower{}))
		for _, c := range []struct {
			method      string
			args, reply any
			want        string
		}{
			{"Junk.Echo", 1, &text, `no service \"Junk\" (called as Junk.Echo); services here: Grower, JunkServer`},
			{"JunkServer.Ecko", 1, &text, "handlers: Block, ByValue, Echo, Share, Text"},
			{"JunkServer.Echo", "text", &text, "JunkServer.Echo takes a labrpc_test.JunkArgs"},
			{"JunkServer.ByValue", 1, &JunkReply{}, "the reply does not fit a *labrpc_test.JunkReply"},
			{"JunkServer.ByValue", strings.Repeat("x", 2<<10), &text, "TCPOptions.MaxFrameBytes is 1024"},
			{"Grower.Grow", 2 << 10, &big, "the reply has 205"},
		} {
			for range 3 {
				require.False(t, w.end.Call(c.method, c.args, c.reply), c.want)
			}
			require.Equal(t, 1, strings.Count(w.log.String(), c.want), "%s in\n%s", c.want, &w.log)
		}
		require.Panics(t, func() { w.end.Call("JunkServer.Echo", JunkArgs{}, JunkReply{}) })
		require.True(t, echo(w.end, 1))
		require.EqualValues(t, 1, w.dialed.Load())
		w.net.Close()
	})
}

// A Grower answers with a text of a given length.
type Grower struct{}

func (*Grower) Grow(n int, reply *string)   { *reply = strings.Repeat("x", n) }
func (*Grower) Length(s string, reply *int) { *reply = len(s) }

// The bounds of calls under way hold on both sides. Ends wait for room, and a
// server whose handlers block refuses.
func TestTCPCallsUnderWay(t *testing.T) {
	testkit.VirtualOnly(t)
	for name, opts := range map[string]labrpc.TCPOptions{
		"calls": {MaxCalls: 2},
		"bytes": {MaxCallBytes: 50, MaxCalls: 9},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				w := newWire(t, opts)
				first, second, third := w.call(1), w.call(2), w.call(3)
				time.Sleep(time.Second)
				require.Equal(t, 2, w.rs.GetCount())
				require.False(t, <-first)
				require.False(t, <-second)
				require.False(t, <-third)
				start := time.Now()
				require.False(t, echo(w.end, 1), "the handlers still block")
				require.Less(t, time.Since(start), 200*time.Millisecond)
				require.Equal(t, 2, w.rs.GetCount())
				close(w.js.gate)
				time.Sleep(time.Second)
				require.True(t, echo(w.end, 1))
				w.net.Close()
			})
		})
	}
}

// A connection without calls is closed, and the next call connects again.
func TestTCPIdle(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{CallTimeout: time.Hour, IdleTimeout: time.Minute})
		defer w.net.Close()
		require.True(t, echo(w.end, 1))
		time.Sleep(59 * time.Second)
		require.True(t, echo(w.end, 2))
		require.EqualValues(t, 1, w.dialed.Load())
		time.Sleep(62 * time.Second)
		require.True(t, echo(w.end, 3))
		require.EqualValues(t, 2, w.dialed.Load())
		time.AfterFunc(30*time.Minute, func() { close(w.js.gate) })
		require.True(t, <-w.call(1), "pings keep a connection with a call")
	})
}

// A call that has timed out takes nothing of its connection, which becomes idle.
func TestTCPTimedOutCall(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{IdleTimeout: time.Minute})
		require.False(t, <-w.call(1))
		time.Sleep(62 * time.Second)
		require.True(t, echo(w.end, 1))
		require.EqualValues(t, 2, w.dialed.Load())
		close(w.js.gate)
		w.net.Close()
	})
}

// The bytes of requests are free again after their handlers, although another
// handler blocks.
func TestTCPBytesOfServedCalls(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		w := newWire(t, labrpc.TCPOptions{MaxCallBytes: 4 << 10})
		w.rs.AddService(labrpc.MakeService(&Grower{}))
		blocked := w.call(1)
		for range 20 {
			length := 0
			require.True(t, w.end.Call("Grower.Length", strings.Repeat("x", 1<<10), &length))
		}
		close(w.js.gate)
		require.True(t, <-blocked)
		w.net.Close()
	})
}

// BeforeSend is called before a message leaves, and an error keeps the message
// here.
func TestTCPBeforeSend(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		var flushed, failing atomic.Int64
		opts := labrpc.TCPOptions{BeforeSend: func() error {
			time.Sleep(300 * time.Millisecond) // a slow disk
			flushed.Add(1)
			if failing.Load() > 0 {
				return errors.New("disk full")
			}
			return nil
		}}
		w := newWire(t, opts)
		start := time.Now()
		require.True(t, echo(w.end, 1))
		require.EqualValues(t, 2, flushed.Load(), "a request and a reply")
		require.Equal(t, 600*time.Millisecond, time.Since(start))
		failing.Store(1)
		require.False(t, echo(w.end, 2))
		require.Equal(t, 1, w.rs.GetCount())
		w.net.Close()
		require.Contains(t, w.log.String(), "disk full")
	})
}

// Nothing runs after Close but handlers. A BeforeSend that has begun ends before.
func TestTCPCloseWaits(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		var flushed atomic.Int64
		w := newWire(t, labrpc.TCPOptions{BeforeSend: func() error {
			time.Sleep(500 * time.Millisecond)
			flushed.Add(1)
			return nil
		}})
		done := w.call(1)
		time.Sleep(100 * time.Millisecond)
		w.net.Close()
		require.EqualValues(t, 1, flushed.Load())
		require.False(t, <-done)
		close(w.js.gate)
	})
}

// Only loopback addresses are allowed without the option, also in Serve.
func TestTCPLoopback(t *testing.T) {
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
	defer tn.Close()
	for _, address := range []string{":0", "0.0.0.0:0", "192.0.2.1:0", "[::]:0"} {
		_, err := tn.Listen(address, labrpc.MakeServer())
		require.ErrorIs(t, err, labrpc.ErrNotLoopback, address)
	}
	_, err := tn.Listen("127.0.0.1", labrpc.MakeServer())
	require.ErrorContains(t, err, "missing port")
	l, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	_, err = tn.Serve(l, labrpc.MakeServer())
	require.ErrorIs(t, err, labrpc.ErrNotLoopback)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)

	beyond := labrpc.MakeTCPNetwork(labrpc.TCPOptions{BeyondLoopback: true})
	defer beyond.Close()
	_, err = beyond.Listen(":0", labrpc.MakeServer())
	require.NoError(t, err)
}

func TestTCPOptions(t *testing.T) {
	for _, o := range []labrpc.TCPOptions{
		{CallTimeout: -1}, {SilenceTimeout: 1}, {MaxCalls: -1}, {MaxFrameBytes: 10}, {MaxFrameBytes: 1<<30 + 1}, {MaxConnections: -2},
	} {
		require.Panics(t, func() { labrpc.MakeTCPNetwork(o) }, fmt.Sprint(o))
	}
}
