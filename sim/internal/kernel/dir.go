package kernel

// Names of files and directories on a disk.

type dirKind int

const (
	opAdd dirKind = iota // a file, a link or a symbolic link
	opMkdir
	opUnlink
	opRmdir
	opRename
)

// A place is a name in a directory.
type place struct {
	path string // without symbolic links on the way
	dir  uint64 // inode of the directory
}

// A dirOp is a change of directories before its sync.
type dirOp struct {
	kind   dirKind
	at, to place
	n      *node  // the created, unlinked or replaced file; may be nil
	link   string // content of an unlinked or replaced symbolic link
	mode   uint32 // of a removed directory
}

// place resolves the directory of an absolute path.
func (k *kernel) place(path string) place {
	name := cString(parent(path))
	fd, e := k.real(sysOPENAT, cwd(), addressOf(name), oPATH|oDIRECTORY|oCLOEXEC)
	if e != 0 {
		return place{path: path}
	}
	ino, _, _ := k.stat(fd)
	dir := k.linkOf(fd)
	k.real(sysCLOSE, fd)
	return place{clean(dir + path[len(parent(path)):]), ino}
}

func parent(path string) string {
	i := len(path) - 1
	for i > 0 && path[i] != '/' {
		i--
	}
	return path[:max(i, 1)]
}

// changed remembers a change of directories until its sync.
func (k *kernel) changed(d *disk, op dirOp) {
	if op.n != nil {
		op.n.held++
	}
	for _, at := range [2]place{op.at, op.to} {
		if at.path != "" {
			k.touchPath(parent(at.path))
		}
	}
	d.ops = append(d.ops, op)
	if len(d.ops) > maxNames {
		k.commit(d, func(i int) bool { return i < maxNames/4 })
	}
}

// commit makes changes of directories safe. Earlier changes below a renamed
// directory have new paths from then on.
func (k *kernel) commit(d *disk, safe func(i int) bool) {
	var kept []dirOp
	for i, op := range d.ops {
		if !safe(i) {
			kept = append(kept, op)
			continue
		}
		if op.kind == opRename {
			kept = k.moved(d, kept, op)
		}
		k.unhold(d, op.n)
	}
	d.ops = kept
}

// moved follows a rename that is safe. The arrival of a file under its first name
// is safe, too.
func (k *kernel) moved(d *disk, ops []dirOp, by dirOp) []dirOp {
	var kept []dirOp
	for _, op := range ops {
		if op.at == by.at && (op.kind == opAdd || op.kind == opMkdir) {
			k.unhold(d, op.n)
			continue
		}
		op.at.path, op.to.path = moved(op.at.path, by), moved(op.to.path, by)
		kept = append(kept, op)
	}
	return kept
}

func moved(path string, by dirOp) string {
	from := by.at.path
	if len(path) > len(from) && path[:len(from)] == from && path[len(from)] == '/' {
		return by.to.path + path[len(from):]
	}
	return path
}

// syncDir makes the names in a directory safe.
func (k *kernel) syncDir(d *disk, ino uint64) {
	ops := d.ops
	k.commit(d, func(i int) bool { return ops[i].at.dir == ino || ops[i].to.dir == ino })
}

// syncAll makes everything on a disk safe.
func (k *kernel) syncAll(d *disk) {
	k.commit(d, func(int) bool { return true })
	for _, n := range append([]*node(nil), d.nodes...) {
		k.synced(d, n)
	}
}

// unhold lets go of a node of a change.
func (k *kernel) unhold(d *disk, n *node) {
	if n != nil {
		n.held--
		k.drop(d, n)
	}
}

// changeDir carries out mkdirat and unlinkat.
func (k *kernel) changeDir(c *Call) bool {
	at := k.place(k.pathAt(c.Args[0], c.Args[1]))
	d := k.diskOf(at.path)
	if d == nil || at.path == d.root {
		return false
	}
	op := dirOp{kind: opMkdir, at: at}
	if c.Trap == sysUNLINKAT {
		op = k.removal(d, at, c.Args[2]&atREMOVEDIR != 0)
	}
	k.finishOp(c, d, op)
	return true
}

// removal is the change that takes away a name. The node of the file stays.
func (k *kernel) removal(d *disk, at place, dir bool) dirOp {
	op := dirOp{kind: opUnlink, at: at}
	name := cString(at.path)
	if dir {
		op.kind = opRmdir
		if fd, e := k.real(sysOPENAT, cwd(), addressOf(name), oDIRECTORY|oCLOEXEC); e == 0 {
			_, op.mode, _ = k.stat(fd)
			k.real(sysCLOSE, fd)
		}
		return op
	}
	var buf [4096]byte
	if n, e := k.real(sysREADLINK, cwd(), addressOf(name), addressOf(buf[:]), uintptr(len(buf))); e == 0 {
		op.link = string(buf[:n])
		return op
	}
	if fd, e := k.real(sysOPENAT, cwd(), addressOf(name), oNOFOLLOW|oNONBLOCK|oCLOEXEC); e == 0 {
		if op.n = k.nodeOf(d, fd); op.n.fd == 0 {
			k.drop(d, op.n)
			op.n = nil
		}
		k.real(sysCLOSE, fd)
	}
	return op
}

// finishOp carries out a call that changes a directory.
func (k *kernel) finishOp(c *Call, d *disk, op dirOp) {
	_, e := k.host.Real(c)
	c.ok(0)
	if e != 0 {
		c.fail(e)
		if op.n != nil {
			k.drop(d, op.n)
		}
		return
	}
	if op.n != nil && k.nameCount(op.n) == 0 {
		_, _, size := k.stat(op.n.fd)
		d.conf.freed(size)
	}
	k.changed(d, op)
}

// rename carries out renameat and renameat2. An exchange of two files is not
// supported.
func (k *kernel) rename(c *Call) bool {
	from, to := k.place(k.pathAt(c.Args[0], c.Args[1])), k.place(k.pathAt(c.Args[2], c.Args[3]))
	d := k.diskOf(from.path)
	switch {
	case d != k.diskOf(to.path):
		c.fail(eXDEV)
		return true
	case d == nil:
		return false
	case c.Trap == sysRENAMEAT2 && c.Args[4]&^1 != 0: // 1 is RENAME_NOREPLACE
		c.fail(eINVAL)
		return true
	}
	op := k.removal(d, to, false)
	op.kind, op.at, op.to = opRename, from, to
	k.finishOp(c, d, op)
	return true
}

// link carries out linkat and symlinkat.
func (k *kernel) link(c *Call) bool {
	if c.Trap == sysSYMLINKAT {
		at := k.place(k.pathAt(c.Args[1], c.Args[2]))
		d := k.diskOf(at.path)
		if d != nil {
			k.finishOp(c, d, dirOp{kind: opAdd, at: at})
		}
		return d != nil
	}
	from, to := k.pathAt(c.Args[0], c.Args[1]), k.place(k.pathAt(c.Args[2], c.Args[3]))
	const fds = "/proc/self/fd/" // for a file without a name
	if len(from) > len(fds) && from[:len(fds)] == fds {
		var buf [4096]byte
		name := cString(from)
		n, _ := k.real(sysREADLINK, cwd(), addressOf(name), addressOf(buf[:]), uintptr(len(buf)))
		from = string(buf[:min(n, uintptr(len(buf)))])
	}
	d := k.diskOf(to.path)
	switch {
	case k.diskOf(from) != d:
		c.fail(eXDEV)
	case d == nil:
		return false
	default:
		k.finishOp(c, d, dirOp{kind: opAdd, at: to})
	}
	return true
}

// undo reverses a change of a directory.
func (k *kernel) undo(d *disk, op dirOp) {
	path, to := cString(op.at.path), cString(op.to.path)
	switch op.kind {
	case opAdd:
		k.real(sysUNLINKAT, cwd(), addressOf(path), 0)
	case opMkdir:
		k.real(sysUNLINKAT, cwd(), addressOf(path), atREMOVEDIR)
	case opRmdir:
		k.real(sysMKDIRAT, cwd(), addressOf(path), uintptr(op.mode&0o7777))
	case opUnlink:
		k.restore(d, op, op.at.path)
	case opRename:
		k.real(sysRENAMEAT, cwd(), addressOf(to), cwd(), addressOf(path))
		k.restore(d, op, op.to.path)
	}
}

// nameCount is the number of names of a file.
func (k *kernel) nameCount(n *node) uint64 {
	var st [sizeofStat]byte
	if _, e := k.real(sysFSTAT, n.fd, addressOf(st[:])); e != 0 {
		return 0
	}
	return *(*uint64)(pointer(addressOf(st[16:])))
}

// restore gives a file or a symbolic link its name back.
func (k *kernel) restore(d *disk, op dirOp, path string) {
	name := cString(path)
	if op.link != "" {
		link := cString(op.link)
		k.real(sysSYMLINKAT, addressOf(link), cwd(), addressOf(name))
		return
	}
	n := op.n
	if n == nil || n.fd == 0 {
		return
	}
	old := cString(procFD(n.fd))
	if _, e := k.real(sysLINKAT, cwd(), addressOf(old), cwd(), addressOf(name), atFOLLOW); e == 0 {
		return
	}
	_, mode, size := k.stat(n.fd)
	fd := k.openFor(path, oCREAT|oEXCL)
	if fd == 0 {
		return
	}
	k.real(sysFCHMOD, fd, uintptr(mode&0o7777))
	data := k.get(n, 0, size)
	k.real(sysCLOSE, n.fd)
	n.fd = fd
	k.putAt(n, 0, data)
	d.conf.freed(-size)
}

// touch sets the time of a change, which is virtual.
func (k *kernel) touch(fd uintptr) {
	times := k.times()
	k.real(sysUTIMENSAT, fd, 0, addressOf(times), 0)
}

func (k *kernel) touchPath(path string) {
	name, times := cString(path), k.times()
	k.real(sysUTIMENSAT, cwd(), addressOf(name), addressOf(times), 0)
}

// times are two values of struct timespec. The time of the last read stays.
func (k *kernel) times() []byte {
	const omit = 0x3ffffffe
	t := make([]byte, 32)
	*(*int64)(pointer(addressOf(t[8:]))) = omit
	*(*int64)(pointer(addressOf(t[16:]))) = k.host.Now() / second
	*(*int64)(pointer(addressOf(t[24:]))) = k.host.Now() % second
	return t
}
