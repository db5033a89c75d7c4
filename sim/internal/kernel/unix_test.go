//go:build linux && amd64

package kernel_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnixLikeLinux uses Unix sockets on both kernels.
func TestUnixLikeLinux(t *testing.T) {
	for name, script := range map[string]func(m *machine, dir string){
		"streams": func(m *machine, dir string) {
			l, a := m.listener(syscall.AF_UNIX, unix(dir+"/s"), 1)
			m.note("name", func() string { return a })
			c := m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM)
			m.noteConnect(c, unix(dir+"/s"))
			full := m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM)
			s := m.noteAccept(l)
			m.noteWrite(c, "hello")
			m.noteRead(s, 10)
			m.noteConnect(full, unix(dir+"/s"))
			m.close(c)
			m.noteWrite(s, "x")
			m.noteRead(s, 1)
			m.close(l)
			m.noteRead(full, 1)
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
			m.noteError("bind", func() syscall.Errno {
				return m.bind(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
			})
			os.Remove(dir + "/s")
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
			m.noteError("bind", func() syscall.Errno {
				return m.bind(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
			})
		},
		"another path to the file": func(m *machine, dir string) {
			m.listener(syscall.AF_UNIX, unix(dir+"/s"), 8)
			require.NoError(m.t, os.Rename(dir+"/s", dir+"/other"))
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/../"+dir[strings.LastIndex(dir, "/")+1:]+"/other"))
			require.NoError(m.t, os.WriteFile(dir+"/s", nil, 0o600))
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), unix(dir+"/s"))
		},
		"abstract names": func(m *machine, dir string) {
			a := unix("\x00" + dir)
			l, _ := m.listener(syscall.AF_UNIX, a, 8)
			m.noteError("bind", func() syscall.Errno { return m.bind(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), a) })
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), a)
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_DGRAM), a)
			m.close(l)
			m.noteConnect(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), a)
			m.noteError("bind", func() syscall.Errno { return m.bind(m.socket(syscall.AF_UNIX, syscall.SOCK_STREAM), a) })
			unnamed := m.socket(syscall.AF_UNIX, syscall.SOCK_DGRAM)
			require.Zero(m.t, m.bind(unnamed, "\x01\x00"))
			m.note("length of a given name", func() string {
				a, _ := m.address(syscall.SYS_GETSOCKNAME, unnamed)
				return fmt.Sprint(len(a))
			})
		},
		"closed with unread bytes": func(m *machine, dir string) {
			a, b := m.socketpair(syscall.SOCK_STREAM)
			m.noteWrite(a, "unread")
			m.close(b)
			m.noteRead(a, 1)
			m.noteRead(a, 1)
			m.noteWrite(a, "x")
		},
		"half-closed": func(m *machine, dir string) {
			a, b := m.socketpair(syscall.SOCK_STREAM)
			m.noteWrite(a, "all")
			m.noteShutdown(a, syscall.SHUT_WR)
			m.noteRead(b, 10)
			m.noteRead(b, 10)
			m.noteWrite(b, "back")
			m.noteRead(a, 10)
			m.close(b)
			m.noteRead(a, 10)
		},
		"datagrams": func(m *machine, dir string) {
			s, _ := m.datagrams(syscall.AF_UNIX, unix(dir+"/d"))
			c := m.socket(syscall.AF_UNIX, syscall.SOCK_DGRAM)
			m.noteSendTo(c, "unnamed", unix(dir+"/d"))
			m.note("recvmsg", func() string { return m.recvmsg(s, 0, 2, 10) })
			m.noteError("connect", func() syscall.Errno { return m.connect(c, unix(dir+"/d")) })
			os.Remove(dir + "/d")
			m.noteSendTo(c, "x", unix(dir+"/d"))
			m.noteWrite(c, "connected")
			m.noteRead(s, 10)
			m.close(s)
			m.noteWrite(c, "gone")
			m.noteSendTo(c, "x", unix(dir+"/never"))
		},
		"pairs of datagram sockets": func(m *machine, dir string) {
			a, b := m.socketpair(syscall.SOCK_DGRAM)
			m.noteWrite(a, "one")
			m.noteWrite(a, "two")
			m.noteRead(b, 10)
			m.noteWrite(b, "back")
			m.noteRead(a, 2)
			m.noteRead(a, 10)
			m.close(b)
			m.noteWrite(a, "gone")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := []string{}
			base := t.TempDir()
			likeLinux(t, func(m *machine) {
				dir := fmt.Sprintf("%s/%d", base, len(dirs))
				dirs = append(dirs, dir)
				require.NoError(t, os.Mkdir(dir, 0o700))
				script(m, dir)
				for i := range m.log {
					m.log[i] = strings.ReplaceAll(m.log[i], dir, "DIR")
				}
			})
		})
	}
}

func (m *machine) socketpair(kind uintptr) (a, b uintptr) {
	fds := m.memory(8)
	m.must(syscall.SYS_SOCKETPAIR, syscall.AF_UNIX, kind|nonblock|cloexec, 0, at(fds))
	word := func(i int) uintptr {
		return uintptr(fds[i]) | uintptr(fds[i+1])<<8 | uintptr(fds[i+2])<<16 | uintptr(fds[i+3])<<24
	}
	return word(0), word(4)
}

// TestFullUnixDatagrams fills the queue of a socket. The sender waits and is woken.
func TestFullUnixDatagrams(t *testing.T) {
	m := newMachine(t)
	a, b := m.socketpair(syscall.SOCK_DGRAM)
	pd := m.poller(a)
	require.Equal(t, "w", m.woken(pd))
	sent := 0
	for ; ; sent++ {
		_, e := m.write(a, strings.Repeat("x", 1000))
		if e != 0 {
			require.Equal(t, syscall.EAGAIN, e)
			break
		}
	}
	require.Equal(t, 262, sent)
	require.Equal(t, "", m.woken(pd))
	m.read(b, 1000)
	require.Equal(t, "w", m.woken(pd))
	_, e := m.write(a, strings.Repeat("x", 1000))
	require.Zero(t, e)
	require.Equal(t, "", m.woken(pd))
	m.write(a, "x")
	_, e = m.write(a, strings.Repeat("x", 1000))
	require.Equal(t, syscall.EAGAIN, e)
	m.close(b)
	require.Equal(t, "w", m.woken(pd))
	_, e = m.write(a, "x")
	require.Equal(t, syscall.ECONNREFUSED, e)
}
