//go:build !wasip1

package labrpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A tcpEnd is an end of a TCPNetwork.
type tcpEnd struct {
	net     *TCPNetwork
	address string
}

func (e *tcpEnd) mistake(svcMeth string, err error) {
	e.net.mistake(e.address, fmt.Errorf("Call(%q): %w", svcMeth, err))
}

// send calls in a goroutine, which ends within TCPOptions.CallTimeout.
func (e *tcpEnd) send(svcMeth string, args []byte) {
	go e.call(svcMeth, args)
}

func (e *tcpEnd) call(svcMeth string, args []byte) ([]byte, bool) {
	tn := e.net
	if n := methodBytes + len(svcMeth) + len(args); n > tn.opts.MaxFrameBytes || len(svcMeth) > math.MaxUint16 {
		e.mistake(svcMeth, fmt.Errorf("method and arguments have %d bytes; TCPOptions.MaxFrameBytes is %d", n, tn.opts.MaxFrameBytes))
		tn.pause()
		return nil, false
	}
	timeout := time.NewTimer(tn.opts.CallTimeout)
	defer timeout.Stop()
	for range 2 {
		c := tn.connection(e.address, timeout.C)
		if c == nil {
			return nil, false
		}
		a, err := c.call(svcMeth, args, timeout.C)
		switch {
		case err == errNotSent:
			continue // the connection ended before it took the request
		case err == nil && a.kind == frameReply:
			return a.content, true
		case a.kind == frameMistake:
			e.mistake(svcMeth, errors.New(string(a.content)))
		case a.kind != frameRefused:
			return nil, false
		}
		break
	}
	tn.pause()
	return nil, false
}

// A remote is a server's address, from the first attempt to connect to the end of
// the connection.
type remote struct {
	address string
	ready   chan struct{} // closed after the attempt
	conn    *clientConn   // nil if the attempt failed
}

// connection returns the connection to an address, and connects if there is
// none. The result is nil after a failed attempt, after the timeout, and when the
// network is closed.
func (tn *TCPNetwork) connection(address string, timeout <-chan time.Time) *clientConn {
	tn.mu.Lock()
	if tn.ctx.Err() != nil {
		tn.mu.Unlock()
		time.Sleep(tn.opts.RetryPause / 2) // so that a loop of calls does not spin
		return nil
	}
	r := tn.remotes[address]
	if r == nil {
		r = &remote{address: address, ready: make(chan struct{})}
		tn.remotes[address] = r
		tn.running.Go(func() { tn.keep(r) })
	}
	tn.mu.Unlock()
	select {
	case <-r.ready:
		return r.conn
	case <-timeout:
		return nil
	}
}

// keep is the goroutine of a remote. It connects, and receives until the
// connection ends.
func (tn *TCPNetwork) keep(r *remote) {
	c, err := tn.connect(r)
	if err != nil {
		if errors.Is(err, errPeer) {
			tn.mistake(r.address, err)
		}
		tn.opts.Logger.Debug("labrpc: not connected", "address", r.address, "error", err)
		tn.pause()
		tn.forget(r)
		close(r.ready)
		return
	}
	r.conn = c
	close(r.ready)
	stop := context.AfterFunc(tn.ctx, func() { c.end(net.ErrClosed) })
	defer stop()
	var helpers sync.WaitGroup
	helpers.Go(func() { c.end(c.out.run(c.broken)) })
	helpers.Go(func() { c.end(c.watch()) })
	c.end(c.receive())
	helpers.Wait()
	tn.ended(r.address, c.why)
}

func (tn *TCPNetwork) forget(r *remote) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.remotes[r.address] == r {
		delete(tn.remotes, r.address)
	}
}

// connect dials and exchanges hellos.
func (tn *TCPNetwork) connect(r *remote) (*clientConn, error) {
	ctx, cancel := context.WithTimeout(tn.ctx, tn.opts.HandshakeTimeout)
	defer cancel()
	conn, err := tn.opts.Dial(ctx, r.address)
	if err != nil {
		return nil, err
	}
	c := &clientConn{
		net:     tn,
		remote:  r,
		conn:    conn,
		out:     newOutbox(conn, &tn.opts, nil),
		broken:  make(chan struct{}),
		waiting: make(map[uint64]chan frame),
	}
	c.budget.max = load{tn.opts.MaxCalls, tn.opts.MaxCallBytes}
	c.out.sent = c.budget.release
	c.in = newFrameReader(heardConn{conn, &c.heard}, &tn.opts, 0)
	expire := context.AfterFunc(ctx, func() { conn.Close() })
	if _, err = conn.Write(hello()); err == nil {
		err = c.in.hello()
	}
	if !expire() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// A heardConn counts the reads that returned something.
type heardConn struct {
	net.Conn
	heard *atomic.Int64
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Add(1)
	}
	return n, err
}

// A clientConn is a connection to a server. Three goroutines serve the
// connection, in receive, in watch, and in the outbox. The end of one ends the
// others.
type clientConn struct {
	net    *TCPNetwork
	remote *remote
	conn   net.Conn
	in     *frameReader
	out    *outbox
	budget budget
	heard  atomic.Int64
	broken chan struct{} // closed by end

	mu      sync.Mutex
	why     error                 // of the end
	waiting map[uint64]chan frame // the calls under way; nil after the end
	last    uint64                // number of the newest call
}

var (
	errNotSent = errors.New("the connection ended before the request was queued")
	errNoReply = errors.New("the connection ended, or the call timed out")
	errSilent  = errors.New("the server does not answer pings")
	errIdle    = errors.New("idle")
)

// call sends a request and waits for the answer.
func (c *clientConn) call(svcMeth string, args []byte, timeout <-chan time.Time) (frame, error) {
	part := load{1, len(svcMeth) + len(args)}
	if !c.budget.wait(part.bytes, timeout, c.broken) {
		select {
		case <-c.broken:
			return frame{}, errNotSent
		default:
			return frame{}, errNoReply
		}
	}
	answer := make(chan frame, 1)
	number, err := c.enter(answer)
	if err != nil {
		c.budget.release(part)
		return frame{}, err
	}
	c.out.put(frameRequest, number, methodHead(svcMeth), args, load{})
	select {
	case a := <-answer:
		c.budget.release(part)
		return a, nil
	case <-c.broken:
	case <-timeout:
		c.take(number)
	}
	c.out.free(part) // the request may still wait for a server that does not read
	select {
	case a := <-answer:
		return a, nil
	default:
		return frame{}, errNoReply
	}
}

// enter gives a call its number.
func (c *clientConn) enter(answer chan frame) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, errNotSent
	}
	c.last++
	c.waiting[c.last] = answer
	return c.last, nil
}

// take removes a call from those that wait. The result is nil if the call has
// been answered or has timed out.
func (c *clientConn) take(number uint64) chan frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.waiting[number]
	delete(c.waiting, number)
	return answer
}

func (c *clientConn) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// receive hands answers to their calls.
func (c *clientConn) receive() error {
	for {
		f, err := c.in.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameReply, frameMistake, frameRefused:
			if answer := c.take(f.call); answer != nil {
				answer <- f
			}
		case framePong:
		default:
			return fmt.Errorf("%w: a server sent kind %d", errFrame, f.kind)
		}
	}
}

// pings is the number of pings in SilenceTimeout.
const pings = 3

// watch sends pings while calls are under way. The result says that the server is
// silent or that the connection is idle, or is nil after the end. Ticks are the
// measure, because a process that was stopped itself has not listened for the time
// that the clock shows.
func (c *clientConn) watch() error {
	tick := c.net.opts.SilenceTimeout / pings
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	heard, silent, idle := int64(0), 0, time.Duration(0)
	for {
		select {
		case <-c.broken:
			return nil
		case <-ticker.C:
		}
		now := c.heard.Load()
		if c.calls() == 0 {
			heard, silent, idle = now, 0, idle+tick
			if idle >= c.net.opts.IdleTimeout {
				return errIdle
			}
			continue
		}
		idle = 0
		if heard != now {
			heard, silent = now, 0
		}
		if silent++; silent == pings {
			return errSilent
		}
		c.out.put(framePing, 0, "", nil, load{})
	}
}

// end breaks the connection. Calls under way return false.
func (c *clientConn) end(why error) {
	c.net.forget(c.remote) // first, so that calls that are not sent connect anew
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return
	}
	c.why, c.waiting = why, nil
	close(c.broken)
	c.conn.Close()
}
