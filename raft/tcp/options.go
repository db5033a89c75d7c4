package tcp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Options are the settings of a transport. Listen and one of TLS and Plaintext
// are required. The zero value of each other field means its default.
type Options struct {
	// Listen is the address to listen on, as net.Listen takes it. Port 0 chooses
	// a port.
	Listen string
	// ListenMore are further addresses to listen on.
	ListenMore []string
	// Advertise is the address for other hosts without a connection at the address in
	// the membership, for example after a move of this host. The default is the address
	// of the listener. If the listener takes connections at all addresses of the
	// machine, other hosts dial its port at the source address of this host's
	// connections.
	Advertise string
	// TLS authenticates and encrypts connections.
	TLS *TLS
	// Plaintext allows connections without TLS. Exactly one of TLS and Plaintext
	// is set.
	Plaintext bool
	// MaxFrameBytes bounds the payload of a frame in both directions. The default is
	// 16 MiB. The lower limit of two hosts counts. The largest command has to fit a
	// frame with some hundred bytes to spare, on all hosts. The batches of entries and
	// the chunks of a snapshot are made to fit. Larger messages are dropped, and the
	// first one of each connection is logged as an error. Small messages share a frame
	// of up to 1 MiB.
	MaxFrameBytes int
	// MaxQueueBytes bounds the queue of messages to one peer. The default is
	// 64 MiB. Messages beyond the bound are dropped.
	MaxQueueBytes int
	// MaxConnections bounds the incoming connections. The default is 256.
	// Connections beyond the bound are closed at once.
	MaxConnections int
	// HandshakeTimeout bounds dialling, the TLS handshake and the exchange of
	// identities, together. The default is 5 s.
	HandshakeTimeout time.Duration
	// IdleTimeout bounds the silence on a connection, and the time for one frame.
	// The default is 3 s. Pings are sent four times as often. A link has to carry
	// a frame, and the content of the sockets' buffers, within the time.
	IdleTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between two attempts to reach a
	// peer. The pause doubles with each attempt, and a random part of at most half
	// is taken off. The defaults are 50 ms and 2 s.
	MinBackoff, MaxBackoff time.Duration
	// Logger receives connections as Info and refused ones as Warn. The default is
	// silent.
	Logger *slog.Logger
	// Dialer dials the peers. The default is a plain net.Dialer.
	Dialer *net.Dialer
}

// minFrameBytes and maxFrameBytes are the limits of Options.MaxFrameBytes.
const minFrameBytes, maxFrameBytes = 1 << 10, 1 << 30

// ErrOptions is matched by the error of a setting out of range.
var ErrOptions = errors.New("wrong options")

func (o *Options) setDefaults() error {
	o.MaxFrameBytes = cmp.Or(o.MaxFrameBytes, 16<<20)
	o.MaxQueueBytes = cmp.Or(o.MaxQueueBytes, 64<<20)
	o.MaxConnections = cmp.Or(o.MaxConnections, 256)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 5*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 3*time.Second)
	o.MinBackoff = cmp.Or(o.MinBackoff, 50*time.Millisecond)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{}
	}
	switch {
	case (o.TLS != nil) == o.Plaintext:
		return fmt.Errorf("%w: want either Options.TLS or Options.Plaintext", ErrOptions)
	case o.MaxFrameBytes < minFrameBytes || o.MaxFrameBytes > maxFrameBytes:
		return fmt.Errorf("%w: Options.MaxFrameBytes is %d; want %d to %d", ErrOptions, o.MaxFrameBytes, minFrameBytes, maxFrameBytes)
	case o.MaxQueueBytes < 1 || o.MaxConnections < 1:
		return fmt.Errorf("%w: Options.MaxQueueBytes is %d and MaxConnections %d; want at least 1", ErrOptions, o.MaxQueueBytes, o.MaxConnections)
	case o.HandshakeTimeout < 0 || o.IdleTimeout < 0:
		return fmt.Errorf("%w: Options.HandshakeTimeout is %v and IdleTimeout %v; want more than 0", ErrOptions, o.HandshakeTimeout, o.IdleTimeout)
	case o.MinBackoff < 0 || o.MaxBackoff < o.MinBackoff:
		return fmt.Errorf("%w: Options.MinBackoff is %v and MaxBackoff %v; want 0 < MinBackoff <= MaxBackoff", ErrOptions, o.MinBackoff, o.MaxBackoff)
	}
	return nil
}
