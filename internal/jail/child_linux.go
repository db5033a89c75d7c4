//go:build amd64 || arm64

package jail

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exitJail is the exit code if the jail could not be built.
const exitJail = 125

func init() {
	text, confined := os.LookupEnv(env)
	if !confined {
		return
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.enter()
	}
	fmt.Fprintf(os.Stderr, "jail: %v\n", err)
	os.Exit(exitJail)
}

// enter confines this process and executes the program. enter returns only on
// failure. The credentials and the list of system calls belong to the thread that
// executes the program.
func (o *order) enter() error {
	runtime.LockOSThread()
	if o.Namespaces {
		if err := o.newRoot(); err != nil {
			return err
		}
	}
	if err := o.Limits.set(); err != nil {
		return err
	}
	if o.Namespaces || o.Calls {
		if err := dropPrivileges(); err != nil {
			return err
		}
	}
	if o.Calls {
		if err := permitCalls(); err != nil {
			return err
		}
	}
	if o.Probe {
		os.Exit(0)
	}
	kept := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, env+"=") })
	return fmt.Errorf("execute %s: %w", o.Path, syscall.Exec(o.Path, os.Args, kept))
}

// program is the path of the program within the new root.
const program = "/program"

// newRoot makes an empty file system in memory the root directory. The file system
// holds the program and the directory for temporary files.
func (o *order) newRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	bin, err := os.Open(o.Path)
	if err != nil {
		return err
	}
	size := max(o.Limits.File, 1<<20)
	options := fmt.Sprintf("size=%d,nr_inodes=4096,mode=0755", size)
	if err := unix.Mount("tmpfs", o.Scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount the scratch directory: %w", err)
	}
	root := o.Scratch
	target := root + program
	if err := os.WriteFile(target, nil, 0o700); err != nil {
		return err
	}
	// Through the descriptor, because the mount may hide the path.
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", bin.Fd()), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show the program: %w", err)
	}
	bin.Close()
	if err := showNull(root); err != nil {
		return fmt.Errorf("show %s: %w", os.DevNull, err)
	}
	if err := os.MkdirAll(filepath.Join(root, o.Tmp), 0o700); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root directory: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root directory: %w", err)
	}
	o.Path = program
	return os.Chdir("/")
}

// showNull puts the null device into a root directory. The suites write to this device, and
// would say so if it were missing.
func showNull(root string) error {
	target := filepath.Join(root, os.DevNull)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		return err
	}
	return unix.Mount(os.DevNull, target, "", unix.MS_BIND, "")
}

// set applies the limits to this process. The program cannot raise the limits.
func (l Limits) set() error {
	limit := func(name string, resource int, value uint64) error {
		most := value
		if resource == unix.RLIMIT_CPU {
			most++ // first a signal that shows the stacks, and then the end
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: most}); err != nil {
			return fmt.Errorf("limit %s to %d: %w", name, value, err)
		}
		return nil
	}
	if err := limit("core files", unix.RLIMIT_CORE, 0); err != nil {
		return err
	}
	if l.CPU > 0 {
		if err := limit("CPU seconds", unix.RLIMIT_CPU, uint64((l.CPU+time.Second-1)/time.Second)); err != nil {
			return err
		}
	}
	if l.Memory > 0 {
		if err := limit("bytes of memory", unix.RLIMIT_DATA, uint64(l.Memory)); err != nil {
			return err
		}
	}
	if l.File > 0 {
		if err := limit("bytes of a file", unix.RLIMIT_FSIZE, uint64(l.File)); err != nil {
			return err
		}
	}
	if l.Files > 0 {
		return limit("open files", unix.RLIMIT_NOFILE, uint64(l.Files))
	}
	return nil
}

// dropPrivileges gives up all capabilities for good.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	const noRoot = 0x2f // NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, with their locks
	// Without the capability for the call there is nothing to give up.
	unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// permitted are the system calls of a Go program without network and children.
// Execve is there for the program itself. The only file to execute is the program.
var permitted = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_CLOSE,
	unix.SYS_OPENAT, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_LSEEK, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FTRUNCATE,
	unix.SYS_FSYNC, unix.SYS_GETDENTS64, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_READLINKAT,
	unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT, unix.SYS_FACCESSAT,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_TIMES, unix.SYS_GETRUSAGE,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_UNAME, unix.SYS_GETRANDOM, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_EXECVE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

const (
	retAllow   = 0x7fff0000
	retErrno   = 0x00050000
	retKill    = 0x80000000
	offCall    = 0  // of the number in struct seccomp_data
	offArch    = 4  // of the architecture
	offArg0    = 16 // of the lower half of the first argument
	offArg1    = 24
	x32Syscall = 0x40000000 // and above: the numbers of another system call table, on amd64
)

// permitCalls installs the filter on this thread. A call that is not permitted
// returns EPERM. Clone makes threads and no processes.
func permitCalls() error {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, Jt: yes, Jf: no, K: k}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(offArch), jump(unix.BPF_JEQ, arch, 1, 0), ret(retKill),
		load(offCall), jump(unix.BPF_JGE, x32Syscall, 0, 1), ret(retKill),
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), ret(retErrno | uint32(unix.ENOSYS)),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4), load(offArg0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), ret(retAllow), ret(retErrno | uint32(unix.EPERM)),
	}
	// Signals and limits of other processes, and signals by way of a file's owner.
	pid := uint32(os.Getpid())
	filter = append(filter,
		jump(unix.BPF_JEQ, unix.SYS_TGKILL, 0, 4), load(offArg0),
		jump(unix.BPF_JEQ, pid, 0, 1), ret(retAllow), ret(retErrno|uint32(unix.EPERM)),
		jump(unix.BPF_JEQ, unix.SYS_PRLIMIT64, 0, 5), load(offArg0),
		jump(unix.BPF_JEQ, 0, 1, 0), jump(unix.BPF_JEQ, pid, 0, 1), ret(retAllow), ret(retErrno|uint32(unix.EPERM)),
		jump(unix.BPF_JEQ, unix.SYS_FCNTL, 0, 6), load(offArg1),
		jump(unix.BPF_JEQ, unix.F_SETOWN, 3, 0), jump(unix.BPF_JEQ, unix.F_SETOWN_EX, 2, 0), jump(unix.BPF_JEQ, unix.F_SETSIG, 1, 0),
		ret(retAllow), ret(retErrno|uint32(unix.EPERM)),
	)
	for _, call := range append(permitted, permittedHere...) {
		filter = append(filter, jump(unix.BPF_JEQ, call, 0, 1), ret(retAllow))
	}
	filter = append(filter, ret(retErrno|uint32(unix.EPERM)))
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("permit system calls: %w", err)
	}
	return nil
}
