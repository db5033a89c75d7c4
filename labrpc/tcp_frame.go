//go:build !wasip1

package labrpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

// A connection begins with a hello of helloBytes in each direction, the magic and
// the version. The end that dialled speaks first.
const (
	tcpMagic   = "labrpc"
	tcpVersion = 1
	helloBytes = len(tcpMagic) + 2
)

// Frames follow the hellos. A frame is the length of the rest in four bytes, its
// kind in one byte, and the number of the call in eight bytes. Integers are big
// endian. The content of a request is the length of the method's name in two
// bytes, the name, and the encoded arguments.
const (
	lengthBytes = 4
	headerBytes = 1 + 8
	methodBytes = 2
)

// A frameKind is the kind of a frame.
type frameKind byte

const (
	frameRequest frameKind = 1 + iota
	frameReply             // the encoded reply
	frameMistake           // no handler took the request; the content is the reason
	frameRefused           // the server has too much under way
	framePing              // from an end
	framePong              // the answer of a server
)

// A frame is one unit of a connection.
type frame struct {
	kind    frameKind
	call    uint64
	content []byte
}

var (
	errPeer  = errors.New("the peer does not speak this version of labrpc's protocol")
	errFrame = errors.New("malformed frame")

	errBeforeSend = errors.New("TCPOptions.BeforeSend failed")
)

// hello returns this side's hello.
func hello() []byte {
	return binary.BigEndian.AppendUint16([]byte(tcpMagic), tcpVersion)
}

// methodHead is the content of a request, without the arguments.
func methodHead(svcMeth string) string {
	return string([]byte{byte(len(svcMeth) >> 8), byte(len(svcMeth))}) + svcMeth
}

// cutMethod splits the content of a request.
func cutMethod(content []byte) (svcMeth string, args []byte, err error) {
	if len(content) >= methodBytes {
		n := int(binary.BigEndian.Uint16(content))
		if rest := content[methodBytes:]; n <= len(rest) {
			return string(rest[:n]), rest[n:], nil
		}
	}
	return "", nil, fmt.Errorf("%w: a request of %d bytes does not contain its method", errFrame, len(content))
}

// chunkBytes is the part of a frame that FrameTimeout applies to.
const chunkBytes = 256 << 10

// A frameReader reads frames. One goroutine uses a frameReader.
type frameReader struct {
	conn     net.Conn
	buffered *bufio.Reader
	max      int           // bytes of content
	idle     time.Duration // until a frame begins; 0: no limit
	chunk    time.Duration // for each chunk of a frame
	limited  bool          // a deadline is set
	begun    bool          // the deadline is that of the present chunk
}

func newFrameReader(conn net.Conn, o *TCPOptions, idle time.Duration) *frameReader {
	return &frameReader{conn: conn, buffered: bufio.NewReaderSize(conn, 64<<10), max: o.MaxFrameBytes, idle: idle, chunk: o.FrameTimeout}
}

// hello reads and checks the peer's hello.
func (r *frameReader) hello() error {
	b := make([]byte, helloBytes)
	if _, err := io.ReadFull(r.buffered, b); err != nil {
		return err
	}
	if string(b[:len(tcpMagic)]) != tcpMagic {
		return fmt.Errorf("%w: the peer begins with %q", errPeer, b)
	}
	if v := binary.BigEndian.Uint16(b[len(tcpMagic):]); v != tcpVersion {
		return fmt.Errorf("%w: the peer has version %d, and this program version %d", errPeer, v, tcpVersion)
	}
	return nil
}

// next returns the next frame. Memory is taken as the content arrives, so a false
// length costs its sender as many bytes.
func (r *frameReader) next() (frame, error) {
	if r.buffered.Buffered() == 0 {
		if err := r.expectWithin(r.idle); err != nil {
			return frame{}, err
		}
		if _, err := r.buffered.Peek(1); err != nil {
			return frame{}, err
		}
	}
	r.begun = false
	if err := r.arm(lengthBytes + headerBytes); err != nil {
		return frame{}, err
	}
	header, err := r.buffered.Peek(lengthBytes + headerBytes)
	if err != nil {
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(header)) - headerBytes
	if n < 0 || n > int64(r.max) {
		return frame{}, fmt.Errorf("%w: %d bytes of content; want 0 to %d", errFrame, n, r.max)
	}
	f := frame{kind: frameKind(header[lengthBytes]), call: binary.BigEndian.Uint64(header[lengthBytes+1:])}
	_, _ = r.buffered.Discard(len(header)) // just peeked
	for left := int(n); left > 0; {
		part := min(left, chunkBytes)
		have := len(f.content)
		if have+part > cap(f.content) {
			grown := make([]byte, have, min(int(n), 2*(have+part)))
			copy(grown, f.content)
			f.content = grown
		}
		f.content = f.content[:have+part]
		if err := r.fill(f.content[have:]); err != nil {
			return frame{}, err
		}
		left -= part
		r.begun = false // the next chunk has time of its own
	}
	return f, nil
}

// expectWithin sets the deadline of reads, or removes the deadline for 0.
func (r *frameReader) expectWithin(d time.Duration) error {
	if d > 0 {
		r.limited = true
		return r.conn.SetReadDeadline(time.Now().Add(d))
	}
	if !r.limited {
		return nil
	}
	r.limited = false
	return r.conn.SetReadDeadline(time.Time{})
}

// arm gives FrameTimeout to the next n bytes, unless they have arrived already or
// their chunk has its deadline.
func (r *frameReader) arm(n int) error {
	if r.begun || r.buffered.Buffered() >= n {
		return nil
	}
	r.begun = true
	return r.expectWithin(r.chunk)
}

// fill reads bytes of a chunk.
func (r *frameReader) fill(b []byte) error {
	if err := r.arm(len(b)); err != nil {
		return err
	}
	_, err := io.ReadFull(r.buffered, b)
	return err
}

// An outbox sends frames on one connection. Frames that are put while others are
// written leave together. The goroutine of run writes, so put never blocks.
type outbox struct {
	conn       net.Conn
	timeout    time.Duration // for each chunk
	beforeSend func() error
	wake       chan struct{} // capacity 1
	sent       func(load)    // after a batch has left, unless nil

	mu       sync.Mutex
	queue    []byte
	messages int  // requests and replies in queue
	controls int  // in queue
	load     load // of the budget, in queue
}

func newOutbox(conn net.Conn, o *TCPOptions, sent func(load)) *outbox {
	return &outbox{conn: conn, timeout: o.FrameTimeout, beforeSend: o.BeforeSend, wake: make(chan struct{}, 1), sent: sent}
}

// put queues a frame, whose content is head and then body.
func (o *outbox) put(kind frameKind, call uint64, head string, body []byte, freed load) {
	o.mu.Lock()
	o.queue = binary.BigEndian.AppendUint32(o.queue, uint32(headerBytes+len(head)+len(body)))
	o.queue = append(o.queue, byte(kind))
	o.queue = binary.BigEndian.AppendUint64(o.queue, call)
	o.queue = append(append(o.queue, head...), body...)
	if kind == frameRequest || kind == frameReply {
		o.messages++
	}
	o.load.calls += freed.calls
	o.load.bytes += freed.bytes
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// free has a part of the budget released once everything in the queue has left.
func (o *outbox) free(part load) {
	o.mu.Lock()
	o.load.calls += part.calls
	o.load.bytes += part.bytes
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// control is put for a frame without a budget. It returns an error if the peer
// causes such frames and does not read them.
func (o *outbox) control(kind frameKind, call uint64, max int) error {
	o.mu.Lock()
	o.controls++
	n := o.controls
	o.mu.Unlock()
	if n > max {
		return fmt.Errorf("the peer does not read %d answers", n)
	}
	o.put(kind, call, "", nil, load{})
	return nil
}

// spareBytes bounds the buffer that an outbox keeps between two batches.
const spareBytes = 1 << 20

// run writes batches until stop is closed or a write fails.
func (o *outbox) run(stop <-chan struct{}) error {
	var spare []byte
	for {
		select {
		case <-stop:
			return nil
		case <-o.wake:
		}
		runtime.Gosched() // goroutines that are ready put their frames into this batch
		o.mu.Lock()
		batch, messages, freed := o.queue, o.messages, o.load
		o.queue, o.messages, o.controls, o.load = spare[:0], 0, 0, load{}
		o.mu.Unlock()
		if messages > 0 && o.beforeSend != nil {
			if err := o.beforeSend(); err != nil {
				return fmt.Errorf("%w: %w", errBeforeSend, err)
			}
		}
		if err := o.write(batch); err != nil {
			return err
		}
		if o.sent != nil {
			o.sent(freed)
		}
		if spare = batch; cap(spare) > spareBytes {
			spare = nil
		}
	}
}

func (o *outbox) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunkBytes)
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
			return err
		}
		if _, err := o.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// A load is the part of a budget that calls take.
type load struct{ calls, bytes int }

// A budget bounds the calls under way on one connection.
type budget struct {
	max load

	mu    sync.Mutex
	taken load
	freed chan struct{} // closed when something is released; nil if nobody waits
}

// take takes a call's part, if the budget has room. A call alone always has room.
func (b *budget) take(bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fits(bytes)
}

func (b *budget) fits(bytes int) bool {
	if b.taken.calls > 0 && (b.taken.calls >= b.max.calls || b.taken.bytes+bytes > b.max.bytes) {
		return false
	}
	b.taken.calls++
	b.taken.bytes += bytes
	return true
}

// wait is take that waits for room until one of the channels is ready.
func (b *budget) wait(bytes int, timeout <-chan time.Time, broken <-chan struct{}) bool {
	for {
		b.mu.Lock()
		if b.fits(bytes) {
			b.mu.Unlock()
			return true
		}
		if b.freed == nil {
			b.freed = make(chan struct{})
		}
		freed := b.freed
		b.mu.Unlock()
		select {
		case <-freed:
		case <-timeout:
			return false
		case <-broken:
			return false
		}
	}
}

// release gives a part back. A call that grows releases a negative number of
// bytes.
func (b *budget) release(l load) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken.calls -= l.calls
	b.taken.bytes -= l.bytes
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}
