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
)

func (m *machine) sendTo(fd uintptr, s, to string) (int, syscall.Errno) {
	r, e := m.call(syscall.SYS_SENDTO, fd, at(m.bytes(s)), uintptr(len(s)), 0, at(m.bytes(to)), uintptr(len(to)))
	return int(r), e
}

func (m *machine) noteSendTo(fd uintptr, s, to string) {
	m.note("sendto "+s[:min(len(s), 10)], func() string { n, e := m.sendTo(fd, s, to); return fmt.Sprint(n, name(e)) })
}

type msghdr struct {
	name                uintptr
	nameLen             uint32
	_                   uint32
	iov, iovLen         uintptr
	control, controlLen uintptr
	flags               int32
	_                   int32
}

// header is the header of a message over buffers.
func (m *machine) header(iov []byte, name string) *msghdr {
	b := m.memory(int(unsafe.Sizeof(msghdr{})))
	h := (*msghdr)(unsafe.Pointer(&b[0]))
	h.iov, h.iovLen = at(iov), uintptr(len(iov)/16)
	if name != "" {
		h.name, h.nameLen = at(m.bytes(name)), uint32(len(name))
	}
	return h
}

// sendmsg sends the parts as one message.
func (m *machine) sendmsg(fd uintptr, to string, parts ...string) string {
	var sizes []int
	for _, p := range parts {
		sizes = append(sizes, len(p))
	}
	iov, buffers := m.vectors(sizes...)
	for i, p := range parts {
		copy(buffers[i], p)
	}
	n, e := m.call(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(m.header(iov, to))), 0)
	return fmt.Sprint(int(n), name(e))
}

func (m *machine) recvmsg(fd, flags uintptr, sizes ...int) string {
	iov, buffers := m.vectors(sizes...)
	h := m.header(iov, strings.Repeat("\x00", 28))
	n, e := m.call(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(h)), flags)
	if e != 0 {
		return name(e)
	}
	return fmt.Sprintf("%d %q flags %x address of %d bytes", n, buffers, h.flags, h.nameLen)
}

func (m *machine) datagrams(family uintptr, a string) (fd uintptr, bound string) {
	m.t.Helper()
	fd = m.socket(family, syscall.SOCK_DGRAM)
	require.Zero(m.t, m.bind(fd, a))
	bound, _ = m.address(syscall.SYS_GETSOCKNAME, fd)
	return fd, bound
}

// TestDatagramsLikeLinux sends and receives datagrams on both kernels.
func TestDatagramsLikeLinux(t *testing.T) {
	for name, script := range map[string]func(m *machine, a, b uintptr, toA, toB string){
		"one by one": func(m *machine, a, b uintptr, toA, toB string) {
			m.noteRead(b, 10)
			m.noteSendTo(a, "one", toB)
			m.noteSendTo(a, "", toB)
			m.noteSendTo(a, "three", toB)
			m.noteRead(b, 10)
			m.noteRead(b, 10)
			m.noteRead(b, 2)
			m.noteRead(b, 10)
		},
		"over several buffers": func(m *machine, a, b uintptr, toA, toB string) {
			m.note("sendmsg", func() string { return m.sendmsg(a, toB, "one ", "", "two ", "three") })
			m.note("recvmsg", func() string { return m.recvmsg(b, 0, 3, 0, 4, 100) })
			m.note("sendmsg", func() string { return m.sendmsg(a, toB, "one ", "two ", "three") })
			m.note("recvmsg", func() string { return m.recvmsg(b, 0, 3, 4) })
			m.note("sendmsg", func() string { return m.sendmsg(a, toB, "one ", "two") })
			m.note("readv", func() string { return m.readv(b, 2, 100) })
			m.note("recvmsg", func() string { return m.recvmsg(b, 0, 3, 4) })
		},
		"peeking and cut short": func(m *machine, a, b uintptr, toA, toB string) {
			m.noteSendTo(a, "a longer one", toB)
			m.note("recvmsg", func() string { return m.recvmsg(b, syscall.MSG_PEEK, 3) })
			m.note("recvmsg", func() string { return m.recvmsg(b, syscall.MSG_PEEK|syscall.MSG_TRUNC, 3, 3) })
			m.note("recvmsg", func() string { return m.recvmsg(b, 0, 3, 3) })
			m.note("recvmsg", func() string { return m.recvmsg(b, 0, 3, 3) })
		},
		"connected": func(m *machine, a, b uintptr, toA, toB string) {
			m.noteWrite(a, "to nobody")
			m.noteError("connect", func() syscall.Errno { return m.connect(a, toB) })
			m.noteWrite(a, "to b")
			m.noteRead(b, 10)
			other, toOther := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
			m.noteSendTo(other, "not from b", toA)
			m.noteRead(a, 10)
			m.noteSendTo(b, "from b", toA)
			m.noteRead(a, 10)
			m.noteSendTo(a, "elsewhere", toOther)
			m.noteRead(other, 10)
			m.close(b)
			m.noteWrite(a, "refused")
			m.noteWrite(a, "told")
			m.noteWrite(a, "again")
			m.noteRead(a, 1)
			m.noteRead(a, 1)
			m.noteError("disconnect", func() syscall.Errno { return m.connect(a, strings.Repeat("\x00", 16)) })
			m.noteSendTo(other, "anybody", toA)
			m.noteRead(a, 10)
		},
		"not connected, and nobody there": func(m *machine, a, b uintptr, toA, toB string) {
			m.close(b)
			m.noteSendTo(a, "x", toB)
			m.noteSendTo(a, "x", toB)
			m.noteRead(a, 1)
		},
		"too large": func(m *machine, a, b uintptr, toA, toB string) {
			m.noteSendTo(a, strings.Repeat("x", 65507), toB)
			m.noteSendTo(a, strings.Repeat("x", 65508), toB)
			m.note("length", func() string { s, e := m.read(b, 70000); return fmt.Sprint(len(s), name(e)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			likeLinux(t, func(m *machine) {
				a, toA := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
				b, toB := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
				script(m, a, b, toA, toB)
			})
		})
	}
}

// TestFlyingDatagramsAreBounded sends over a slow path. The sender waits for room
// in its buffer, and is woken.
func TestFlyingDatagramsAreBounded(t *testing.T) {
	m := newMachine(t)
	m.setLatency(time.Second)
	a, _ := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
	b, toB := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
	pd := m.poller(a)
	require.Equal(t, "w", m.woken(pd))
	sent := 0
	for ; ; sent++ {
		_, e := m.sendTo(a, strings.Repeat("x", 1000), toB)
		if e != 0 {
			require.Equal(t, syscall.EAGAIN, e)
			break
		}
		require.Less(t, sent, 1000)
	}
	require.InDelta(t, 200, sent, 20)
	require.Equal(t, "", m.woken(pd))
	m.pass(time.Second)
	require.Contains(t, m.woken(pd), "w")
	_, e := m.sendTo(a, "more", toB)
	require.Zero(t, e)
	got := 0
	for ; ; got++ {
		if _, e := m.read(b, 1000); e != 0 {
			break
		}
	}
	require.Equal(t, sent, got)
	n := 0
	for ; n < 10000; n++ { // empty ones are bounded, too
		if _, e := m.sendTo(a, "", toB); e != 0 {
			break
		}
	}
	require.Less(t, n, 2000)
}

// TestMessagesInOneCall sends and receives with sendmmsg and recvmmsg.
func TestMessagesInOneCall(t *testing.T) {
	likeLinux(t, func(m *machine) {
		a, _ := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
		b, toB := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
		const sendmmsg, recvmmsg = 307, 299
		messages := func(n int, to string, fill func(i int) string) []byte {
			all := m.memory(64 * n)
			for i := range n {
				s := fill(i)
				iov, buffers := m.vectors(len(s))
				copy(buffers[0], s)
				*(*msghdr)(unsafe.Pointer(&all[64*i])) = *m.header(iov, to)
			}
			return all
		}
		m.note("sendmmsg", func() string {
			n, e := m.call(sendmmsg, a, at(messages(3, toB, func(i int) string { return strings.Repeat("abc"[i:i+1], i+1) })), 3, 0)
			return fmt.Sprint(n, name(e))
		})
		for range 2 {
			m.note("recvmmsg", func() string {
				all := messages(5, "", func(int) string { return "0123456789" })
				n, e := m.call(recvmmsg, b, at(all), 5, syscall.MSG_DONTWAIT, 0)
				if e != 0 {
					return name(e)
				}
				return fmt.Sprint(n, all[56], all[64+56], all[128+56])
			})
		}
	})
}

// TestSharedPorts binds two sockets to one port.
func TestSharedPorts(t *testing.T) {
	const reusePort = 15
	m := newMachine(t)
	share := func(kind uintptr) uintptr {
		fd := m.socket(syscall.AF_INET, kind)
		m.option(fd, syscall.SOL_SOCKET, reusePort, 1)
		require.Zero(t, m.bind(fd, inet4("127.0.0.1", 7000)))
		return fd
	}
	one, two := share(syscall.SOCK_STREAM), share(syscall.SOCK_STREAM)
	m.must(syscall.SYS_LISTEN, one, 100)
	m.must(syscall.SYS_LISTEN, two, 100)
	for range 40 {
		m.connect(m.socket(syscall.AF_INET, syscall.SOCK_STREAM), inet4("127.0.0.1", 7000))
	}
	m.pass(time.Millisecond)
	for _, l := range []uintptr{one, two} {
		n := 0
		for ; ; n++ {
			if _, e := m.accept(l); e != 0 {
				break
			}
		}
		require.Greater(t, n, 5, "a listener gets its share")
	}
	three, four := share(syscall.SOCK_DGRAM), share(syscall.SOCK_DGRAM)
	client, a := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
	require.Zero(t, m.connect(three, a))
	m.sendTo(client, "for the connected one", inet4("127.0.0.1", 7000))
	other, _ := m.datagrams(syscall.AF_INET, inet4("127.0.0.1", 0))
	m.sendTo(other, "for the other", inet4("127.0.0.1", 7000))
	m.pass(time.Millisecond)
	got, _ := m.read(three, 100)
	require.Equal(t, "for the connected one", got)
	got, _ = m.read(four, 100)
	require.Equal(t, "for the other", got)
}
