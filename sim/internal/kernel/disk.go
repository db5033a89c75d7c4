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
	sysREADLINK  = 267 // readlinkat
	sysFALLOCATE = 285
	sysPREADV    = 295
	sysPWRITEV   = 296
	sysRENAMEAT2 = 316
	sysCOPYRANGE = 326

	atFDCWD     = -100
	atREMOVEDIR = 0x200

	oCREAT   = 0x40
	oTRUNC   = 0x200
	oAPPEND  = 0x400
	oDSYNC   = 0x1000
	oCLOEXEC = 0x80000

	eIO    = 5
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

// maxUnsynced bounds the bytes that a disk keeps for a loss of power. Beyond
// that the oldest changes count as written.
const maxUnsynced = 256 << 20

type disk struct {
	number  int
	root    string
	off     bool
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
	lost    bool
	held    bool // by an operation on a directory
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
	path string
	fl   uintptr
	own  uint64 // the process
	dead bool
}

type dirKind int

const (
	opCreate dirKind = iota
	opMkdir
	opUnlink
	opRmdir
	opRename
)

// A dirOp is a change of directories that was not synced.
type dirOp struct {
	kind     dirKind
	path, to string
	n        *node // created, unlinked, or replaced by a rename; may be nil
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
	if f := k.ofiles[dirfd]; f != nil {
		return clean(f.path + "/" + string(b))
	}
	return clean(k.linkOf(dirfd) + "/" + string(b))
}

// linkOf is the path of a real descriptor.
func (k *kernel) linkOf(fd uintptr) string {
	name := cString(procFD(fd))
	var buf [4096]byte
	at := int64(atFDCWD)
	n, e := k.real(sysREADLINK, uintptr(at), addressOf(name), addressOf(buf[:]), uintptr(len(buf)))
	if e != 0 {
		return ""
	}
	return string(buf[:n])
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
		n.fd = k.openAgain(procFD(fd))
	}
	d.nodes = append(d.nodes, n)
	d.byIno[ino] = n
	return n
}

// openAgain opens a file for the kernel, far above the program's descriptors.
func (k *kernel) openAgain(path string) uintptr {
	name := cString(path)
	at := int64(atFDCWD)
	low, e := k.real(sysOPENAT, uintptr(at), addressOf(name), oRDWR|oCLOEXEC)
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
	if n.open > 0 || len(n.changes) > 0 || n.held || d.byIno[n.ino] != n {
		return
	}
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
	case sysLINKAT, sysTRUNCATE:
		return false
	}
	fd := c.Args[0]
	f := k.ofiles[fd]
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
	if (f.dead || f.d.off) && takesFile(c.Trap) {
		c.fail(eIO)
		return true
	}
	return k.fileIO(c, f)
}

// takesFile reports whether the first argument of a call is an open file.
func takesFile(trap uintptr) bool {
	switch trap {
	case sysREAD, sysWRITE, sysFSTAT, sysLSEEK, sysPREAD, sysPWRITE, sysREADV, sysWRITEV, sysDUP, sysDUP3, sysFCNTL, sysFLOCK,
		sysFSYNC, sysFDATASYNC, sysFTRUNCATE, sysGETDENTS, sysFALLOCATE, sysPREADV, sysPWRITEV:
		return true
	}
	return false
}

func (k *kernel) openFile(c *Call) bool {
	path := k.pathAt(c.Args[0], c.Args[1])
	d := k.diskOf(path)
	if d == nil {
		return false
	}
	if d.off {
		c.fail(eIO)
		return true
	}
	fresh := false
	size := int64(0)
	if c.Args[2]&(oCREAT|oTRUNC) != 0 {
		old := k.openAgain(path)
		fresh = old == 0
		if old != 0 {
			if _, _, size = k.stat(old); size > 0 && c.Args[2]&oTRUNC != 0 {
				k.truncate(d, k.nodeOf(d, old), 0)
			}
			k.real(sysCLOSE, old)
		}
	}
	fd, e := k.host.Real(c)
	if e != 0 {
		c.fail(e)
		return true
	}
	n := k.nodeOf(d, fd)
	n.open++
	k.setFile(fd, &ofile{d: d, n: n, path: path, fl: c.Args[2], own: k.proc})
	if fresh && c.Args[2]&oCREAT != 0 {
		n.held = true
		d.ops = append(d.ops, dirOp{kind: opCreate, path: path, n: n})
	}
	c.ok(fd)
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
		f.n.open--
		k.drop(f.d, f.n)
	}
}

// changeDir carries out mkdirat and unlinkat.
func (k *kernel) changeDir(c *Call) bool {
	path := k.pathAt(c.Args[0], c.Args[1])
	d := k.diskOf(path)
	if d == nil || path == d.root {
		return false
	}
	if d.off {
		c.fail(eIO)
		return true
	}
	op := dirOp{kind: opMkdir, path: path}
	if c.Trap == sysUNLINKAT {
		op.kind = opRmdir
		if c.Args[2]&atREMOVEDIR == 0 {
			op.kind = opUnlink
			op.n = k.hold(d, path)
		}
	}
	k.finishOp(c, d, op)
	return true
}

// hold keeps the node of a file that is about to lose its name.
func (k *kernel) hold(d *disk, path string) *node {
	fd := k.openAgain(path)
	if fd == 0 {
		return nil
	}
	n := k.nodeOf(d, fd)
	k.real(sysCLOSE, fd)
	if n.fd == 0 {
		return nil
	}
	n.held = true
	return n
}

func (k *kernel) finishOp(c *Call, d *disk, op dirOp) {
	_, e := k.host.Real(c)
	c.ok(0)
	if e != 0 {
		c.fail(e)
		if op.n != nil {
			k.unhold(d, op.n)
		}
		return
	}
	d.ops = append(d.ops, op)
}

// unhold lets go of a node, unless another operation holds it.
func (k *kernel) unhold(d *disk, n *node) {
	n.held = false
	for _, op := range d.ops {
		if op.n == n {
			n.held = true
		}
	}
	k.drop(d, n)
}

func (k *kernel) rename(c *Call) bool {
	from, to := k.pathAt(c.Args[0], c.Args[1]), k.pathAt(c.Args[2], c.Args[3])
	d := k.diskOf(from)
	if d != k.diskOf(to) {
		c.fail(eXDEV)
		return true
	}
	if d == nil {
		return false
	}
	if d.off {
		c.fail(eIO)
		return true
	}
	k.finishOp(c, d, dirOp{kind: opRename, path: from, to: to, n: k.hold(d, to)})
	if c.Errno == 0 {
		for _, f := range k.ofiles {
			if f.d == d && len(f.path) >= len(from) && f.path[:len(from)] == from && (len(f.path) == len(from) || f.path[len(from)] == '/') {
				f.path = to + f.path[len(from):]
			}
		}
	}
	return true
}
