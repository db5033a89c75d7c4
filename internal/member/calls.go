//go:build !wasip1

package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"raftlab/internal/clientport"
	"raftlab/internal/shardstore"
	"raftlab/labrpc"
	"raftlab/raft/tcp"
)

// calls is a shardstore.Network on the port for members. Each server of another process
// has a stream of its own, which begins with the length of the server's name in one byte,
// and the name.
type calls struct {
	self      string
	roster    *shardstore.Roster
	transport *tcp.Transport
	net       *labrpc.TCPNetwork
	log       *slog.Logger

	stop    context.CancelFunc
	stopped <-chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	servers map[string]*clientport.Handover
}

// callsHandshake bounds the connection to a server.
const callsHandshake = 3 * time.Second

func newCalls(self string, roster *shardstore.Roster, transport *tcp.Transport, streams net.Listener, log *slog.Logger) *calls {
	ctx, cancel := context.WithCancel(context.Background())
	c := &calls{
		self: self, roster: roster, transport: transport, log: log,
		stop: cancel, stopped: ctx.Done(), servers: make(map[string]*clientport.Handover),
	}
	c.net = labrpc.MakeTCPNetwork(labrpc.TCPOptions{Dial: c.dial, HandshakeTimeout: callsHandshake, Logger: log})
	c.running.Go(func() { c.accept(streams) })
	return c
}

// serverAddress is the name of a server as a net.Addr.
type serverAddress string

// Network implements net.Addr.
func (serverAddress) Network() string { return "stream" }

// String implements net.Addr.
func (a serverAddress) String() string { return string(a) }

// MakeEnd implements shardstore.Network.
func (c *calls) MakeEnd(server string) *labrpc.ClientEnd { return c.net.MakeEnd(server) }

// Serve implements shardstore.Network.
func (c *calls) Serve(server string, rs *labrpc.Server) {
	h := clientport.NewHandover(serverAddress(server))
	if _, err := c.net.Serve(h, rs); err != nil { // the network is closed
		c.log.Error("a server is not reachable", "server", server, "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[server] = h
}

func (c *calls) server(name string) *clientport.Handover {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[name]
}

// dial connects to a server by its name.
func (c *calls) dial(ctx context.Context, server string) (net.Conn, error) {
	member, _, _ := strings.Cut(server, "/")
	if member == c.self {
		h := c.server(server)
		if h == nil {
			return nil, fmt.Errorf("there is no server %q in this process", server)
		}
		return h.Dial(ctx, server)
	}
	id, ok := c.roster.Host(server)
	if !ok {
		return nil, fmt.Errorf("there is no member %q", member)
	}
	s, err := c.transport.DialStream(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(append([]byte{byte(len(server))}, server...)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// accept hands the streams of other processes to their servers, until the transport is
// closed.
func (c *calls) accept(streams net.Listener) {
	for {
		conn, err := streams.Accept()
		if err != nil {
			return
		}
		c.running.Go(func() { c.route(conn) })
	}
}

// route reads the name of a stream's server, and hands the stream over.
func (c *calls) route(conn net.Conn) {
	name, err := readServer(conn)
	h := c.server(name)
	if err == nil && h == nil {
		err = fmt.Errorf("there is no server %q here", name)
	}
	if err != nil {
		c.log.Debug("stream refused", "from", conn.RemoteAddr(), "error", errors.Join(err, conn.Close()))
		return
	}
	h.Give(conn, c.stopped)
}

func readServer(conn net.Conn) (string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(callsHandshake)); err != nil {
		return "", err
	}
	var length [1]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return "", err
	}
	name := make([]byte, length[0])
	if _, err := io.ReadFull(conn, name); err != nil {
		return "", err
	}
	return string(name), conn.SetReadDeadline(time.Time{})
}

// close ends the calls under way.
func (c *calls) close() {
	c.stop()
	c.net.Close()
}

// wait waits for the goroutines of closed calls after the end of the transport.
func (c *calls) wait() { c.running.Wait() }
