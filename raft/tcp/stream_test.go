package tcp_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// echo accepts streams and sends back the number of the peer and what comes.
func echo(t *testing.T, h *host) {
	listener := h.Streams()
	require.Equal(t, h.Address(), listener.Addr().String())
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte{byte(conn.(*tcp.Stream).Peer())})
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

func checkEcho(t *testing.T, s *tcp.Stream, self byte) {
	t.Helper()
	_, err := io.WriteString(s, "hello")
	require.NoError(t, err)
	answer := make([]byte, 6)
	_, err = io.ReadFull(s, answer)
	require.NoError(t, err)
	require.Equal(t, append([]byte{self}, "hello"...), answer)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A stream leads to the named host or to whichever host has an address, beside the
// messages of Raft.
func TestStreams(t *testing.T) {
	ca := newAuthority(t)
	for name, files := range map[string][2]*tcp.TLS{
		"plaintext": {},
		"TLS":       {ca.host("host1", identity(1)), ca.host("host2", identity(2))},
	} {
		t.Run(name, func(t *testing.T) {
			one := listen(t, identity(1), tcp.Options{TLS: files[0]})
			two := listen(t, identity(2), tcp.Options{TLS: files[1]})
			ctx := within(t, 10*time.Second)
			_, err := one.DialStreamAddress(ctx, two.Address())
			require.ErrorIs(t, err, tcp.ErrRefused, "nobody has asked for streams")
			require.ErrorContains(t, err, "host 2 takes no streams")
			echo(t, two)

			found, err := one.DialStreamAddress(ctx, two.Address())
			require.NoError(t, err)
			require.Equal(t, core.NodeID(2), found.Peer())
			checkEcho(t, found, 1)
			_, err = one.DialStream(ctx, 2)
			require.ErrorContains(t, err, "host 2: the host is no peer")
			one.SetPeer(2, two.Address())
			named, err := one.DialStream(ctx, 2)
			require.NoError(t, err)
			checkEcho(t, named, 1)
			require.NoError(t, named.Close())
			require.ErrorIs(t, named.Close(), net.ErrClosed)

			require.NoError(t, two.Close()) // ends the streams of both sides
			_, err = io.Copy(io.Discard, found)
			if err != nil {
				require.ErrorIs(t, err, net.ErrClosed)
			}
		})
	}
}

func TestStreamsAreRefused(t *testing.T) {
	ca := newAuthority(t)
	two := listen(t, identity(2), tcp.Options{TLS: ca.host("host2", identity(2))})
	echo(t, two)
	ctx := within(t, 10*time.Second)
	open := func(self node.Identity, files *tcp.TLS, to core.NodeID) error {
		h := listen(t, self, tcp.Options{TLS: files})
		h.SetPeer(to, two.Address())
		_, err := h.DialStream(ctx, to)
		return err
	}
	require.ErrorIs(t, open(identity(1), ca.host("host1", identity(1)), 3), tcp.ErrPeer, "the address of another host")
	other := node.Identity{Cluster: "other", Host: 1}
	require.ErrorIs(t, open(other, ca.host("other", other), 2), tcp.ErrPeer, "another cluster")
	require.Error(t, open(identity(1), newAuthority(t).host("host1", identity(1)), 2), "another authority")
	require.Error(t, open(identity(1), nil, 2), "no TLS")

	plain := listen(t, identity(4), tcp.Options{})
	echo(t, plain)
	_, err := listen(t, other, tcp.Options{}).DialStreamAddress(ctx, plain.Address())
	require.ErrorIs(t, err, tcp.ErrRefused)
	require.ErrorContains(t, err, "it is of cluster")
	_, err = plain.DialStreamAddress(ctx, plain.Address())
	require.ErrorIs(t, err, tcp.ErrRefused, "a host does not call itself")

	require.NoError(t, plain.Streams().Close())
	_, err = listen(t, identity(1), tcp.Options{}).DialStreamAddress(ctx, plain.Address())
	require.ErrorContains(t, err, "host 4 takes no streams")
}

// Neither end waits for ever: not for a host that does not answer, not for Accept,
// not after Close.
func TestStreamsEnd(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	one := listen(t, identity(1), tcp.Options{HandshakeTimeout: 50 * time.Millisecond})
	_, err = one.DialStreamAddress(t.Context(), silent.Addr().String())
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	slow := listen(t, identity(3), tcp.Options{})
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = slow.DialStreamAddress(ctx, silent.Addr().String())
	require.ErrorIs(t, err, context.Canceled)

	two := listen(t, identity(2), tcp.Options{MaxConnections: 2})
	listener := two.Streams()
	first, err := slow.DialStreamAddress(t.Context(), two.Address())
	require.NoError(t, err)
	_, err = slow.DialStreamAddress(t.Context(), two.Address())
	require.NoError(t, err)
	_, err = slow.DialStreamAddress(t.Context(), two.Address())
	require.Error(t, err, "beyond MaxConnections")
	require.NoError(t, two.Close())
	_, err = listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = first.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, slow.Close())
	_, err = slow.DialStreamAddress(t.Context(), two.Address())
	require.Error(t, err)
	unstarted, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true})
	require.NoError(t, err)
	_, err = unstarted.DialStreamAddress(t.Context(), two.Address())
	require.ErrorContains(t, err, "not started")
	require.NoError(t, unstarted.Close())
}
