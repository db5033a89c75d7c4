//go:build linux && amd64

package kernel_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"raftlab/sim/internal/kernel"
)

const (
	creat   = syscall.O_CREAT
	rdwr    = syscall.O_RDWR
	syncfs  = 306
	renameX = 316 // renameat2
)

func here() uintptr {
	at := int64(-100) // AT_FDCWD
	return uintptr(at)
}

// disk declares a directory as a disk, in the simulated kernel.
func (m *machine) disk(dir string) (number uint64) {
	if m.k == nil {
		return 0
	}
	return uint64(m.must(kernel.Control, kernel.OpDisk, at(m.bytes(dir)), uintptr(len(dir))))
}

func (m *machine) powerLoss(disk uint64) {
	op := &kernel.DiskOp{Disk: disk}
	m.must(kernel.Control, kernel.OpPowerLoss, uintptr(unsafe.Pointer(op)), unsafe.Sizeof(*op))
}

func (m *machine) diskConf(disk uint64, conf kernel.DiskConfig) {
	op := &kernel.DiskOp{Disk: disk, Conf: conf}
	m.must(kernel.Control, kernel.OpDiskConf, uintptr(unsafe.Pointer(op)), unsafe.Sizeof(*op))
}

func (m *machine) open(path string, flags int) (uintptr, syscall.Errno) {
	return m.call(syscall.SYS_OPENAT, here(), m.path(path), uintptr(flags|syscall.O_CLOEXEC), 0o640)
}

func (m *machine) mustOpen(path string, flags int) uintptr {
	m.t.Helper()
	fd, e := m.open(path, flags)
	require.Zero(m.t, e, "open %s: %v", path, e)
	return fd
}

// put writes a file.
func (m *machine) put(path, content string) {
	m.t.Helper()
	fd := m.mustOpen(path, creat|rdwr|syscall.O_TRUNC)
	n, e := m.write(fd, content)
	require.Zero(m.t, e)
	require.Equal(m.t, len(content), n)
	m.close(fd)
}

func (m *machine) sync(path string) {
	m.t.Helper()
	fd := m.mustOpen(path, 0)
	m.must(syscall.SYS_FSYNC, fd)
	m.close(fd)
}

func (m *machine) pwrite(fd uintptr, s string, off int) (int, syscall.Errno) {
	n, e := m.call(syscall.SYS_PWRITE64, fd, at(m.bytes(s)), uintptr(len(s)), uintptr(off))
	return int(n), e
}

func (m *machine) names(trap uintptr, from, to string, flags ...uintptr) syscall.Errno {
	args := append([]uintptr{here(), m.path(from), here(), m.path(to)}, flags...)
	if trap == syscall.SYS_SYMLINKAT {
		args = []uintptr{m.path(from), here(), m.path(to)}
	}
	_, e := m.call(trap, args...)
	return e
}

func (m *machine) rename(from, to string) syscall.Errno {
	return m.names(syscall.SYS_RENAMEAT, from, to)
}

func (m *machine) unlink(path string, flags ...uintptr) syscall.Errno {
	_, e := m.call(syscall.SYS_UNLINKAT, append([]uintptr{here(), m.path(path)}, flags...)...)
	return e
}

func (m *machine) mkdir(path string) syscall.Errno {
	_, e := m.call(syscall.SYS_MKDIRAT, here(), m.path(path), 0o750)
	return e
}

// tree shows the files below a directory.
func tree(t *testing.T, dir string) string {
	var lines []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		require.NoError(t, err)
		name := strings.TrimPrefix(path, dir)
		switch {
		case e.Type().IsRegular():
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			i, _ := e.Info()
			lines = append(lines, fmt.Sprintf("%s %o %q", name, i.Mode().Perm(), b))
		case e.Type()&os.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			lines = append(lines, name+" -> "+to)
		default:
			lines = append(lines, name+"/")
		}
		return nil
	}))
	return strings.Join(lines, "\n")
}

// TestFilesLikeLinux works on files of a disk and on ordinary ones.
func TestFilesLikeLinux(t *testing.T) {
	for name, script := range map[string]func(m *machine, dir string){
		"appending": func(m *machine, dir string) {
			fd := m.mustOpen(dir+"/f", creat|rdwr|syscall.O_APPEND)
			m.noteWrite(fd, "one")
			m.must(syscall.SYS_LSEEK, fd, 0, 0)
			m.noteWrite(fd, "two")
			m.note("pwrite", func() string { n, e := m.pwrite(fd, "three", 0); return fmt.Sprint(n, name(e)) })
			m.must(syscall.SYS_FCNTL, fd, syscall.F_SETFL, 0)
			m.note("pwrite", func() string { n, e := m.pwrite(fd, "O", 0); return fmt.Sprint(n, name(e)) })
			m.noteRead(fd, 100)
		},
		"exclusive": func(m *machine, dir string) {
			m.put(dir+"/f", "kept")
			m.noteError("exclusive", func() syscall.Errno { _, e := m.open(dir+"/f", creat|rdwr|syscall.O_EXCL|syscall.O_TRUNC); return e })
			m.noteError("missing", func() syscall.Errno { _, e := m.open(dir+"/none", rdwr|syscall.O_TRUNC); return e })
			m.noteError("directory", func() syscall.Errno { _, e := m.open(dir, creat|rdwr); return e })
			m.noteError("exclusive", func() syscall.Errno { _, e := m.open(dir+"/new", creat|rdwr|syscall.O_EXCL); return e })
			require.Zero(m.t, m.names(syscall.SYS_SYMLINKAT, "far", dir+"/link"))
			m.noteError("over a link", func() syscall.Errno { _, e := m.open(dir+"/link", creat|rdwr|syscall.O_EXCL); return e })
			m.put(dir+"/link", "through a link")
		},
		"holes and ends": func(m *machine, dir string) {
			fd := m.mustOpen(dir+"/f", creat|rdwr)
			m.note("pwrite", func() string { n, e := m.pwrite(fd, "end", 10); return fmt.Sprint(n, name(e)) })
			m.noteRead(fd, 12)
			m.noteRead(fd, 12)
			m.noteRead(fd, 12)
			m.must(syscall.SYS_FTRUNCATE, fd, 5)
			m.noteWrite(fd, "after the end")
			m.must(syscall.SYS_TRUNCATE, m.path(dir+"/f"), 20)
			m.note("pread", func() string {
				b := m.memory(30)
				n, e := m.call(syscall.SYS_PREAD64, fd, at(b), 30, 2)
				return fmt.Sprintf("%q %s", b[:n], name(e))
			})
			m.note("pread", func() string {
				n, e := m.call(syscall.SYS_PREAD64, fd, at(m.memory(30)), 30, 100)
				return fmt.Sprint(n, name(e))
			})
			m.noteError("truncate", func() syscall.Errno { _, e := m.call(syscall.SYS_TRUNCATE, m.path(dir), 0); return e })
		},
		"renamed and removed while open": func(m *machine, dir string) {
			m.put(dir+"/a", "one")
			m.put(dir+"/b", "two")
			a, b := m.mustOpen(dir+"/a", rdwr), m.mustOpen(dir+"/b", rdwr)
			m.noteError("rename", func() syscall.Errno { return m.rename(dir+"/a", dir+"/b") })
			m.noteRead(b, 10)
			m.noteWrite(b, "nameless")
			m.noteWrite(a, "ONE")
			m.noteError("unlink", func() syscall.Errno { return m.unlink(dir + "/b") })
			m.noteWrite(a, "more")
			m.must(syscall.SYS_LSEEK, a, 0, 0)
			m.noteRead(a, 10)
			m.noteError("unlink", func() syscall.Errno { return m.unlink(dir + "/b") })
		},
		"links": func(m *machine, dir string) {
			m.put(dir+"/a", "one")
			m.noteError("link", func() syscall.Errno { return m.names(syscall.SYS_LINKAT, dir+"/a", dir+"/b", 0) })
			m.noteError("link", func() syscall.Errno { return m.names(syscall.SYS_LINKAT, dir+"/a", dir+"/b", 0) })
			m.noteError("rename", func() syscall.Errno { return m.rename(dir+"/a", dir+"/b") })
			m.noteError("symlink", func() syscall.Errno { return m.names(syscall.SYS_SYMLINKAT, "a", dir+"/s") })
			m.noteError("rename", func() syscall.Errno { return m.rename(dir+"/b", dir+"/s") })
			m.noteError("symlink", func() syscall.Errno { return m.names(syscall.SYS_SYMLINKAT, "a", dir+"/s") })
		},
		"directories": func(m *machine, dir string) {
			m.noteError("mkdir", func() syscall.Errno { return m.mkdir(dir + "/d") })
			m.noteError("mkdir", func() syscall.Errno { return m.mkdir(dir + "/d") })
			m.put(dir+"/d/f", "x")
			m.noteError("rmdir", func() syscall.Errno { return m.unlink(dir+"/d", 0x200) })
			m.noteError("unlink", func() syscall.Errno { return m.unlink(dir + "/d") })
			m.noteError("rename", func() syscall.Errno { return m.rename(dir+"/d", dir+"/d/e") })
			m.noteError("mkdir", func() syscall.Errno { return m.mkdir(dir + "/e") })
			m.noteError("rename", func() syscall.Errno { return m.rename(dir+"/d", dir+"/e") })
			m.noteError("no replace", func() syscall.Errno { return m.names(renameX, dir+"/e", dir+"/e", 1) })
			at := m.mustOpen(dir+"/e", 0)
			m.noteError("relative", func() syscall.Errno { _, e := m.call(syscall.SYS_UNLINKAT, at, m.path("f"), 0); return e })
			m.noteError("rmdir", func() syscall.Errno { return m.unlink(dir+"/e/", 0x200) })
		},
		"only for reading": func(m *machine, dir string) {
			m.put(dir+"/f", "content")
			fd := m.mustOpen(dir+"/f", 0)
			m.noteWrite(fd, "x")
			m.noteError("truncate", func() syscall.Errno { _, e := m.call(syscall.SYS_FTRUNCATE, fd, 0); return e })
			m.noteError("sync", func() syscall.Errno { _, e := m.call(syscall.SYS_FSYNC, fd); return e })
		},
		"over several buffers": func(m *machine, dir string) {
			fd := m.mustOpen(dir+"/f", creat|rdwr)
			iov, buffers := m.vectors(3, 0, 4)
			copy(buffers[0], "one")
			copy(buffers[2], "more")
			m.note("writev", func() string {
				n, e := m.call(syscall.SYS_WRITEV, fd, at(iov), 3)
				return fmt.Sprint(n, name(e))
			})
			m.must(syscall.SYS_LSEEK, fd, 1, 0)
			m.note("readv", func() string { return m.readv(fd, 2, 10) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			var trees []string
			likeLinux(t, func(m *machine) {
				dir := t.TempDir()
				m.disk(dir)
				script(m, dir)
				trees = append(trees, tree(t, dir))
			})
			require.Equal(t, trees[1], trees[0], "Linux, and the simulated kernel")
		})
	}
}

// losses runs a script and loses power, with many seeds. It returns how often each
// picture of the disk is left.
func losses(t *testing.T, script func(m *machine, dir string)) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(24) {
		m := newMachineOf(t, seed)
		dir := t.TempDir()
		d := m.disk(dir)
		script(m, dir)
		m.powerLoss(d)
		seen[tree(t, dir)]++
	}
	return seen
}

// TestSyncedNamesStay loses power after syncs of some directories.
func TestSyncedNamesStay(t *testing.T) {
	for name, test := range map[string]struct {
		script func(m *machine, dir string)
		want   []string // what may be left
	}{
		"a new file behind a renamed one": {func(m *machine, dir string) {
			m.mkdir(dir + "/x")
			m.mkdir(dir + "/y")
			m.put(dir+"/x/a", "old")
			m.must(syscall.SYS_SYNC)
			m.rename(dir+"/x/a", dir+"/y/b")
			m.put(dir+"/x/a", "new")
			m.sync(dir + "/x/a")
			m.sync(dir + "/x")
		}, []string{"/\n/x/\n/x/a 640 \"new\"\n/y/\n/y/b 640 \"old\""}},
		"a file in a renamed directory": {func(m *machine, dir string) {
			m.mkdir(dir + "/x")
			m.must(syscall.SYS_SYNC)
			m.put(dir+"/x/a", "kept")
			m.sync(dir + "/x/a")
			m.rename(dir+"/x", dir+"/y")
			m.sync(dir + "/y")
		}, []string{"/\n/x/\n/x/a 640 \"kept\"", "/\n/y/\n/y/a 640 \"kept\""}},
		"a lost file in a directory whose rename is safe": {func(m *machine, dir string) {
			m.mkdir(dir + "/x")
			m.must(syscall.SYS_SYNC)
			m.put(dir+"/x/a", "")
			m.rename(dir+"/x", dir+"/y")
			m.sync(dir)
		}, []string{"/\n/y/\n/y/a 640 \"\"", "/\n/y/"}},
		"a directory reached by a symbolic link": {func(m *machine, dir string) {
			m.mkdir(dir + "/x")
			m.names(syscall.SYS_SYMLINKAT, "x", dir+"/s")
			m.must(syscall.SYS_SYNC)
			m.put(dir+"/s/a", "")
			m.sync(dir + "/x")
		}, []string{"/\n/s -> x\n/x/\n/x/a 640 \"\""}},
		"a removed symbolic link": {func(m *machine, dir string) {
			m.put(dir+"/a", "")
			m.names(syscall.SYS_SYMLINKAT, "a", dir+"/s")
			m.must(syscall.SYS_SYNC)
			m.unlink(dir + "/s")
		}, []string{"/\n/a 640 \"\"", "/\n/a 640 \"\"\n/s -> a"}},
		"another name": {func(m *machine, dir string) {
			m.put(dir+"/a", "x")
			m.must(syscall.SYS_SYNC)
			m.names(syscall.SYS_LINKAT, dir+"/a", dir+"/b", 0)
			m.unlink(dir + "/a")
		}, []string{"/\n/a 640 \"x\"", "/\n/a 640 \"x\"\n/b 640 \"x\"", "/\n/b 640 \"x\""}},
		"removed": {func(m *machine, dir string) {
			m.put(dir+"/a", "x")
			m.mkdir(dir + "/d")
			os.Chmod(dir+"/a", 0o444)
			m.must(syscall.SYS_SYNC)
			m.unlink(dir + "/a")
			m.unlink(dir+"/d", 0x200)
		}, []string{"/\n/a 444 \"x\"\n/d/", "/\n/d/", "/"}},
		"shorter by its path": {func(m *machine, dir string) {
			m.put(dir+"/a", "content")
			fd := m.mustOpen(dir, 0)
			m.must(syncfs, fd)
			m.must(syscall.SYS_TRUNCATE, m.path(dir+"/a"), 3)
		}, []string{"/\n/a 640 \"content\"", "/\n/a 640 \"con\""}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := losses(t, test.script)
			for _, want := range test.want {
				require.NotZero(t, seen[want], "never left:\n%s\nof %v", want, seen)
				delete(seen, want)
			}
			require.Empty(t, seen)
		})
	}
}

// TestManyNames changes more names than a disk remembers. The oldest changes count
// as safe, and the kernel holds a bounded number of descriptors.
func TestManyNames(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	d := m.disk(dir)
	_, w, err := os.Pipe() // gives package os its descriptors for polling
	require.NoError(t, err)
	require.NoError(t, w.Close())
	before := len(open(t))
	const n = 2000
	for i := range n {
		path := fmt.Sprintf("%s/%d", dir, i)
		m.put(path, "x")
		if i >= 200 {
			require.Zero(t, m.unlink(fmt.Sprintf("%s/%d", dir, i-200)))
		}
		m.kept = nil
	}
	require.Less(t, len(open(t))-before, 1400)
	m.powerLoss(d)
	require.LessOrEqual(t, len(open(t)), before)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o700))
	for i := range 4500 { // nothing of them is synced
		m.put(fmt.Sprintf("%s/%d", dir, i), "x")
		m.kept = nil
	}
	require.Less(t, len(open(t))-before, 4200)
	m.powerLoss(d)
	require.LessOrEqual(t, len(open(t)), before)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(names), 0)
	_, err = os.Stat(dir + "/0")
	require.NoError(t, err, "the first name is safe")
}

// TestFullDisk writes up to the last byte, and makes room.
func TestFullDisk(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	d := m.disk(dir)
	m.diskConf(d, kernel.DiskConfig{Free: 10})
	fd := m.mustOpen(dir+"/f", creat|rdwr)
	n, e := m.write(fd, "1234567")
	require.Equal(t, 7, n)
	require.Zero(t, e)
	n, e = m.write(fd, "1234567")
	require.Equal(t, 3, n, "a short write")
	require.Zero(t, e)
	_, e = m.write(fd, "x")
	require.Equal(t, syscall.ENOSPC, e)
	_, e = m.pwrite(fd, "over what is there", 0)
	require.Zero(t, e)
	m.must(syscall.SYS_FTRUNCATE, fd, 4)
	n, _ = m.pwrite(fd, "1234567", 4)
	require.Equal(t, 6, n)
	m.close(fd)
	require.Zero(t, m.unlink(dir+"/f"))
	m.put(dir+"/g", "0123456789")
	require.Equal(t, "/\n/g 640 \"0123456789\"", tree(t, dir))
}

// TestFileTimes expects virtual times.
func TestFileTimes(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	m.disk(dir)
	modified := func(name string) time.Duration {
		i, err := os.Stat(dir + name)
		require.NoError(t, err)
		return time.Duration(i.ModTime().UnixNano())
	}
	now := func() time.Duration { return time.Duration(m.h.now) }
	fd := m.mustOpen(dir+"/f", creat|rdwr)
	require.Equal(t, now(), modified("/f"))
	require.Equal(t, now(), modified(""))
	m.pass(time.Hour)
	m.write(fd, "x")
	require.Equal(t, now(), modified("/f"))
	require.Equal(t, now()-time.Hour, modified(""))
	m.pass(time.Hour)
	m.must(syscall.SYS_FTRUNCATE, fd, 10)
	require.Equal(t, now(), modified("/f"))
	m.rename(dir+"/f", dir+"/g")
	require.Equal(t, now(), modified(""))
}

// TestDescriptorsOfTheDead ends a process. Its descriptors are closed, and their
// numbers stay reserved until an old object closes them.
func TestDescriptorsOfTheDead(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	m.disk(dir)
	p := m.process("10.0.0.2")
	m.proc = p
	s := m.socket(syscall.AF_INET, syscall.SOCK_DGRAM)
	f := m.mustOpen(dir+"/f", creat|rdwr)
	m.control(kernel.OpKill, int(p))
	m.proc = 0
	_, e := m.read(s, 1)
	require.Equal(t, syscall.EBADF, e)
	_, e = m.write(f, "x")
	require.Equal(t, syscall.EIO, e)
	other := m.socket(syscall.AF_INET, syscall.SOCK_DGRAM)
	require.NotEqual(t, s, other)
	m.close(s)
	m.close(f)
	require.Equal(t, s, m.socket(syscall.AF_INET, syscall.SOCK_DGRAM))
	_, e = m.address(syscall.SYS_GETSOCKNAME, other)
	require.Zero(t, e)
}
