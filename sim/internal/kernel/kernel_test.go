//go:build linux && amd64

package kernel_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"raftlab/sim/internal/kernel"
)

// A host is a runtime whose clock the test moves.
type host struct {
	now   int64
	seed  uint64
	timer int64
	woken map[unsafe.Pointer]string
}

func (h *host) Now() int64   { return h.now }
func (h *host) Seed() uint64 { return 42 + h.seed }
func (h *host) Wake(pd unsafe.Pointer, mode int32) {
	switch mode {
	case 'r', 'w':
		h.woken[pd] += string(rune(mode))
	default:
		h.woken[pd] += "rw"
	}
}
func (h *host) Timer(when int64)                  { h.timer = when }
func (h *host) Calm(kernel.FaultID) bool          { return false }
func (h *host) Record(kernel.FaultID, kernel.Met) {}
func (h *host) Watch(uintptr, bool)               {}
func (h *host) Real(c *kernel.Call) (uintptr, uintptr) {
	r, _, e := syscall.RawSyscall6(c.Trap, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5])
	return r, uintptr(e)
}

// The kernel passes addresses of its variables to the real one. The runtime runs the
// kernel on a system stack, which stays where it is. So here no stack may move: the
// collector, which shrinks stacks, is off, and handle grows the stack beforehand.
func init() { debug.SetGCPercent(-1) }

// handle has the simulated kernel carry out a call.
func handle(k *kernel.Kernel, c *kernel.Call) bool {
	grow(1)
	return k.Handle(c)
}

//go:noinline
func grow(more int) byte {
	var room [32 << 10]byte
	if more > 0 {
		room[0] = grow(more - 1)
	}
	return room[len(room)-1-more]
}

// A machine makes system calls, of the simulated kernel or of the real one.
type machine struct {
	t    *testing.T
	h    *host
	k    *kernel.Kernel // nil for the real kernel
	proc uint64
	log  []string // results
	want []string // results of the simulated kernel, for the real one
	kept [][]byte // memory of calls, which must not move
}

func newMachine(t *testing.T) *machine { return newMachineOf(t, 0) }

func newMachineOf(t *testing.T, seed uint64) *machine {
	h := &host{now: int64(time.Hour), seed: seed, woken: map[unsafe.Pointer]string{}}
	return &machine{t: t, h: h, k: kernel.New(h, kernel.NetConfig{LatencyMin: 1000, LatencyMax: 2000})}
}

func (m *machine) call(trap uintptr, args ...uintptr) (uintptr, syscall.Errno) {
	c := &kernel.Call{Trap: trap, Proc: m.proc}
	copy(c.Args[:], args)
	if m.k != nil && handle(m.k, c) {
		return c.R1, syscall.Errno(c.Errno)
	}
	r, e := m.h.Real(c)
	return r, syscall.Errno(e)
}

// must makes a call that succeeds.
func (m *machine) must(trap uintptr, args ...uintptr) uintptr {
	m.t.Helper()
	r, e := m.call(trap, args...)
	require.Zero(m.t, e, "system call %d: %v", trap, e)
	return r
}

// memory is memory that stays where it is.
func (m *machine) memory(n int) []byte {
	b := make([]byte, max(n, 1))
	m.kept = append(m.kept, b)
	return b[:n]
}

func (m *machine) bytes(s string) []byte {
	b := m.memory(len(s))
	copy(b, s)
	return b
}

func at(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func (m *machine) path(s string) uintptr { return at(m.bytes(s + "\x00")) }

// pass lets virtual time pass. The real kernel carries the packets of the
// loopback interface within the calls.
func (m *machine) pass(d time.Duration) {
	if m.k == nil {
		return
	}
	end := m.h.now + int64(d)
	for m.h.timer != 0 && m.h.timer <= end {
		m.h.now = max(m.h.now, m.h.timer)
		m.h.timer = 0
		m.k.Tick()
	}
	m.h.now = end
	m.k.Tick()
}

// note logs the result of a call. The real kernel may need a moment.
func (m *machine) note(what string, try func() string) {
	m.pass(time.Millisecond)
	got := try()
	if m.k == nil && len(m.log) < len(m.want) {
		line := m.want[len(m.log)]
		for end := time.Now().Add(2 * time.Second); what+": "+got != line && strings.Contains(got, "EAGAIN") && time.Now().Before(end); got = try() {
			runtime.Gosched()
		}
	}
	m.log = append(m.log, what+": "+got)
}

func name(e syscall.Errno) string {
	names := map[syscall.Errno]string{
		0: "", syscall.EAGAIN: "EAGAIN", syscall.EPIPE: "EPIPE", syscall.ECONNRESET: "ECONNRESET", syscall.ECONNREFUSED: "ECONNREFUSED", syscall.EINPROGRESS: "EINPROGRESS",
		syscall.ENOTCONN: "ENOTCONN", syscall.EINVAL: "EINVAL", syscall.EADDRINUSE: "EADDRINUSE", syscall.EISCONN: "EISCONN", syscall.EMSGSIZE: "EMSGSIZE", syscall.ENOENT: "ENOENT",
		syscall.EDESTADDRREQ: "EDESTADDRREQ", syscall.EPROTOTYPE: "EPROTOTYPE", syscall.EBADF: "EBADF",
	}
	if n, ok := names[e]; ok {
		return n
	}
	return fmt.Sprint(int(e))
}

const (
	nonblock = syscall.SOCK_NONBLOCK
	cloexec  = syscall.SOCK_CLOEXEC
)

func (m *machine) socket(family, kind uintptr) uintptr {
	m.t.Helper()
	fd := m.must(syscall.SYS_SOCKET, family, kind|nonblock|cloexec, 0)
	return fd
}

func inet4(ip string, port uint16) string {
	var b [4]byte
	fmt.Sscanf(ip, "%d.%d.%d.%d", &b[0], &b[1], &b[2], &b[3])
	return string([]byte{2, 0, byte(port >> 8), byte(port)}) + string(b[:]) + strings.Repeat("\x00", 8)
}

// inet6 is an IPv6 address, or an IPv4 address in IPv6.
func inet6(ip string, port uint16) string {
	var b [16]byte
	if strings.Contains(ip, ".") {
		b[10], b[11] = 0xff, 0xff
		copy(b[12:], inet4(ip, 0)[4:8])
	} else if ip == "::1" {
		b[15] = 1
	}
	return string([]byte{10, 0, byte(port >> 8), byte(port), 0, 0, 0, 0}) + string(b[:]) + "\x00\x00\x00\x00"
}

func unix(path string) string { return "\x01\x00" + path }

func (m *machine) bind(fd uintptr, a string) syscall.Errno {
	_, e := m.call(syscall.SYS_BIND, fd, at(m.bytes(a)), uintptr(len(a)))
	return e
}

func (m *machine) connect(fd uintptr, a string) syscall.Errno {
	_, e := m.call(syscall.SYS_CONNECT, fd, at(m.bytes(a)), uintptr(len(a)))
	return e
}

// address asks getsockname or getpeername.
func (m *machine) address(trap, fd uintptr) (string, syscall.Errno) {
	b, n := m.memory(128), m.bytes("\x80\x00\x00\x00")
	_, e := m.call(trap, fd, at(b), at(n))
	return string(b[:n[0]]), e
}

func (m *machine) option(fd, level, name uintptr, values ...uint32) syscall.Errno {
	b := m.memory(4 * len(values))
	for i, v := range values {
		*(*uint32)(unsafe.Pointer(&b[4*i])) = v
	}
	_, e := m.call(syscall.SYS_SETSOCKOPT, fd, level, name, at(b), uintptr(len(b)))
	return e
}

func (m *machine) getOption(fd, level, name uintptr) uint32 {
	b, n := m.memory(4), m.bytes("\x04\x00\x00\x00")
	m.must(syscall.SYS_GETSOCKOPT, fd, level, name, at(b), at(n))
	return *(*uint32)(unsafe.Pointer(&b[0]))
}

// listener listens at a free port of an address.
func (m *machine) listener(family uintptr, a string, backlog uintptr) (fd uintptr, bound string) {
	m.t.Helper()
	fd = m.socket(family, syscall.SOCK_STREAM)
	require.Zero(m.t, m.bind(fd, a))
	m.must(syscall.SYS_LISTEN, fd, backlog)
	bound, _ = m.address(syscall.SYS_GETSOCKNAME, fd)
	return fd, bound
}

func (m *machine) accept(fd uintptr) (uintptr, syscall.Errno) {
	return m.call(syscall.SYS_ACCEPT4, fd, 0, 0, nonblock|cloexec)
}

// pair is a connection.
func (m *machine) pair() (client, server uintptr) {
	m.t.Helper()
	l, a := m.listener(syscall.AF_INET, inet4("127.0.0.1", 0), 8)
	client = m.socket(syscall.AF_INET, syscall.SOCK_STREAM)
	if e := m.connect(client, a); e != syscall.EINPROGRESS {
		require.Zero(m.t, e)
	}
	m.pass(time.Millisecond)
	for end := time.Now().Add(2 * time.Second); ; {
		fd, e := m.accept(l)
		if e == 0 {
			m.close(l)
			return client, fd
		}
		require.True(m.t, e == syscall.EAGAIN && m.k == nil && time.Now().Before(end), "%v", e)
	}
}

// close closes a descriptor, after the arrival of what is under way.
func (m *machine) close(fd uintptr) {
	m.pass(time.Millisecond)
	m.must(syscall.SYS_CLOSE, fd)
}

func (m *machine) write(fd uintptr, s string) (int, syscall.Errno) {
	r, e := m.call(syscall.SYS_WRITE, fd, at(m.bytes(s)), uintptr(len(s)))
	return int(r), e
}

func (m *machine) read(fd uintptr, n int) (string, syscall.Errno) {
	b := m.memory(n)
	r, e := m.call(syscall.SYS_READ, fd, at(b), uintptr(n))
	if e != 0 {
		return "", e
	}
	return string(b[:r]), 0
}

// Logged calls.

func (m *machine) noteRead(fd uintptr, n int) {
	m.note(fmt.Sprint("read ", n), func() string { s, e := m.read(fd, n); return fmt.Sprintf("%q %s", s, name(e)) })
}

func (m *machine) noteWrite(fd uintptr, s string) {
	m.note("write "+s, func() string { n, e := m.write(fd, s); return fmt.Sprint(n, name(e)) })
}

func (m *machine) noteError(what string, do func() syscall.Errno) {
	m.note(what, func() string { return name(do()) })
}

func (m *machine) noteShutdown(fd, how uintptr) {
	m.noteError(fmt.Sprint("shutdown ", how), func() syscall.Errno { _, e := m.call(syscall.SYS_SHUTDOWN, fd, how); return e })
}

func (m *machine) noteConnect(fd uintptr, a string) {
	m.noteError("connect", func() syscall.Errno {
		if e := m.connect(fd, a); e != syscall.EINPROGRESS {
			return e
		}
		m.pass(time.Millisecond)
		return syscall.Errno(m.getOption(fd, syscall.SOL_SOCKET, syscall.SO_ERROR))
	})
}

func (m *machine) noteAccept(fd uintptr) (accepted uintptr) {
	m.noteError("accept", func() syscall.Errno {
		var e syscall.Errno
		accepted, e = m.accept(fd)
		return e
	})
	return accepted
}

// likeLinux compares the results of a script on the two kernels.
func likeLinux(t *testing.T, script func(m *machine)) {
	t.Helper()
	sim := newMachine(t)
	script(sim)
	linux := &machine{t: t, h: &host{}, want: sim.log}
	before := open(t)
	script(linux)
	require.Equal(t, linux.log, sim.log, "Linux, and the simulated kernel")
	for fd := range open(t) {
		if !before[fd] {
			syscall.Close(fd)
		}
	}
}

// open lists the process's descriptors.
func open(t *testing.T) map[int]bool {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	fds := map[int]bool{}
	for _, e := range entries {
		var fd int
		fmt.Sscan(e.Name(), &fd)
		fds[fd] = true
	}
	return fds
}
