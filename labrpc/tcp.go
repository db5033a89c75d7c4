//go:build !wasip1

package labrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// TCPOptions are the settings of a TCPNetwork. The zero value of each field means
// its default.
type TCPOptions struct {
	// CallTimeout bounds a Call, from the connection to the reply. The default is
	// 7 s, the longest time that the simulated network lets a caller wait for an
	// answer from nowhere.
	CallTimeout time.Duration
	// HandshakeTimeout bounds dialling and the handshake together. The default is
	// 1 s.
	HandshakeTimeout time.Duration
	// SilenceTimeout bounds the silence of a server on a connection with calls under
	// way. Pings are sent three times as often, and a server answers pings even if
	// all its handlers block. After the timeout the connection is broken, so the
	// calls to a stopped process return false. The default is 1 s.
	SilenceTimeout time.Duration
	// FrameTimeout bounds the time for each 256 KiB of a frame, and for a shorter
	// frame as a whole, in both directions. The default is 10 s.
	FrameTimeout time.Duration
	// IdleTimeout is the time after which an end closes a connection without calls.
	// A server closes a connection on which no frame arrives for twice the time. The
	// default is 1 min.
	IdleTimeout time.Duration
	// RetryPause bounds the pause after a failed attempt to connect, and after a
	// refused call. The pause has a random length from half of the bound. Call
	// returns false after the pause, so a loop of calls to a dead server does not
	// spin. The default is 100 ms.
	RetryPause time.Duration
	// MaxFrameBytes bounds the encoded arguments of a call with the name of the
	// method, and an encoded reply. Larger ones are logged as mistakes, and Call
	// returns false. The default is 16 MiB.
	MaxFrameBytes int
	// MaxCalls bounds the calls under way on one connection. Ends let further calls
	// wait, within CallTimeout. A server refuses further calls, and these calls
	// return false after RetryPause. A server counts a handler that still runs after
	// its caller has given up. The default is 1024.
	MaxCalls int
	// MaxCallBytes bounds the encoded arguments and replies of the calls under way
	// on one connection, in the way of MaxCalls. A call beyond the bound proceeds if
	// no other call is under way. The default is 64 MiB.
	MaxCallBytes int
	// MaxConnections bounds the incoming connections of a TCPListener. Connections
	// beyond the bound are closed at once. The default is 1024.
	MaxConnections int
	// BeyondLoopback allows listeners on addresses that other machines can reach.
	// Anybody who reaches such a listener can call every handler.
	BeyondLoopback bool
	// BeforeSend is called before requests and replies leave the process, once for
	// each batch that goes to one connection, from several goroutines at once. After
	// an error the batch is not sent, and the connection is broken. A program whose
	// Persister is in memory writes the contents of the Persister to a file here.
	// The file then holds the state behind every message that another process has
	// seen. BeforeSend delays pings, so its time counts towards SilenceTimeout.
	BeforeSend func() error
	// Dial connects to an address. The default is a net.Dialer.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger receives mistakes as Error, refused connections as Warn, and other
	// changes of connections as Debug. The default writes errors to standard error.
	Logger *slog.Logger
}

// ErrNotLoopback is matched by the error of Listen and Serve for an address that
// other machines can reach.
var ErrNotLoopback = errors.New("labrpc: not a loopback address")

// A TCPNetwork carries calls between processes, over TCP. All methods may be
// called concurrently.
type TCPNetwork struct {
	opts    TCPOptions
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the goroutines of remotes

	mu        sync.Mutex
	remotes   map[string]*remote // a connection or an attempt, by address
	listeners map[*TCPListener]struct{}
	logged    map[string]bool // mistakes
}

// MakeTCPNetwork makes a network without ends and listeners. MakeTCPNetwork
// panics on options out of range.
func MakeTCPNetwork(opts TCPOptions) *TCPNetwork {
	opts.setDefaults()
	opts.check()
	tn := &TCPNetwork{
		opts:      opts,
		remotes:   make(map[string]*remote),
		listeners: make(map[*TCPListener]struct{}),
		logged:    make(map[string]bool),
	}
	tn.ctx, tn.cancel = context.WithCancel(context.Background())
	return tn
}

func (o *TCPOptions) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.CallTimeout, 7 * time.Second}, {&o.HandshakeTimeout, time.Second}, {&o.SilenceTimeout, time.Second},
		{&o.FrameTimeout, 10 * time.Second}, {&o.IdleTimeout, time.Minute}, {&o.RetryPause, 100 * time.Millisecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&o.MaxFrameBytes, 16 << 20}, {&o.MaxCalls, 1024}, {&o.MaxCallBytes, 64 << 20}, {&o.MaxConnections, 1024},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	}
}

// check panics and names the option that is out of range.
func (o *TCPOptions) check() {
	for name, d := range map[string]time.Duration{
		"CallTimeout": o.CallTimeout, "HandshakeTimeout": o.HandshakeTimeout, "SilenceTimeout": o.SilenceTimeout,
		"FrameTimeout": o.FrameTimeout, "IdleTimeout": o.IdleTimeout, "RetryPause": o.RetryPause,
	} {
		if d < time.Millisecond {
			panic(fmt.Sprintf("labrpc: TCPOptions.%s is %v, and must be at least %v", name, d, time.Millisecond))
		}
	}
	for name, n := range map[string]int{"MaxCalls": o.MaxCalls, "MaxCallBytes": o.MaxCallBytes, "MaxConnections": o.MaxConnections} {
		if n < 1 {
			panic(fmt.Sprintf("labrpc: TCPOptions.%s is %d, and must be at least 1", name, n))
		}
	}
	if n := o.MaxFrameBytes; n < 1<<10 || n > 1<<30 {
		panic(fmt.Sprintf("labrpc: TCPOptions.MaxFrameBytes is %d, and must be from %d to %d", n, 1<<10, 1<<30))
	}
}

// MakeEnd makes an end for the server at address, a host and a port. MakeEnd is
// the make_end function that package shardkv takes. The first call connects, and
// later calls connect again after a broken connection. All ends of the network
// for one address share one connection, so an end costs nothing until a call, and
// ends need not be closed.
func (tn *TCPNetwork) MakeEnd(address string) *ClientEnd {
	return &ClientEnd{&tcpEnd{tn, address}}
}

// Close ends the network. Every call under way and every later call returns
// false. Close waits for the goroutines of connections, and not for running
// handlers. Close may be called twice.
func (tn *TCPNetwork) Close() {
	tn.mu.Lock()
	tn.cancel()
	listeners := slices.Collect(maps.Keys(tn.listeners))
	tn.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	tn.running.Wait()
}

// pause waits for a random part of RetryPause, or until the network is closed.
func (tn *TCPNetwork) pause() {
	half := tn.opts.RetryPause / 2
	timer := time.NewTimer(half + rand.N(half))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-tn.ctx.Done():
	}
}

// maxMistakes bounds the number of different mistakes that are logged.
const maxMistakes = 100

// mistake logs a mistake of one of the programs. Each text is logged once,
// because callers repeat calls.
func (tn *TCPNetwork) mistake(address string, err error) {
	text := fmt.Sprintf("labrpc: %s: %v", address, err)
	tn.mu.Lock()
	known := tn.logged[text] || len(tn.logged) >= maxMistakes
	if !known {
		tn.logged[text] = true
	}
	tn.mu.Unlock()
	if !known {
		tn.opts.Logger.Error(text)
	}
}

// ended logs the end of a connection.
func (tn *TCPNetwork) ended(address string, err error) {
	tn.opts.Logger.Debug("labrpc: connection ended", "address", address, "error", err)
	if errors.Is(err, errBeforeSend) {
		tn.mistake(address, err)
	}
}
