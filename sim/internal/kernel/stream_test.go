//go:build linux && amd64

package kernel_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"raftlab/sim/internal/kernel"
)

// TestStreamsLikeLinux ends connections in many orders on both kernels.
func TestStreamsLikeLinux(t *testing.T) {
	for name, script := range map[string]func(m *machine, c, s uintptr){
		"data in order, and in pieces": func(m *machine, c, s uintptr) {
			m.noteRead(s, 5)
			m.noteWrite(c, "hello")
			m.noteWrite(c, "world")
			m.noteRead(s, 3)
			m.noteRead(s, 100)
			m.noteRead(s, 0)
			m.noteRead(s, 5)
		},
		"closed by the client": func(m *machine, c, s uintptr) {
			m.noteWrite(c, "last")
			m.close(c)
			m.noteRead(s, 2)
			m.noteRead(s, 10)
			m.noteRead(s, 10)
			m.noteRead(s, 10)
			m.noteWrite(s, "nobody")
			m.noteWrite(s, "nobody")
			m.noteRead(s, 10)
		},
		"closed by the client, and read after the reset": func(m *machine, c, s uintptr) {
			m.close(c)
			m.noteWrite(s, "nobody")
			m.noteRead(s, 10)
			m.noteRead(s, 10)
			m.noteWrite(s, "nobody")
			m.noteWrite(s, "nobody")
		},
		"no lingering after the other's end": func(m *machine, c, s uintptr) {
			m.noteShutdown(c, syscall.SHUT_WR)
			m.noteWrite(s, "unread")
			m.option(s, syscall.SOL_SOCKET, syscall.SO_LINGER, 1, 0)
			m.close(s)
			m.noteRead(c, 10)
			m.noteRead(c, 10)
			m.noteRead(c, 10)
		},
		"half-closed, and answered": func(m *machine, c, s uintptr) {
			m.noteWrite(c, "question")
			m.noteShutdown(c, syscall.SHUT_WR)
			m.noteWrite(c, "more")
			m.noteShutdown(c, syscall.SHUT_WR)
			m.noteRead(s, 100)
			m.noteRead(s, 100)
			m.noteWrite(s, "answer")
			m.close(s)
			m.noteRead(c, 100)
			m.noteRead(c, 100)
		},
		"half-closed by both": func(m *machine, c, s uintptr) {
			m.noteShutdown(s, syscall.SHUT_WR)
			m.noteShutdown(c, syscall.SHUT_RDWR)
			m.noteRead(s, 10)
			m.noteRead(c, 10)
			m.noteWrite(c, "x")
			m.noteWrite(s, "x")
		},
		"closed with unread bytes": func(m *machine, c, s uintptr) {
			m.noteWrite(c, "unread")
			m.close(s)
			m.noteRead(c, 1)
			m.noteRead(c, 1)
			m.noteWrite(c, "x")
		},
		"unread bytes before a reset": func(m *machine, c, s uintptr) {
			m.noteWrite(s, "kept")
			m.noteWrite(c, "unread")
			m.close(s)
			m.noteError("SO_ERROR", func() syscall.Errno {
				return syscall.Errno(m.getOption(c, syscall.SOL_SOCKET, syscall.SO_ERROR))
			})
			m.noteRead(c, 2)
			m.noteRead(c, 10)
			m.noteRead(c, 10)
		},
		"no lingering": func(m *machine, c, s uintptr) {
			m.noteError("linger", func() syscall.Errno { return m.option(c, syscall.SOL_SOCKET, syscall.SO_LINGER, 1, 0) })
			m.noteWrite(c, "kept")
			m.close(c)
			m.noteRead(s, 10)
			m.noteRead(s, 10)
			m.noteRead(s, 10)
			m.noteWrite(s, "x")
		},
		"reads over several buffers": func(m *machine, c, s uintptr) {
			m.noteWrite(c, "one two three")
			m.note("readv", func() string { return m.readv(s, 4, 0, 4, 100) })
			m.noteWrite(c, "four")
			m.note("readv", func() string { return m.readv(s, 4, 4) })
			m.noteWrite(c, "five")
			m.close(c)
			m.note("readv", func() string { return m.readv(s, 4, 4) })
			m.note("readv", func() string { return m.readv(s, 4, 4) })
		},
		"peeking": func(m *machine, c, s uintptr) {
			m.noteWrite(c, "again")
			for _, flags := range []uintptr{syscall.MSG_PEEK, syscall.MSG_PEEK, 0, 0} {
				m.note("recv", func() string {
					b := m.memory(4)
					r, e := m.call(syscall.SYS_RECVFROM, s, at(b), 4, flags, 0, 0)
					if e != 0 {
						return name(e)
					}
					return string(b[:r])
				})
			}
		},
		"misused": func(m *machine, c, s uintptr) {
			m.connect(c, inet4("127.0.0.1", 9)) // Linux may report the end of the first one
			m.noteError("connect again", func() syscall.Errno { return m.connect(c, inet4("127.0.0.1", 9)) })
			m.noteError("listen", func() syscall.Errno { _, e := m.call(syscall.SYS_LISTEN, c, 1); return e })
			m.noteError("bind", func() syscall.Errno { return m.bind(c, inet4("127.0.0.1", 0)) })
			m.noteAccept(c)
			m.noteError("seek", func() syscall.Errno { _, e := m.call(syscall.SYS_LSEEK, c, 0, 0); return e })
			fresh := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteShutdown(fresh, syscall.SHUT_WR)
			m.noteRead(fresh, 1)
			m.noteError("peer", func() syscall.Errno { _, e := m.address(syscall.SYS_GETPEERNAME, fresh); return e })
			m.close(c)
			m.noteRead(c, 1)
			m.noteError("close again", func() syscall.Errno { _, e := m.call(syscall.SYS_CLOSE, c); return e })
		},
	} {
		t.Run(name, func(t *testing.T) {
			likeLinux(t, func(m *machine) {
				c, s := m.pair()
				script(m, c, s)
			})
		})
	}
}

type iovec struct{ base, n uintptr }

// vectors are buffers of a call.
func (m *machine) vectors(sizes ...int) (iov []byte, buffers [][]byte) {
	iov = m.memory(16 * len(sizes))
	for i, n := range sizes {
		b := m.memory(n)
		buffers = append(buffers, b)
		*(*iovec)(unsafe.Pointer(&iov[16*i])) = iovec{at(b), uintptr(n)}
	}
	return iov, buffers
}

func (m *machine) readv(fd uintptr, sizes ...int) string {
	iov, buffers := m.vectors(sizes...)
	n, e := m.call(syscall.SYS_READV, fd, at(iov), uintptr(len(sizes)))
	if e != 0 {
		return name(e)
	}
	return fmt.Sprintf("%d %q", n, buffers)
}

// TestListenersLikeLinux dials and closes listeners on both kernels.
func TestListenersLikeLinux(t *testing.T) {
	for name, script := range map[string]func(m *machine){
		"refused": func(m *machine) {
			l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 1)
			m.close(l)
			m.noteConnect(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), a)
		},
		"closed with connections in the backlog": func(m *machine) {
			l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 8)
			one, two := m.socket(syscall.AF_INET, syscall.SOCK_STREAM), m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteConnect(one, a)
			m.noteConnect(two, a)
			m.noteWrite(two, "for nobody")
			m.close(l)
			m.noteRead(one, 1)
			m.noteRead(two, 1)
			m.noteRead(two, 1)
			m.noteWrite(one, "x")
		},
		"shut down with a connection in the backlog": func(m *machine) {
			l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 8)
			c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteConnect(c, a)
			m.noteShutdown(l, syscall.SHUT_RDWR)
			m.noteAccept(l)
			m.noteRead(c, 1)
		},
		"a client that has gone before accept": func(m *machine) {
			l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 8)
			c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteConnect(c, a)
			m.noteWrite(c, "left behind")
			m.close(c)
			s := m.noteAccept(l)
			m.noteRead(s, 100)
			m.noteRead(s, 100)
			m.noteAccept(l)
		},
		"a port in use, and used again": func(m *machine) {
			l := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.option(l, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) // as package net does
			require.Zero(m.t, m.bind(l, inet4("127.0.0.1", 0)))
			m.must(syscall.SYS_LISTEN, l, 8)
			a, _ := m.address(syscall.SYS_GETSOCKNAME, l)
			try := func(reuse uint32, address string) {
				fd := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
				m.option(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, reuse)
				m.noteError(fmt.Sprint("bind with reuse ", reuse), func() syscall.Errno { return m.bind(fd, address) })
				m.close(fd)
			}
			try(0, a)
			try(1, a)
			try(1, inet4("0.0.0.0", uint16(a[2])<<8|uint16(a[3])))
			c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteConnect(c, a)
			m.noteAccept(l)
			m.close(l)
			try(1, a)
		},
		"IPv4 in IPv6": func(m *machine) {
			l, a := m.listener(syscall.AF_INET6, inet6("::", 0), 8)
			port := uint16(a[2])<<8 | uint16(a[3])
			four := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.noteConnect(four, inet4("127.0.0.1", port))
			s := m.noteAccept(l)
			m.note("peer", func() string {
				p, _ := m.address(syscall.SYS_GETPEERNAME, s)
				return fmt.Sprintf("%d %q", p[0], p[8:])
			})
			mapped := m.socket(syscall.AF_INET6, syscall.SOCK_STREAM)
			m.noteConnect(mapped, inet6("127.0.0.1", port))
			six := m.socket(syscall.AF_INET6, syscall.SOCK_STREAM)
			m.noteConnect(six, inet6("::1", port))
			m.noteError("bind IPv4", func() syscall.Errno {
				return m.bind(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), inet4("127.0.0.1", port))
			})
		},
		"IPv6 only": func(m *machine) {
			l := m.socket(syscall.AF_INET6, syscall.SOCK_STREAM)
			require.Zero(m.t, m.option(l, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1))
			require.Zero(m.t, m.bind(l, inet6("::", 0)))
			m.must(syscall.SYS_LISTEN, l, 1)
			a, _ := m.address(syscall.SYS_GETSOCKNAME, l)
			port := uint16(a[2])<<8 | uint16(a[3])
			m.noteConnect(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), inet4("127.0.0.1", port))
			m.noteError("bind IPv4", func() syscall.Errno {
				return m.bind(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), inet4("127.0.0.1", port))
			})
		},
	} {
		t.Run(name, func(t *testing.T) { likeLinux(t, script) })
	}
}

// TestFullBacklog dials more often than a listener has room. The clients beyond
// try again, and get through when there is room.
func TestFullBacklog(t *testing.T) {
	m := newMachine(t)
	l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 2)
	var clients []uintptr
	for range 5 {
		c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
		require.Equal(t, syscall.EINPROGRESS, m.connect(c, a))
		clients = append(clients, c)
	}
	done := func() (n int) {
		for _, c := range clients {
			require.Zero(t, m.getOption(c, syscall.SOL_SOCKET, syscall.SO_ERROR))
			if _, e := m.address(syscall.SYS_GETPEERNAME, c); e == 0 {
				n++
			}
		}
		return n
	}
	m.pass(time.Millisecond)
	require.Equal(t, 2, done())
	for _, step := range []struct {
		after     time.Duration // the clients try again after 1, 3, 7, 15 and 31 s
		connected int
	}{{2 * time.Second, 4}, {40 * time.Second, 5}} {
		for range 2 {
			_, e := m.accept(l)
			require.Zero(t, e)
		}
		m.pass(step.after)
		require.Equal(t, step.connected, done())
	}
	_, e := m.accept(l)
	require.Zero(t, e)
	_, e = m.accept(l)
	require.Equal(t, syscall.EAGAIN, e)
}

// TestDescriptorLimit accepts a connection only when there is a descriptor for it.
func TestDescriptorLimit(t *testing.T) {
	m := newMachine(t)
	l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 2)
	c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
	m.connect(c, a)
	m.pass(time.Millisecond)
	spare := m.socket(syscall.AF_INET, syscall.SOCK_DGRAM)
	for range kernel.MaxFiles - 3 {
		m.must(syscall.SYS_DUP, spare)
	}
	_, e := m.accept(l)
	require.Equal(t, syscall.EMFILE, e)
	_, e = m.call(syscall.SYS_SOCKETPAIR, syscall.AF_UNIX, syscall.SOCK_STREAM, 0, at(m.memory(8)))
	require.Equal(t, syscall.EMFILE, e)
	m.close(spare)
	s, e := m.accept(l)
	require.Zero(t, e)
	require.Equal(t, spare, s, "the lowest free descriptor")
	m.write(c, "hello")
	m.pass(time.Millisecond)
	got, _ := m.read(s, 5)
	require.Equal(t, "hello", got)
}

// TestPortsRunOut binds every port that the kernel chooses from.
func TestPortsRunOut(t *testing.T) {
	m := newMachine(t)
	bound := 0
	for ; bound <= 12000; bound++ {
		fd := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
		if e := m.bind(fd, inet4("127.0.0.1", 0)); e != 0 {
			require.Equal(t, syscall.EADDRINUSE, e)
			break
		}
	}
	require.Equal(t, 12000, bound)
	require.Equal(t, syscall.EADDRNOTAVAIL, m.connect(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), inet4("127.0.0.1", 80)))
	_, e := m.call(syscall.SYS_LISTEN, m.socket(syscall.AF_INET, syscall.SOCK_STREAM), 1)
	require.Equal(t, syscall.EADDRINUSE, e)
	require.Zero(t, m.bind(m.socket(syscall.AF_INET, syscall.SOCK_DGRAM), inet4("127.0.0.1", 0)), "UDP has ports of its own")
}

// poller is a poller of the runtime, for the descriptor.
func (m *machine) poller(fd uintptr) unsafe.Pointer {
	pd := unsafe.Pointer(new(int64))
	require.Zero(m.t, m.k.PollOpen(fd, pd))
	return pd
}

// woken returns the modes for which a poller was woken, and forgets them.
func (m *machine) woken(pd unsafe.Pointer) string {
	m.pass(time.Millisecond)
	w := m.h.woken[pd]
	delete(m.h.woken, pd)
	return w
}

// TestWriterWakes fills the buffers of a connection. The writer that was told to
// wait is woken when there is room, and only then.
func TestWriterWakes(t *testing.T) {
	m := newMachine(t)
	c, s := m.pair()
	pc, ps := m.poller(c), m.poller(s)
	require.Equal(t, "w", m.woken(pc))
	require.Equal(t, "w", m.woken(ps))
	big := strings.Repeat("x", 1<<20)
	n, e := m.write(c, big)
	require.Zero(t, e)
	require.Equal(t, 256<<10, n, "a short write fills the buffers")
	_, e = m.write(c, "x")
	require.Equal(t, syscall.EAGAIN, e)
	require.Equal(t, "", m.woken(pc))
	require.Equal(t, "r", m.woken(ps))
	got, _ := m.read(s, 10)
	require.Len(t, got, 10)
	require.Equal(t, "w", m.woken(pc))
	n, _ = m.write(c, big)
	require.Equal(t, 10, n)
	m.woken(ps)
	got, _ = m.read(s, 1<<20)
	require.Len(t, got, 256<<10)
	require.Equal(t, "w", m.woken(pc))
	_, e = m.read(s, 1)
	require.Equal(t, syscall.EAGAIN, e)
	m.write(c, "y")
	require.Equal(t, "r", m.woken(ps))
	m.read(s, 1)
	require.Equal(t, "", m.woken(pc), "nobody waits for room")
	m.close(c)
	require.Equal(t, "r", m.woken(ps))
}

// TestSmallBuffers sets the sizes of buffers.
func TestSmallBuffers(t *testing.T) {
	m := newMachine(t)
	c, s := m.pair()
	require.Zero(t, m.option(c, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4000))
	require.Zero(t, m.option(s, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1))
	require.EqualValues(t, 8000, m.getOption(c, syscall.SOL_SOCKET, syscall.SO_SNDBUF), "Linux doubles the value")
	n, _ := m.write(c, strings.Repeat("x", 1<<20))
	require.Equal(t, 4000+2304, n)
	m.option(c, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1<<30)
	n, _ = m.write(c, strings.Repeat("x", 1<<20))
	require.Equal(t, 212992-4000, n, "a larger buffer, up to the limit")
}

func (m *machine) control(op uintptr, operands any) {
	m.t.Helper()
	switch o := operands.(type) {
	case *kernel.RuleOp:
		m.must(kernel.Control, op, uintptr(unsafe.Pointer(o)), unsafe.Sizeof(*o))
	case *kernel.NetConfig:
		m.must(kernel.Control, op, uintptr(unsafe.Pointer(o)), unsafe.Sizeof(*o))
	case int:
		m.must(kernel.Control, op, uintptr(o))
	}
}

func (m *machine) cut(fromPort, toPort uint64) {
	m.control(kernel.OpRule, &kernel.RuleOp{From: kernel.PatternOp{Port: fromPort}, To: kernel.PatternOp{Port: toPort}, Cut: 1, LatencyMin: -1, LatencyMax: -1, Bandwidth: -1})
}

func (m *machine) heal() { m.control(kernel.OpHeal, &kernel.RuleOp{}) }

func (m *machine) port(fd uintptr) uint64 {
	a, e := m.address(syscall.SYS_GETSOCKNAME, fd)
	require.Zero(m.t, e)
	return uint64(a[2])<<8 | uint64(a[3])
}

// TestLostReset closes an end with unread bytes behind a cut path. The other end
// learns from the answer to its next bytes, once the path is whole.
func TestLostReset(t *testing.T) {
	m := newMachine(t)
	c, s := m.pair()
	m.write(c, "unread")
	m.pass(time.Millisecond)
	m.cut(m.port(s), 0)
	m.close(s)
	m.pass(time.Minute)
	_, e := m.read(c, 1)
	require.Equal(t, syscall.EAGAIN, e, "the reset was lost")
	n, _ := m.write(c, "more")
	require.Equal(t, 4, n)
	m.pass(time.Minute)
	_, e = m.read(c, 1)
	require.Equal(t, syscall.EAGAIN, e)
	m.heal()
	m.pass(3 * time.Minute)
	_, e = m.read(c, 1)
	require.Equal(t, syscall.ECONNRESET, e)
}

// TestLateBytesOfAGoneSender gives up sending in one direction, while bytes of the
// other direction arrive. The bytes that had arrived before stay whole.
func TestLateBytesOfAGoneSender(t *testing.T) {
	m := newMachine(t)
	c, s := m.pair()
	m.write(s, "first")
	m.pass(time.Millisecond)
	m.cut(m.port(c), 0)
	m.write(c, "never arrives")
	m.pass(20 * time.Minute)
	m.write(s, "second")
	m.pass(time.Millisecond)
	got, e := m.read(c, 100)
	require.Equal(t, "first", got)
	require.Zero(t, e)
	_, e = m.read(c, 100)
	require.Equal(t, syscall.ETIMEDOUT, e)
}

// TestKeepalive cuts the path of an idle connection, one direction at a time. The
// ends that send probes fail, and a short cut is no matter.
func TestKeepalive(t *testing.T) {
	for direction := range 2 {
		m := newMachine(t)
		c, s := m.pair()
		for _, o := range [][2]uint32{{syscall.TCP_KEEPIDLE, 10}, {syscall.TCP_KEEPINTVL, 5}, {syscall.TCP_KEEPCNT, 3}} {
			require.Zero(t, m.option(c, syscall.IPPROTO_TCP, uintptr(o[0]), o[1]))
		}
		require.Zero(t, m.option(c, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1))
		cut := func() { m.cut([]uint64{m.port(c), 0}[direction], []uint64{0, m.port(c)}[direction]) }
		cut()
		m.pass(17 * time.Second)
		m.heal()
		m.pass(time.Hour)
		_, e := m.read(c, 1)
		require.Equal(t, syscall.EAGAIN, e)
		cut()
		m.pass(24 * time.Second)
		_, e = m.read(c, 1)
		require.Equal(t, syscall.EAGAIN, e)
		m.pass(2 * time.Second)
		_, e = m.read(c, 1)
		require.Equal(t, syscall.ETIMEDOUT, e)
		_, e = m.read(s, 1)
		require.Equal(t, syscall.EAGAIN, e, "the server sends no probes")
		m.heal()
		m.write(s, "x")
		m.pass(time.Second)
		_, e = m.read(s, 1)
		require.Equal(t, syscall.ECONNRESET, e)
	}
}

// TestLostHandshake loses the last packet of a handshake. The server asks again,
// and after a minute it forgets the client. The bytes of a client complete the
// handshake, too.
func TestLostHandshake(t *testing.T) {
	for name, cutFor := range map[string]time.Duration{"short": 5 * time.Second, "long": 2 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.setLatency(time.Second / 4)
			l := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			a := inet4("10.0.0.1", 7000)
			require.Zero(t, m.bind(l, a))
			m.must(syscall.SYS_LISTEN, l, 1)
			p := m.process("10.0.0.2")
			m.proc = p
			c := m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
			m.connect(c, a)
			m.pass(time.Second * 6 / 10)
			_, e := m.address(syscall.SYS_GETPEERNAME, c)
			require.Zero(t, e, "the client is connected")
			m.cut(m.port(c), 0)
			m.pass(cutFor)
			_, e = m.accept(l)
			require.Equal(t, syscall.EAGAIN, e)
			m.heal()
			m.write(c, "hello")
			m.pass(10 * time.Second)
			_, e = m.accept(l)
			if name == "short" {
				require.Zero(t, e)
				return
			}
			require.Equal(t, syscall.EAGAIN, e)
			_, e = m.read(c, 1)
			require.Equal(t, syscall.ECONNRESET, e)
			m.connect(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), a)
			m.pass(time.Second)
			_, e = m.accept(l)
			require.Zero(t, e, "the forgotten client takes no room in the backlog")
		})
	}
}

func (m *machine) setLatency(d time.Duration) {
	m.control(kernel.OpNet, &kernel.NetConfig{LatencyMin: int64(d), LatencyMax: int64(d)})
}

// process starts a process on a machine of its own.
func (m *machine) process(ip string) uint64 {
	m.t.Helper()
	n := m.must(kernel.Control, kernel.OpMachine, at(m.bytes(inet6(ip, 0)[8:24])), 16)
	return uint64(m.must(kernel.Control, kernel.OpBoot, n))
}
