package kernel

import "unsafe"

// fileIO carries out calls on an open file of a disk, or reports that the call
// changes nothing that a loss of power could take away.
func (k *kernel) fileIO(c *Call, f *ofile) bool {
	switch c.Trap {
	case sysWRITE, sysPWRITE, sysWRITEV, sysPWRITEV:
		if f.n.fd == 0 || f.fl&3 == 0 { // not a regular file, or open for reading
			return false
		}
		k.writeFile(c, f)
	case sysFTRUNCATE:
		if f.n.fd == 0 || f.fl&3 == 0 {
			return false
		}
		k.calling(c, f, f.d.conf.WriteError, FaultWrite, func() uintptr {
			return k.truncate(f.d, f.n, int64(c.Args[1]))
		})
	case sysFSYNC, sysFDATASYNC, sysSYNCFS:
		k.sync(c, f)
	case sysREAD, sysPREAD, sysREADV, sysPREADV:
		if f.d.conf.ReadError == 0 {
			return false
		}
		k.calling(c, f, f.d.conf.ReadError, FaultRead, nil)
		if c.Errno == 0 {
			return false
		}
	case sysFALLOCATE, sysSENDFILE, sysCOPYRANGE:
		c.fail(eOPNOTSUPP) // the caller does it by hand
	case sysDUP, sysDUP3:
		k.dupFile(c, f)
	case sysFCNTL:
		switch c.Args[1] {
		case fDUPFD, fDUPFDCLOEXEC:
			k.dupFile(c, f)
		case fSETFL:
			f.fl = f.fl&^oAPPEND | c.Args[2]&oAPPEND
			return false
		default:
			return k.lockFile(c, f)
		}
	case sysFLOCK:
		c.R1, c.Errno = k.real(sysFLOCK, c.Args[0], c.Args[1]|lockNB)
		if c.Errno != eAGAIN || c.Args[1]&lockNB != 0 {
			c.Wait = nil
		} else if c.Wait == nil {
			c.Wait = unsafe.Pointer(&waiting{f: f})
		}
	default:
		return false
	}
	return true
}

func (k *kernel) dupFile(c *Call, f *ofile) {
	fd, e := k.host.Real(c)
	if e != 0 {
		c.fail(e)
		return
	}
	f.n.open++
	f.desc.files++
	copied := *f
	k.setFile(fd, &copied)
	c.ok(fd)
}

// calling draws the faults of a call, and then carries it out.
func (k *kernel) calling(c *Call, f *ofile, odds uint64, kind uint64, do func() uintptr) {
	d := f.d
	d.calls++
	id := FaultID{1<<49 | uint64(d.number), d.calls, false}
	if k.hit(d.conf.Slow, forStall, id) {
		if ns := k.length(d.conf.MaxSlow, id); k.happensTo(d, f.n, id, FaultSlow, ns) {
			c.Sleep += ns
		}
	}
	if k.hit(odds, forReset, id) && k.happensTo(d, f.n, id, kind, 0) {
		c.fail(eIO)
		return
	}
	c.ok(0)
	if do != nil {
		if e := do(); e != 0 {
			c.fail(e)
		}
	}
}

func (k *kernel) writeFile(c *Call, f *ofile) {
	iov := []iovec{{c.Args[1], c.Args[2]}}
	if c.Trap == sysWRITEV || c.Trap == sysPWRITEV {
		iov = iovecs(c.Args[1], c.Args[2])
	}
	data := gather(iov)
	positioned := c.Trap == sysPWRITE || c.Trap == sysPWRITEV
	_, _, size := k.stat(f.n.fd)
	off := int64(c.Args[3])
	if f.fl&oAPPEND != 0 {
		off = size
	} else if !positioned {
		at, _ := k.real(sysLSEEK, c.Args[0], 0, 1)
		off = int64(at)
	}
	k.calling(c, f, f.d.conf.WriteError, FaultWrite, func() uintptr {
		grows := max(off+int64(len(data))-max(size, off), 0)
		if lacks := grows - f.d.conf.Free; f.d.conf.Free >= 0 && lacks > 0 {
			if lacks >= int64(len(data)) {
				return eNOSPC
			}
			data = data[:int64(len(data))-lacks] // a short write
			grows -= lacks
		}
		f.d.conf.freed(-grows)
		return k.put(f.d, f.n, off, data, size)
	})
	if c.Errno != 0 {
		return
	}
	if !positioned {
		k.real(sysLSEEK, c.Args[0], uintptr(off+int64(len(data))), 0)
	}
	if f.fl&oDSYNC != 0 {
		k.syncTime(c, f.d)
		k.synced(f.d, f.n)
	}
	c.ok(uintptr(len(data)))
}

// put writes bytes and remembers those that were there.
func (k *kernel) put(d *disk, n *node, off int64, data []byte, size int64) uintptr {
	if len(data) == 0 {
		return 0
	}
	ch := change{off: off, after: data, oldSize: size, newSize: max(size, off+int64(len(data)))}
	ch.before = k.get(n, off, min(int64(len(data)), size-off))
	if e := k.putAt(n, off, data); e != 0 {
		return e
	}
	k.touch(n.fd)
	k.remember(d, n, ch)
	return 0
}

func (k *kernel) remember(d *disk, n *node, ch change) {
	n.changes = append(n.changes, ch)
	d.bytes += len(ch.before) + len(ch.after) + changeBytes
	for d.bytes > maxUnsynced || len(d.nodes) > maxNodes { // the system writes back by itself
		before := len(d.nodes) + d.bytes
		for _, old := range d.nodes {
			if len(old.changes) > 0 && (old.open == 0 || d.bytes > maxUnsynced) {
				k.synced(d, old)
				break
			}
		}
		if len(d.nodes)+d.bytes == before {
			return // all files are open
		}
	}
}

// get reads n bytes, or fewer at the end of the file.
func (k *kernel) get(n *node, off, length int64) []byte {
	if length <= 0 {
		return nil
	}
	b := make([]byte, length)
	got := int64(0)
	for got < length {
		r, e := k.real(sysPREAD, n.fd, addressOf(b[got:]), uintptr(length-got), uintptr(off+got))
		if e != 0 || r == 0 {
			break
		}
		got += int64(r)
	}
	return b[:got]
}

func (k *kernel) putAt(n *node, off int64, data []byte) uintptr {
	for len(data) > 0 {
		r, e := k.real(sysPWRITE, n.fd, addressOf(data), uintptr(len(data)), uintptr(off))
		if e != 0 {
			return e
		}
		data = data[r:]
		off += int64(r)
	}
	return 0
}

func (k *kernel) truncate(d *disk, n *node, size int64) uintptr {
	_, _, old := k.stat(n.fd)
	ch := change{off: size, oldSize: old, newSize: size}
	if size < old {
		ch.before = k.get(n, size, old-size)
	}
	if _, e := k.real(sysFTRUNCATE, n.fd, uintptr(size)); e != 0 {
		return e
	}
	k.touch(n.fd)
	if size != old {
		k.remember(d, n, ch)
	}
	d.conf.freed(max(old-size, 0))
	return 0
}

// freed changes the room on a disk with a limit.
func (c *DiskConfig) freed(n int64) {
	if c.Free >= 0 {
		c.Free = max(c.Free+n, 0)
	}
}

// truncatePath carries out truncate on a file of a disk.
func (k *kernel) truncatePath(c *Call) bool {
	fd := k.openFor(k.pathAt(cwd(), c.Args[0]), 0)
	if fd == 0 {
		return false
	}
	d := k.diskOf(k.linkOf(fd))
	if d != nil {
		n := k.nodeOf(d, fd)
		k.calling(c, &ofile{d: d, n: n}, d.conf.WriteError, FaultWrite, func() uintptr {
			return k.truncate(d, n, int64(c.Args[1]))
		})
		k.drop(d, n)
	}
	k.real(sysCLOSE, fd)
	return d != nil
}

func (k *kernel) sync(c *Call, f *ofile) {
	d := f.d
	k.calling(c, f, d.conf.SyncError, FaultSync, nil)
	k.syncTime(c, d)
	if c.Errno != 0 {
		return
	}
	switch {
	case c.Trap == sysSYNCFS:
		k.syncAll(d)
	case f.n.dir:
		k.syncDir(d, f.n.ino)
	default:
		k.synced(d, f.n)
	}
}

// syncTime adds the time of a sync to a call.
func (k *kernel) syncTime(c *Call, d *disk) {
	c.Sleep += d.conf.SyncMin
	if span := d.conf.SyncMax - d.conf.SyncMin; span > 0 {
		c.Sleep += int64(k.draw(forLatency, FaultID{1<<49 | uint64(d.number), d.calls, true}) % uint64(span))
	}
}

// synced forgets the changes of a node.
func (k *kernel) synced(d *disk, n *node) {
	d.forget(n)
	k.drop(d, n)
}

func (d *disk) forget(n *node) {
	for _, ch := range n.changes {
		d.bytes -= len(ch.before) + len(ch.after) + changeBytes
	}
	n.changes = nil
}

// powerLoss takes away what was not synced, as the seed decides. Open files of
// the disk are dead.
func (k *kernel) powerLoss(d *disk) {
	d.crashes++
	k.killFiles(func(f *ofile) bool { return f.d == d })
	id := FaultID{1<<50 | uint64(d.number), d.crashes << 20, false}
	keep := len(d.ops)
	if n := int(k.draw(forLength, id) % uint64(len(d.ops)+1)); n < keep && k.happens(id, FaultLost, 0, addr{}, addr{}) {
		keep = n
	}
	for i := len(d.ops) - 1; i >= keep; i-- {
		k.undo(d, d.ops[i])
	}
	d.ops = nil
	for _, n := range append([]*node(nil), d.nodes...) {
		n.held = 0
		if len(n.changes) > 0 && k.nameCount(n) > 0 {
			k.tear(d, n)
		}
		n.changes = nil
		k.drop(d, n)
	}
	d.bytes = 0
}

// killFiles disconnects the program's descriptors, which gives locks back.
func (k *kernel) killFiles(which func(*ofile) bool) {
	null := k.openFor("/dev/null", 0)
	for fd, f := range k.ofiles {
		if !f.dead && which(f) {
			f.dead = true
			f.n.unlocked(f)
			f.n.open--
			k.real(sysDUP3, null, fd, oCLOEXEC)
		}
	}
	k.real(sysCLOSE, null)
}

// sector is what a disk writes at once.
const sector = 512

// tear takes the unsynced changes of a file back, and then writes again those
// that had reached the disk. The seed chooses among: none, all, the first ones
// with a torn one at the end, and any sectors.
func (k *kernel) tear(d *disk, n *node) {
	id := FaultID{1<<50 | uint64(d.number), d.crashes<<20 | n.number + 1, false}
	h := k.draw(forLoss, id)
	mode := h % 4
	if mode == 1 || !k.happensTo(d, n, id, FaultTorn, 0) {
		return
	}
	for i := len(n.changes) - 1; i >= 0; i-- {
		ch := &n.changes[i]
		k.putAt(n, ch.off, ch.before)
		k.real(sysFTRUNCATE, n.fd, uintptr(ch.oldSize))
	}
	whole := int(mix(h) % uint64(len(n.changes)+1))
	for i := range n.changes {
		ch := &n.changes[i]
		switch {
		case mode == 2 && i < whole:
			k.again(n, ch, len(ch.after))
		case mode == 2 && i == whole:
			k.again(n, ch, int(mix(h+1)%uint64(len(ch.after)+1))/sector*sector)
		case mode == 3:
			k.sectors(n, ch, mix(h+uint64(i)+2))
		}
	}
}

// again repeats the first bytes of a change.
func (k *kernel) again(n *node, ch *change, length int) {
	k.putAt(n, ch.off, ch.after[:length])
	if length == len(ch.after) && ch.newSize != ch.oldSize {
		k.real(sysFTRUNCATE, n.fd, uintptr(ch.newSize))
	}
}

// sectors repeats some sectors of a change. The file's size may have reached the
// disk without the bytes.
func (k *kernel) sectors(n *node, ch *change, h uint64) {
	if h&1 == 0 && ch.newSize != ch.oldSize {
		k.real(sysFTRUNCATE, n.fd, uintptr(ch.newSize))
	}
	for at := 0; at < len(ch.after); {
		end := min(len(ch.after), int((ch.off+int64(at))/sector+1)*sector-int(ch.off))
		if h = mix(h + 1); h&1 == 0 {
			k.putAt(n, ch.off+int64(at), ch.after[at:end])
		}
		at = end
	}
}
