package mini

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// TestMadeFiles expects new files, directories and links to have the time at which they were
// made, and a directory the time of its last changed name. The test prints the times.
func TestMadeFiles(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now()
	at := func(name string) string { return filepath.Join(dir, name) }
	steps := []struct {
		name   string
		do     func() error
		change []string // with a new time
	}{
		{"create", func() error {
			f, err := os.OpenFile(at("f"), os.O_CREATE|os.O_WRONLY, 0o600)
			f.Close()
			return err
		}, []string{"f", "."}},
		{"open again", func() error {
			f, err := os.OpenFile(at("f"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			f.Close()
			return err
		}, nil},
		{"mkdir", func() error { return os.Mkdir(at("d"), 0o700) }, []string{"d", "."}},
		{"symlink", func() error { return os.Symlink("f", at("s")) }, []string{"s", "."}},
		{"link", func() error { return os.Link(at("f"), at("d/l")) }, []string{"d"}},
		{"fifo", func() error { return syscall.Mkfifo(at("p"), 0o600) }, []string{"p", "."}},
		{"rename", func() error { return os.Rename(at("s"), at("d/s")) }, []string{".", "d"}},
		{"remove", func() error { return os.Remove(at("d/l")) }, []string{"d"}},
		{"remove the directory", func() error { return os.RemoveAll(at("d")) }, []string{"."}},
		{"in the working directory", func() error {
			t.Chdir(dir)
			return os.WriteFile("w", nil, 0o600)
		}, []string{"w", "."}},
	}
	for _, s := range steps {
		time.Sleep(time.Second)
		now := time.Now()
		must(t, s.do())
		time.Sleep(time.Second)
		for _, name := range s.change {
			info, err := os.Lstat(at(name))
			must(t, err)
			if d := info.ModTime().Sub(now); d < -10*time.Millisecond || d > 500*time.Millisecond {
				t.Errorf("%s: %s has the time %v, and not %v", s.name, name, info.ModTime(), now)
			}
			fmt.Println(s.name, name, info.ModTime().Sub(begin))
		}
		if info, err := os.Stat(at("f")); s.name == "open again" && (err != nil || now.Sub(info.ModTime()) < time.Second) {
			t.Error("opening an existing file has changed its time", info.ModTime(), err)
		}
	}
}

// TestRealLocksWait waits for locks of files that belong to no disk. Other goroutines of the
// test free them.
func TestRealLocksWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := os.Create(path)
	must(t, err)
	b, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	whole := syscall.Flock_t{Type: syscall.F_WRLCK}
	none := syscall.Flock_t{Type: syscall.F_UNLCK}
	const ofdSetLockWait = 38
	for _, kind := range []struct {
		name         string
		lock, unlock func(f *os.File) error
	}{
		{"flock", func(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) },
			func(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }},
		{"open file", func(f *os.File) error { return syscall.FcntlFlock(f.Fd(), ofdSetLockWait, &whole) },
			func(f *os.File) error { return syscall.FcntlFlock(f.Fd(), ofdSetLockWait, &none) }},
	} {
		must(t, kind.lock(a))
		start := time.Now()
		go func() {
			time.Sleep(50 * time.Millisecond)
			kind.unlock(a)
		}()
		must(t, kind.lock(b))
		if d := time.Since(start); d < 50*time.Millisecond || d > 100*time.Millisecond {
			t.Errorf("%s: the lock was free after %v", kind.name, d)
		}
		must(t, kind.unlock(b))
	}
}

// grow makes the stack of the calling goroutine larger, and garbage collection smaller again.
//
//go:noinline
func grow(n int) int {
	var room [256]byte
	if n == 0 {
		return int(room[0])
	}
	return grow(n-1) + int(room[n%256])
}

// TestBlockingSockets uses sockets without package net. Each call blocks until another
// goroutine does its part.
func TestBlockingSockets(t *testing.T) {
	l, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	must(t, syscall.Bind(l, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, syscall.Listen(l, 1))
	name, err := syscall.Getsockname(l)
	must(t, err)
	client := make(chan int)
	go func() {
		time.Sleep(time.Second)
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Connect(c, name)
		}
		if err != nil {
			t.Error(err)
		}
		client <- c
	}()
	start := time.Now()
	s, _, err := syscall.Accept(l)
	must(t, err)
	if d := time.Since(start); d < time.Second || d > 1500*time.Millisecond {
		t.Error("accepted after", d)
	}
	c := <-client
	const size = 3 << 20
	sent := make(chan int)
	go func() {
		n, err := syscall.Write(s, make([]byte, size))
		if err != nil {
			t.Error(err)
		}
		sent <- n
	}()
	got := 0
	for got < size {
		var room [1000]byte // on a stack, which shrinks while the call waits
		if got%7000 == 0 {
			grow(1000)
			runtime.GC()
		}
		n, err := syscall.Read(c, room[:])
		must(t, err)
		got += n
	}
	if n := <-sent; n != size || got != size {
		t.Errorf("sent %d and received %d bytes", n, got)
	}

	must(t, syscall.SetsockoptTimeval(c, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 200000}))
	start = time.Now()
	if _, err := syscall.Read(c, make([]byte, 1)); err != syscall.EAGAIN || time.Since(start) < 200*time.Millisecond {
		t.Error("with a limit: ", err, time.Since(start))
	}
	many := make([]struct { // struct mmsghdr
		header syscall.Msghdr
		length uint32
	}, 1)
	place := syscall.Iovec{Base: new(byte), Len: 1}
	many[0].header.Iov, many[0].header.Iovlen = &place, 1
	start = time.Now()
	_, _, errno := syscall.Syscall6(syscall.SYS_RECVMMSG, uintptr(c), uintptr(unsafe.Pointer(&many[0])), 1, 0, 0, 0)
	if errno != syscall.EAGAIN || time.Since(start) < 200*time.Millisecond {
		t.Error("several messages, with a limit: ", errno, time.Since(start))
	}
	must(t, syscall.SetsockoptTimeval(c, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{}))
	word := stackRead(t, c, s)
	if word != "moved" {
		t.Errorf("read %q into a stack", word)
	}
	go func() {
		time.Sleep(time.Second)
		syscall.Close(s)
	}()
	if n, err := syscall.Read(c, make([]byte, 1)); n != 0 || err != nil {
		t.Error("after the end:", n, err)
	}
	refused, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	if err := syscall.Connect(refused, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 1}); err != syscall.ECONNREFUSED {
		t.Error("without a listener:", err)
	}
}

// stackRead waits for bytes in memory of its stack. The stack shrinks during the wait.
func stackRead(t *testing.T, c, s int) string {
	result := make(chan string)
	go func() {
		grow(2000)
		var room [8]byte
		go func() {
			time.Sleep(time.Second)
			runtime.GC()
			runtime.GC()
			syscall.Write(s, []byte("moved"))
		}()
		n, _, e := syscall.Syscall(syscall.SYS_READ, uintptr(c), uintptr(unsafe.Pointer(&room)), uintptr(len(room)))
		if e != 0 {
			t.Error(e)
		}
		result <- string(room[:n])
	}()
	return <-result
}

// TestSocketQuestions asks for unread bytes, and for the process at the other end.
func TestSocketQuestions(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	_, err = syscall.Write(fds[0], []byte("five!"))
	must(t, err)
	time.Sleep(time.Millisecond)
	var unread int32
	const fionread = 0x541b
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fds[1]), fionread, uintptr(unsafe.Pointer(&unread))); e != 0 || unread != 5 {
		t.Error("unread bytes:", unread, e)
	}
	must(t, syscall.SetsockoptTimeval(fds[0], syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 1}))
	const fionbio = 0x5421
	for _, nonblocking := range []int32{1, 0} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fds[0]), fionbio, uintptr(unsafe.Pointer(&nonblocking))); e != 0 {
			t.Error("FIONBIO:", e)
		}
		start := time.Now()
		_, err := syscall.Read(fds[0], make([]byte, 1))
		if err != syscall.EAGAIN || (time.Since(start) >= time.Second) != (nonblocking == 0) {
			t.Error("FIONBIO", nonblocking, "and a read:", err, time.Since(start))
		}
	}
	cred, err := syscall.GetsockoptUcred(fds[1], syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	must(t, err)
	if int(cred.Pid) != os.Getpid() || int(cred.Uid) != os.Getuid() || int(cred.Gid) != os.Getgid() {
		t.Error("the process at the other end:", cred)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f, err := l.(*net.TCPListener).File()
	must(t, err)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x5401, uintptr(unsafe.Pointer(&unread))); e != syscall.ENOTTY { // TCGETS
		t.Error("a socket as a terminal:", e)
	}
}

// TestMaxProcs expects the program's own number back.
func TestMaxProcs(t *testing.T) {
	old := runtime.GOMAXPROCS(4)
	if n := runtime.GOMAXPROCS(old); n != 4 {
		t.Error("GOMAXPROCS(4) is", n)
	}
	if n := runtime.GOMAXPROCS(0); n != old {
		t.Error("GOMAXPROCS is", n, "and not", old)
	}
}

// TestFIFO waits for the other end of a named pipe, which a world does not simulate.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(path, 0o600))
	go os.WriteFile(path, []byte("text"), 0)
	b, err := os.ReadFile(path)
	must(t, err)
	fmt.Println(strings.ToUpper(string(b)))
}
