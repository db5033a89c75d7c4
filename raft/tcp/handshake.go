package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// The versions of the protocol that this package speaks. A pair of hosts uses
// the highest version that both speak.
//
//   - Version 1 is the first one.
//   - Since version 2 the welcome has the listening host's MaxFrameBytes. The dialling
//     host sends no larger frame. With version 1 both hosts need the same limit.
const (
	oldestVersion = 1
	newestVersion = 2
)

// magic begins each connection, so that another protocol's client is told apart.
// magicStream begins a [Stream], and is as long.
const (
	magic       = "raftlab raft\n"
	magicStream = "raftlab open\n"
)

// maxHelloBytes bounds the first frame of a peer, before authentication.
const maxHelloBytes = 4 << 10

// hello is what the dialling host says first.
type hello struct {
	OldestVersion, NewestVersion uint8
	Cluster                      string
	From, To                     uint64
	Address                      string // where the dialling host is reached
}

// welcome1 is the answer of version 1, and each refusal.
type welcome1 struct {
	Version uint8  // that the connection uses; 0: refused
	Reason  string // of the refusal
}

// welcome is the answer since version 2. It begins as a welcome1 does.
type welcome struct {
	Version       uint8
	Reason        string
	MaxFrameBytes uint32
}

// Errors of a handshake.
var (
	// ErrRefused is matched by the error of a connection that the peer refuses.
	ErrRefused = errors.New("the peer refuses the connection")
	// ErrCluster is matched by the error of a connection that the peer refuses because
	// the peer belongs to another cluster. The error also matches ErrRefused.
	ErrCluster = errors.New("the peer belongs to another cluster")
	// ErrPeer is matched by the error of a connection to the wrong host.
	ErrPeer = errors.New("wrong peer")
)

// greet begins a connection that this host has dialled, and returns the limit for
// frames.
func (t *Transport) greet(conn net.Conn, to core.NodeID) (limit int, err error) {
	h := hello{oldestVersion, newestVersion, t.self.Cluster, uint64(t.self.Host), uint64(to), t.address}
	_, err = io.WriteString(conn, magic)
	if err == nil {
		err = writeControl(conn, frameHello, &h)
	}
	var w welcome
	// A peer that refuses this host's certificate has answered before the hello. The
	// answer explains why the hello could not be written.
	if readErr := readControl(conn, frameWelcome, &w); readErr != nil {
		return 0, readErr
	}
	limit = t.opts.MaxFrameBytes
	switch {
	case err != nil:
		return 0, err
	case w.Version == 0:
		return 0, refused(w.Reason)
	case w.Version < oldestVersion || w.Version > newestVersion:
		return 0, fmt.Errorf("%w: it chose version %d of %d to %d", ErrPeer, w.Version, oldestVersion, newestVersion)
	case w.Version == 1:
		return limit, nil
	case w.MaxFrameBytes < minFrameBytes:
		return 0, fmt.Errorf("%w: its MaxFrameBytes is %d; want at least %d", ErrPeer, w.MaxFrameBytes, minFrameBytes)
	}
	return int(min(uint32(limit), w.MaxFrameBytes)), nil
}

// admit begins a connection that another host has dialled, for messages or as a
// stream. certified is the identity in the other host's certificate, nil without TLS.
func (t *Transport) admit(conn net.Conn, certified *node.Identity) (h hello, stream bool, err error) {
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(conn, begin); err != nil {
		return h, false, err
	}
	if stream = string(begin) == magicStream; !stream && string(begin) != magic {
		return h, false, fmt.Errorf("%w: it begins with %q", errFrame, begin)
	}
	if err := readControl(conn, frameHello, &h); err != nil {
		return h, stream, err
	}
	if stream {
		return h, true, t.admitStream(conn, h, certified)
	}
	version := min(newestVersion, h.NewestVersion)
	reason := t.objection(h, version, certified)
	if reason != "" {
		version = 0
	}
	var answer any = &welcome1{version, reason}
	if version >= 2 {
		answer = &welcome{Version: version, MaxFrameBytes: uint32(t.opts.MaxFrameBytes)}
	}
	err = writeControl(conn, frameWelcome, answer)
	if reason != "" {
		return h, false, fmt.Errorf("%w: %s", ErrPeer, reason)
	}
	return h, false, err
}

// otherCluster begins the reason for the refusal of a host of another cluster.
const otherCluster = "it is of cluster"

// refused returns the error for the reason that a peer has sent.
func refused(reason string) error {
	if strings.HasPrefix(reason, otherCluster) {
		return fmt.Errorf("%w: %w: %q", ErrRefused, ErrCluster, reason)
	}
	return fmt.Errorf("%w: %q", ErrRefused, reason)
}

// objection is why a host is refused, "" if it is not.
func (t *Transport) objection(h hello, version uint8, certified *node.Identity) string {
	switch {
	case version < oldestVersion || version < h.OldestVersion:
		return fmt.Sprintf("it speaks versions %d to %d, and host %d speaks %d to %d", h.OldestVersion, h.NewestVersion, t.self.Host, oldestVersion, newestVersion)
	case h.Cluster != t.self.Cluster:
		return fmt.Sprintf(otherCluster+" %q, and host %d of %q", h.Cluster, t.self.Host, t.self.Cluster)
	case h.To != uint64(t.self.Host):
		return fmt.Sprintf("it looks for host %d; this is host %d", h.To, t.self.Host)
	case h.From == 0 || h.From == uint64(t.self.Host):
		return fmt.Sprintf("it says that it is host %d", h.From)
	case certified != nil && !covers(*certified, node.Identity{Cluster: h.Cluster, Host: core.NodeID(h.From)}):
		return fmt.Sprintf("it says that it is host %d, and its certificate is of host %d of cluster %q", h.From, certified.Host, certified.Cluster)
	}
	return ""
}

// explain adds the likely reason to the error of a handshake that the peer ended.
func explain(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS
		return fmt.Errorf("%w: it refuses the certificate: %w", ErrRefused, err)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: it ended the connection during the handshake (both hosts use TLS, or neither)", ErrRefused)
	}
	return err
}

// linger lets a refused host read the reason before the connection is closed. The
// close of a socket with unread data would discard the reason.
func linger(raw net.Conn) {
	if c, ok := raw.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, raw, maxHelloBytes)
	}
}

// secure runs the TLS handshake, if there is TLS, and returns the identity in the
// peer's certificate.
func (t *Transport) secure(conn net.Conn, server bool) (net.Conn, *node.Identity, error) {
	if t.opts.TLS == nil {
		return conn, nil, nil
	}
	cfg, err := t.opts.TLS.config()
	if err != nil {
		return conn, nil, err
	}
	secured := tls.Client(conn, cfg)
	if server {
		secured = tls.Server(conn, cfg)
	}
	if err := secured.Handshake(); err != nil {
		return conn, nil, err
	}
	if t.opts.TLS.Anonymous != nil {
		return secured, nil, nil
	}
	id, err := t.opts.TLS.identityOf(secured.ConnectionState().PeerCertificates[0], t.self)
	return secured, &id, err
}

// writeControl writes a frame with one msgpack value.
func writeControl(conn net.Conn, frameType byte, v any) error {
	payload, err := msgpack.Encode(v)
	if err != nil {
		return err
	}
	return writeFrame(conn, frameType, payload)
}

func writeFrame(conn net.Conn, frameType byte, payload []byte) error {
	frame := make([]byte, headerBytes, headerBytes+len(payload))
	putHeader(frame, frameType, len(payload), checksum(frameType, payload))
	_, err := conn.Write(append(frame, payload...))
	return err
}

// readControl reads a frame with one msgpack value.
func readControl(conn net.Conn, frameType byte, v any) error {
	got, payload, err := readFrame(conn, maxHelloBytes, nil)
	if err != nil {
		return err
	}
	if got != frameType {
		return fmt.Errorf("%w: type %d; want %d", errFrame, got, frameType)
	}
	if _, err := msgpack.DecodePrefix(payload, v); err != nil {
		return fmt.Errorf("%w: %v", errFrame, err)
	}
	return nil
}

// firstRead bounds the memory that the header of a connection's first frame makes
// the receiver reserve. The rest follows as the payload arrives.
const firstRead = 64 << 10

// frameReader reads the frames of a connection.
type frameReader struct {
	r       io.Reader
	limit   int // for the payload of a frame
	largest int // payload so far
}

// readFrame reads the first frame of a connection, of at most limit bytes, into buf if
// there is room.
func readFrame(r io.Reader, limit int, buf []byte) (frameType byte, payload []byte, err error) {
	return (&frameReader{r: r, limit: limit}).next(buf)
}

// next reads a frame, into buf if there is room.
func (f *frameReader) next(buf []byte) (frameType byte, payload []byte, err error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return 0, nil, err
	}
	frameType, length, sum := decodeHeader(header[:])
	if uint64(length) > uint64(f.limit) {
		return 0, nil, fmt.Errorf("%w: %d bytes; the limit is %d", errFrame, length, f.limit)
	}
	if payload, err = f.payload(int(length), buf); err != nil {
		return 0, nil, err
	}
	if got := checksum(frameType, payload); got != sum {
		return 0, nil, fmt.Errorf("%w: checksum %08x; want %08x", errFrame, got, sum)
	}
	f.largest = max(f.largest, len(payload))
	return frameType, payload, nil
}

// payload reads a payload. The reader reserves memory for twice the largest frame of
// the connection so far, and for more as the payload arrives. A false length is
// therefore of no use to an attacker, and large frames are not copied.
func (f *frameReader) payload(length int, buf []byte) ([]byte, error) {
	if cap(buf) >= length {
		_, err := io.ReadFull(f.r, buf[:length])
		return buf[:length], noEOF(err)
	}
	payload := make([]byte, min(length, max(firstRead, 2*f.largest)))
	for read := 0; ; {
		n, err := io.ReadFull(f.r, payload[read:])
		if err != nil {
			return nil, noEOF(err)
		}
		if read += n; read == length {
			return payload, nil
		}
		grown := make([]byte, min(length, 4*read))
		copy(grown, payload)
		payload = grown
	}
}

// noEOF says that an end inside of a frame is not the end of the connection.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// deadline sets the time until which conn must get on.
func deadline(conn net.Conn, d time.Duration) error { return conn.SetDeadline(time.Now().Add(d)) }
