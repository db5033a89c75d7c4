package kernel

// A disk is a directory whose files may lose what was not synced. The files are
// real ones, and the kernel keeps beside them what a loss of power may take
// away. A program sees the files as on any system, with locks and mappings.

// Numbers of Linux on amd64 for files.
const (
	sysPREAD     = 17
	sysPWRITE    = 18
	sysSENDFILE  = 40
	sysFLOCK     = 73
	sysFSYNC     = 74
	sysSYNC      = 162
	sysSYNCFS    = 306
	sysGETDENTS  = 217
	sysFDATASYNC = 75
	sysTRUNCATE  = 76
	sysFTRUNCATE = 77
	sysGETCWD    = 79
	sysOPENAT    = 257
	sysMKDIRAT   = 258
	sysUNLINKAT  = 263
	sysRENAMEAT  = 264
	sysLINKAT    = 265
	sysSYMLINKAT = 266
	sysREADLINK  = 267 // readlinkat
	sysUTIMENSAT = 280
	sysFCHMOD    = 91
	sysFALLOCATE = 285
	sysPREADV    = 295
	sysPWRITEV   = 296
	sysRENAMEAT2 = 316
	sysCOPYRANGE = 326

	atFDCWD     = -100
	atREMOVEDIR = 0x200
	atFOLLOW    = 0x400 // AT_SYMLINK_FOLLOW

	oCREAT     = 0x40
	oEXCL      = 0x80
	oTRUNC     = 0x200
	oAPPEND    = 0x400
	oDSYNC     = 0x1000
	oDIRECTORY = 0x10000
	oNOFOLLOW  = 0x20000
	oCLOEXEC   = 0x80000
	oPATH      = 0x200000

	eIO    = 5
	eACCES = 13
	eNOSPC = 28
	eXDEV  = 18

	sIFMT  = 0xf000
	sIFREG = 0x8000
	sIFDIR = 0x4000
)

// DiskConfig describes a disk. Odds are in 1<<32. A duration is in ns.
type DiskConfig struct {
	WriteError, SyncError, ReadError uint64
	SyncMin, SyncMax                 int64 // how long a sync takes
	Slow                             uint64
	MaxSlow                          int64 // how long a slow write or sync takes at most
	Free                             int64 // bytes that files may grow by; below 0 means no limit
}

// MaxDisks bounds the disks of a world.
const MaxDisks = 256

// Bounds of the changes that a disk keeps for a loss of power. Beyond these bounds
// the oldest changes count as written.
const (
	maxUnsynced = 256 << 20 // bytes
	maxNames    = 2048      // changes of directories
	maxNodes    = 4096      // files, open or changed
	changeBytes = 128       // bytes that a change takes beside its data
)

type disk struct {
	number  int
	root    string
	conf    DiskConfig
	nodes   []*node // in the order of their first use
	byIno   map[uint64]*node
	ops     []dirOp
	calls   uint64 // for the names of faults
	crashes uint64
	bytes   int // of unsynced changes
}

// A node is a file or a directory of a disk.
type node struct {
	number  uint64
	ino     uint64
	dir     bool
	fd      uintptr // a real descriptor of the kernel's own, for files
	open    int     // descriptors of the program
	changes []change
	held    int // changes of directories that need the node
	locks   []*holder
}

// A change is a write or a truncation that was not synced.
type change struct {
	off              int64
	before, after    []byte
	oldSize, newSize int64
}

// An ofile is an open file of the program on a disk.
type ofile struct {
	d    *disk
	n    *node
	fl   uintptr
	own  uint64 // the process
	desc *description
	dead bool // closed, or its process has ended, or its disk has lost power
}

// real makes a system call of the real kernel.
func (k *kernel) real(trap uintptr, args ...uintptr) (uintptr, uintptr) {
	c := Call{Trap: trap}
	copy(c.Args[:], args)
	return k.host.Real(&c)
}

func cString(s string) []byte { return append([]byte(s), 0) }

// pathAt reads a path of the caller and makes it absolute.
func (k *kernel) pathAt(dirfd, p uintptr) string {
	b := []byte{}
	for ; len(b) < 4096; p++ {
		c := *(*byte)(pointer(p))
		if c == 0 {
			break
		}
		b = append(b, c)
	}
	if len(b) > 0 && b[0] == '/' {
		return clean(string(b))
	}
	if int32(dirfd) == atFDCWD {
		var buf [4096]byte
		n, e := k.real(sysGETCWD, addressOf(buf[:]), uintptr(len(buf)))
		if e != 0 || n < 1 {
			return ""
		}
		return clean(string(buf[:n-1]) + "/" + string(b))
	}
	return clean(k.linkOf(dirfd) + "/" + string(b))
}

// linkOf is the path of a real descriptor.
func (k *kernel) linkOf(fd uintptr) string {
	name := cString(procFD(fd))
	var buf [4096]byte
	n, e := k.real(sysREADLINK, cwd(), addressOf(name), addressOf(buf[:]), uintptr(len(buf)))
	if e != 0 {
		return ""
	}
	return string(buf[:n])
}

// cwd is AT_FDCWD, a directory descriptor for absolute paths.
func cwd() uintptr {
	at := int64(atFDCWD)
	return uintptr(at)
}

func procFD(fd uintptr) string {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + fd%10)
		if fd /= 10; fd == 0 {
			return "/proc/self/fd/" + string(digits[i:])
		}
	}
}

// clean removes empty elements, dots and double dots from an absolute path.
func clean(s string) string {
	var out []byte
	for len(s) > 0 {
		for len(s) > 0 && s[0] == '/' {
			s = s[1:]
		}
		i := 0
		for i < len(s) && s[i] != '/' {
			i++
		}
		switch part := s[:i]; part {
		case "", ".":
		case "..":
			for len(out) > 0 {
				last := out[len(out)-1]
				out = out[:len(out)-1]
				if last == '/' {
					break
				}
			}
		default:
			out = append(append(out, '/'), part...)
		}
		s = s[i:]
	}
	if len(out) == 0 {
		return "/"
	}
	return string(out)
}

// diskOf is the disk with a path, or nil.
func (k *kernel) diskOf(path string) *disk {
	for _, d := range k.disks {
		if len(path) > len(d.root) && path[:len(d.root)] == d.root && path[len(d.root)] == '/' || path == d.root {
			return d
		}
	}
	return nil
}

// stat returns the inode, the kind and the size of a path or a descriptor.
func (k *kernel) stat(fd uintptr) (ino uint64, mode uint32, size int64) {
	var st [sizeofStat]byte
	if _, e := k.real(sysFSTAT, fd, addressOf(st[:])); e != 0 {
		return 0, 0, 0
	}
	p := addressOf(st[:])
	return *(*uint64)(pointer(p + 8)), *word32(p + 24), *(*int64)(pointer(p + 48))
}

// nodeOf returns the node of a real descriptor, and makes it if it is new.
func (k *kernel) nodeOf(d *disk, fd uintptr) *node {
	ino, mode, _ := k.stat(fd)
	if n := d.byIno[ino]; n != nil {
		return n
	}
	n := &node{number: uint64(len(d.nodes)), ino: ino, dir: mode&sIFMT == sIFDIR}
	if mode&sIFMT == sIFREG {
		n.fd = k.openFor(procFD(fd), 0)
		if n.fd == 0 { // without permission, but the owner may change that
			k.real(sysFCHMOD, fd, uintptr(mode&0o7777|0o600))
			n.fd = k.openFor(procFD(fd), 0)
			k.real(sysFCHMOD, fd, uintptr(mode&0o7777))
		}
	}
	d.nodes = append(d.nodes, n)
	d.byIno[ino] = n
	return n
}

// openFor opens a file for the kernel, far above the program's descriptors. The
// result is 0 if the file does not open.
func (k *kernel) openFor(path string, flags uintptr) uintptr {
	name := cString(path)
	low, e := k.real(sysOPENAT, cwd(), addressOf(name), oRDWR|oCLOEXEC|flags)
	if e != 0 {
		return 0
	}
	high, e := k.real(sysFCNTL, low, fDUPFDCLOEXEC, 512)
	if e != 0 {
		return low
	}
	k.real(sysCLOSE, low)
	return high
}

// drop forgets a node that neither the program nor a loss of power needs.
func (k *kernel) drop(d *disk, n *node) {
	if n.open > 0 || n.held > 0 || d.byIno[n.ino] != n || len(n.changes) > 0 && k.nameCount(n) > 0 {
		return
	}
	d.forget(n)
	if n.fd != 0 {
		k.real(sysCLOSE, n.fd)
		n.fd = 0
	}
	delete(d.byIno, n.ino)
	for i, other := range d.nodes {
		if other == n {
			d.nodes = append(d.nodes[:i], d.nodes[i+1:]...)
			break
		}
	}
}

// diskCall carries out a call that concerns a disk, or reports that it does not.
func (k *kernel) diskCall(c *Call) bool {
	if len(k.disks) == 0 {
		return false
	}
	switch c.Trap {
	case sysOPENAT:
		return k.openFile(c)
	case sysMKDIRAT, sysUNLINKAT:
		return k.changeDir(c)
	case sysRENAMEAT, sysRENAMEAT2:
		return k.rename(c)
	case sysLINKAT, sysSYMLINKAT:
		return k.link(c)
	case sysTRUNCATE:
		return k.truncatePath(c)
	case sysSYNC:
		for _, d := range k.disks {
			k.syncAll(d)
		}
		return false
	}
	fd := c.Args[0]
	f := k.ofiles[fd]
	if c.Wait != nil && f != (*waiting)(c.Wait).f {
		c.fail(eBADF) // closed meanwhile
		c.Wait = nil
		return true
	}
	if f == nil {
		if c.Trap == sysCOPYRANGE && k.ofiles[c.Args[2]] != nil {
			c.fail(eXDEV) // the caller copies by hand
			return true
		}
		return false
	}
	if c.Trap == sysCLOSE {
		k.closeReal(c, f)
		return true
	}
	if f.dead && takesFile(c.Trap) {
		c.fail(eIO)
		c.Wait = nil
		return true
	}
	return k.fileIO(c, f)
}

// takesFile reports whether the first argument of a call is an open file.
func takesFile(trap uintptr) bool {
	switch trap {
	case sysREAD, sysWRITE, sysFSTAT, sysLSEEK, sysPREAD, sysPWRITE, sysREADV, sysWRITEV, sysDUP, sysDUP3, sysFCNTL, sysFLOCK,
		sysFSYNC, sysFDATASYNC, sysSYNCFS, sysFTRUNCATE, sysGETDENTS, sysFALLOCATE, sysPREADV, sysPWRITEV:
		return true
	}
	return false
}

// openFile opens a file, and lets the disk know of a new or shorter one.
func (k *kernel) openFile(c *Call) bool {
	flags := c.Args[2]
	c.Args[2] = flags &^ oTRUNC
	fresh := flags&oCREAT != 0
	if fresh && flags&oEXCL == 0 {
		c.Args[2] &^= oCREAT
	}
	fd, e := k.host.Real(c)
	if fresh && flags&oEXCL == 0 {
		if fresh = e == eNOENT; fresh {
			c.Args[2] |= oCREAT
			fd, e = k.host.Real(c)
		}
	}
	if e != 0 {
		c.fail(e)
		return true
	}
	c.ok(fd)
	path := k.linkOf(fd)
	d := k.diskOf(path)
	if d == nil {
		if flags&oTRUNC != 0 && !fresh {
			k.real(sysFTRUNCATE, fd, 0)
		}
		return true
	}
	n := k.nodeOf(d, fd)
	n.open++
	k.setFile(fd, &ofile{d: d, n: n, fl: flags, own: k.proc, desc: &description{files: 1}})
	switch {
	case fresh:
		k.touch(fd)
		k.changed(d, dirOp{kind: opAdd, at: k.place(path), n: n})
	case flags&oTRUNC != 0 && n.fd != 0:
		k.truncate(d, n, 0)
	}
	return true
}

func (k *kernel) setFile(fd uintptr, f *ofile) {
	if f == nil {
		delete(k.ofiles, fd)
	} else {
		k.ofiles[fd] = f
	}
	k.host.Watch(fd, f != nil)
}

func (k *kernel) closeReal(c *Call, f *ofile) {
	k.setFile(c.Args[0], nil)
	_, e := k.host.Real(c)
	c.ok(0)
	if e != 0 {
		c.fail(e)
	}
	if !f.dead {
		f.dead = true
		f.n.unlocked(f)
		f.n.open--
		k.drop(f.d, f.n)
	}
}
