//go:build linux && amd64

package kernel_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"raftlab/sim/internal/kernel"
)

// The locking calls of fcntl and flock by their names in the scripts.
var lockCalls = map[string]uintptr{
	"getlk": syscall.F_GETLK, "setlk": syscall.F_SETLK, "setlkw": syscall.F_SETLKW,
	"ofdgetlk": 36, "ofdsetlk": 37, "ofdsetlkw": 38,
}

// A locker is a process with open files of one path, which runs the lines of a script.
//
//	open NAME r|w|rw
//	dup NAME NEW
//	close NAME
//	CALL NAME r|w|u START LENGTH
//	wait, for the end of the last call
//	exit
type locker interface {
	run(words []string) string
	id() int
}

// lockResult describes the end of a locking call.
func lockResult(call string, e syscall.Errno, l *syscall.Flock_t) string {
	switch {
	case e != 0:
		return name(e)
	case !strings.HasSuffix(call, "getlk"):
		return "ok"
	case l.Type == syscall.F_UNLCK:
		return "free"
	}
	return fmt.Sprintf("%d from %d, %d bytes, by %d", l.Type, l.Start, l.Len, l.Pid)
}

func lockOperand(words []string) *syscall.Flock_t {
	l := &syscall.Flock_t{Type: map[string]int16{"r": syscall.F_RDLCK, "w": syscall.F_WRLCK, "u": syscall.F_UNLCK}[words[2]]}
	fmt.Sscan(words[3], &l.Start)
	fmt.Sscan(words[4], &l.Len)
	return l
}

func openFlags(mode string) int {
	return map[string]int{"r": syscall.O_RDONLY, "w": syscall.O_WRONLY, "rw": rdwr}[mode]
}

// A simLocker is a process of the simulated kernel.
type simLocker struct {
	m     *machine
	path  string
	proc  uint64
	files map[string]uintptr
	again func() string
}

func (p *simLocker) id() int { return int(p.proc) }

func (p *simLocker) run(words []string) string {
	p.m.proc = p.proc
	switch words[0] {
	case "open":
		p.files[words[1]] = p.m.mustOpen(p.path, openFlags(words[2]))
		return ""
	case "dup":
		p.files[words[2]] = p.m.must(syscall.SYS_FCNTL, p.files[words[1]], syscall.F_DUPFD_CLOEXEC, 0)
		return ""
	case "close":
		p.m.must(syscall.SYS_CLOSE, p.files[words[1]])
		return ""
	case "exit":
		p.m.control(kernel.OpKill, int(p.proc))
		return ""
	case "wait":
		return p.again()
	}
	l := lockOperand(words)
	c := &kernel.Call{Trap: syscall.SYS_FCNTL, Args: [6]uintptr{p.files[words[1]], lockCalls[words[0]], uintptr(unsafe.Pointer(l))}, Proc: p.proc}
	try := func() string {
		if !handle(p.m.k, c) {
			_, e := p.m.h.Real(c)
			return name(syscall.Errno(e))
		}
		if c.Wait != nil {
			c.Args[2] = 0 // the memory has moved
			return "waits"
		}
		return lockResult(words[0], syscall.Errno(c.Errno), l)
	}
	result := try()
	if result == "waits" {
		p.again = try
	}
	return result
}

// A linuxLocker is a real process.
type linuxLocker struct {
	t                      *testing.T
	cmd                    *exec.Cmd
	in                     io.WriteCloser
	threads, ended, result chan string
}

const lockerEnv = "RAFTLAB_TEST_LOCKER"

func newLinuxLocker(t *testing.T, path string) *linuxLocker {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLocker$")
	cmd.Env = append(os.Environ(), lockerEnv+"="+path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &linuxLocker{t, cmd, in, make(chan string, 9), make(chan string, 9), make(chan string, 9)}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			kind, text, _ := strings.Cut(s.Text(), " ")
			if to := map[string]chan string{"thread": p.threads, "ended": p.ended, "result": p.result}[kind]; to != nil {
				to <- text
			}
		}
	}()
	t.Cleanup(func() { p.run([]string{"exit"}) })
	return p
}

func (p *linuxLocker) id() int { return p.cmd.Process.Pid }

func (p *linuxLocker) run(words []string) string {
	waits := strings.HasSuffix(words[0], "lkw")
	switch words[0] {
	case "exit":
		p.cmd.Process.Kill()
		p.cmd.Wait()
		return ""
	case "wait":
		return p.next(p.ended)
	}
	fmt.Fprintln(p.in, strings.Join(words, " "))
	if !waits {
		return p.next(p.result)
	}
	thread := p.next(p.threads)
	for {
		select {
		case r := <-p.ended:
			return r
		case <-time.After(time.Millisecond):
			if p.blocked(thread) {
				return "waits"
			}
		}
	}
}

func (p *linuxLocker) next(from chan string) string {
	select {
	case r := <-from:
		return r
	case <-time.After(10 * time.Second):
		return "nothing after 10s"
	}
}

// blocked reports whether a thread sleeps in fcntl.
func (p *linuxLocker) blocked(thread string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", p.id(), thread))
	return err == nil && strings.HasPrefix(string(b), fmt.Sprint(syscall.SYS_FCNTL)+" ")
}

// TestLocker is the program of a linuxLocker.
func TestLocker(t *testing.T) {
	path := os.Getenv(lockerEnv)
	if path == "" {
		t.Skip("runs as a process of TestLocksLikeLinux")
	}
	files := map[string]int{}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		result := ""
		switch words[0] {
		case "open":
			fd, err := syscall.Open(path, openFlags(words[2])|syscall.O_CLOEXEC, 0)
			require.NoError(t, err)
			files[words[1]] = fd
		case "dup":
			fd, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(files[words[1]]), syscall.F_DUPFD_CLOEXEC, 0)
			require.Zero(t, e)
			files[words[2]] = int(fd)
		case "close":
			require.NoError(t, syscall.Close(files[words[1]]))
		default:
			fd := files[words[1]]
			call := func() string {
				l := lockOperand(words)
				_, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), lockCalls[words[0]], uintptr(unsafe.Pointer(l)))
				return lockResult(words[0], e, l)
			}
			if strings.HasSuffix(words[0], "lkw") {
				go func() {
					runtime.LockOSThread()
					fmt.Println("thread", syscall.Gettid())
					fmt.Println("ended", call())
				}()
				continue
			}
			result = call()
		}
		fmt.Println("result", result)
	}
	os.Exit(0)
}

// TestLocksLikeLinux runs scripts in processes of a world and in real ones. The
// first word of a line is the process.
func TestLocksLikeLinux(t *testing.T) {
	for name, script := range map[string]string{
		"ranges": `
			1 open f rw
			2 open f rw
			1 setlk f w 0 0
			2 setlk f r 100 1
			1 setlk f w 50 10
			1 setlk f u 100 50
			2 setlk f w 100 50
			2 setlk f w 99 2
			2 getlk f w 0 0
			1 getlk f w 0 0
			2 getlk f r 120 10
			1 setlk f r 0 10
			2 getlk f w 0 0
			2 getlk f r 0 0
			2 setlk f r 5 1
			1 setlk f w 0 10
			1 setlk f u 0 0
			2 setlk f w 0 0
			2 setlk f u 10 10
			2 setlk f r 30 10
			2 setlk f w 30 10
			1 getlk f r 30 1`,
		"neighbors": `
			1 open f rw
			2 open f rw
			3 open f rw
			2 setlk f r 200 10
			1 setlk f r 100 10
			1 setlk f r 0 10
			3 getlk f w 0 0
			1 setlk f r 10 10
			2 setlk f u 0 0
			3 getlk f w 0 0
			1 setlk f r 20 80
			3 getlk f w 0 0
			1 setlk f w 105 1
			3 getlk f w 0 0
			3 getlk f r 0 0`,
		"operands": `
			1 open f rw
			1 open r r
			1 open w w
			1 setlk r w 0 1
			1 setlk w r 0 1
			1 setlk r r 0 1
			1 setlk w w 0 1
			1 setlk f w -1 5
			1 setlk f w 5 -10
			1 setlk f w 10 -5
			1 getlk f u 0 0
			1 ofdgetlk f w 0 0
			1 ofdsetlk r w 20 1
			1 getlk r w 0 0`,
		"closing": `
			1 open f rw
			1 open g rw
			2 open f rw
			1 setlk f w 0 5
			2 setlk f r 0 1
			1 close g
			2 setlk f w 0 0
			1 setlk f r 0 1
			2 exit
			1 setlk f r 0 1`,
		"waiting": `
			1 open f rw
			2 open f rw
			3 open f rw
			1 setlkw f w 0 10
			2 setlkw f r 5 10
			1 setlk f u 0 6
			2 setlk f r 0 5
			1 setlk f u 0 0
			2 wait
			3 setlkw f w 8 1
			2 exit
			3 wait
			1 getlk f r 0 0`,
		"ends while a call waits": `
			1 open f rw
			2 open f rw
			1 setlk f w 0 10
			2 setlkw f w 0 10
			2 close f
			1 setlk f u 0 0
			2 wait
			1 setlk f w 0 10`,
		"deadlock of two": `
			1 open f rw
			2 open f rw
			1 setlk f w 0 1
			2 setlk f w 1 1
			1 setlkw f w 1 1
			2 setlkw f w 0 1
			2 setlk f u 0 0
			1 wait`,
		"deadlock of three": `
			1 open f rw
			2 open f rw
			3 open f rw
			1 setlk f w 0 1
			2 setlk f w 1 1
			3 setlk f w 2 1
			1 setlkw f w 1 1
			2 setlkw f w 2 1
			3 setlkw f r 0 1
			3 exit
			2 wait
			2 setlk f u 0 0
			1 wait`,
		"no deadlock after the end of a wait": `
			1 open f rw
			2 open f rw
			3 open f rw
			1 setlk f w 0 1
			2 setlk f w 1 1
			1 setlkw f w 1 1
			2 setlk f u 0 0
			1 wait
			1 setlk f u 1 1
			2 setlk f w 1 1
			2 setlkw f w 0 1
			1 exit
			2 wait`,
		"open files": `
			1 open f rw
			1 open g rw
			2 open f rw
			1 ofdsetlk f w 0 10
			1 ofdsetlk g r 5 1
			1 setlk f w 0 1
			1 getlk f w 0 0
			2 ofdgetlk f w 0 0
			2 setlk f w 20 5
			1 ofdgetlk g r 20 1
			1 dup f h
			1 close f
			1 ofdsetlk g w 0 1
			1 ofdgetlk h u 0 0
			2 ofdsetlkw f r 0 1
			1 close h
			2 wait
			2 exit
			1 ofdsetlk g w 0 0`,
		"no deadlock of open files": `
			1 open f rw
			2 open f rw
			1 ofdsetlk f w 0 1
			2 ofdsetlk f w 1 1
			1 ofdsetlkw f w 1 1
			2 ofdsetlkw f w 0 1
			2 exit
			1 wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := strings.Split(strings.TrimSpace(script), "\n")
			m, dir := newMachine(t), t.TempDir()
			m.disk(dir)
			m.put(filepath.Join(dir, "f"), "")
			sim := runLockers(lines, func(number int) locker {
				p := m.process(fmt.Sprint("10.0.0.", number))
				return &simLocker{m: m, path: filepath.Join(dir, "f"), proc: p, files: map[string]uintptr{}}
			})
			path := filepath.Join(t.TempDir(), "f")
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			linux := runLockers(lines, func(int) locker { return newLinuxLocker(t, path) })
			require.Equal(t, linux, sim, "Linux, and the simulated kernel")
		})
	}
}

// runLockers runs the lines of a script, and returns them with their results.
func runLockers(lines []string, start func(number int) locker) (log []string) {
	lockers := map[string]locker{}
	for _, line := range lines {
		words := strings.Fields(line)
		p := lockers[words[0]]
		if p == nil {
			p = start(len(lockers) + 2)
			lockers[words[0]] = p
		}
		result := p.run(words[1:])
		for number, other := range lockers {
			result = strings.ReplaceAll(result, fmt.Sprint("by ", other.id()), "by process "+number)
		}
		log = append(log, strings.Join(words, " ")+": "+result)
	}
	return log
}

// TestFlockWaits asks to make a blocking call again, because the kernel never
// blocks.
func TestFlockWaits(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	m.disk(dir)
	one, two := m.mustOpen(dir+"/f", creat|rdwr), m.mustOpen(dir+"/f", rdwr)
	lock := func(fd uintptr, how uintptr) *kernel.Call {
		c := &kernel.Call{Trap: syscall.SYS_FLOCK, Args: [6]uintptr{fd, how}}
		require.True(t, handle(m.k, c))
		return c
	}
	c := lock(one, syscall.LOCK_EX)
	require.Nil(t, c.Wait)
	require.Zero(t, c.Errno)
	waits := lock(two, syscall.LOCK_SH)
	require.NotNil(t, waits.Wait)
	c = lock(two, syscall.LOCK_SH|syscall.LOCK_NB)
	require.Nil(t, c.Wait)
	require.EqualValues(t, syscall.EAGAIN, c.Errno)
	require.True(t, handle(m.k, waits))
	require.NotNil(t, waits.Wait)
	m.close(one)
	require.True(t, handle(m.k, waits))
	require.Nil(t, waits.Wait)
	require.Zero(t, waits.Errno)

	three := m.mustOpen(dir+"/f", rdwr)
	waits = lock(three, syscall.LOCK_EX)
	require.NotNil(t, waits.Wait)
	m.close(three)
	require.Equal(t, three, m.mustOpen(dir+"/other", creat|rdwr))
	require.True(t, handle(m.k, waits))
	require.Nil(t, waits.Wait)
	require.EqualValues(t, syscall.EBADF, waits.Errno, "the descriptor is another file's now")
}

// TestWaitEndsWithItsDisk loses the power of a disk while a call waits for a lock.
func TestWaitEndsWithItsDisk(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	disk := m.disk(dir)
	var lockers []*simLocker
	for _, ip := range []string{"10.0.0.2", "10.0.0.3"} {
		p := &simLocker{m: m, path: dir + "/f", files: map[string]uintptr{}}
		m.proc = 0
		m.put(dir+"/f", "")
		p.proc = m.process(ip)
		lockers = append(lockers, p)
		p.run([]string{"open", "f", "rw"})
	}
	require.Equal(t, "ok", lockers[0].run(strings.Fields("setlk f w 0 0")))
	require.Equal(t, "waits", lockers[1].run(strings.Fields("setlkw f w 0 0")))
	m.powerLoss(disk)
	require.Equal(t, fmt.Sprint(int(syscall.EIO)), lockers[1].run([]string{"wait"}))
}
