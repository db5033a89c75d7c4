package kernel

// Locks of ranges of files (fcntl) belong to a process. To the real kernel all
// simulated processes are one, so the locks live here. Locks of whole files (flock)
// belong to open files and stay real.

const (
	lockNB = 4 // LOCK_NB of flock

	fGETLK  = 5
	fSETLK  = 6
	fSETLKW = 7

	lockRead  = 0
	lockWrite = 1
	lockNone  = 2
)

// A rangeLock is a lock of a process on some bytes of a file.
type rangeLock struct {
	proc     uint64
	from, to int64 // to is behind the last byte
	write    bool
}

const endOfFile = 1<<63 - 1

// flock is the operand of fcntl.
type flock struct {
	kind, whence int16
	_            int32
	start, n     int64
	pid          int32
}

// lockFile carries out the locking calls of fcntl.
func (k *kernel) lockFile(c *Call, f *ofile) bool {
	if c.Args[1] != fGETLK && c.Args[1] != fSETLK && c.Args[1] != fSETLKW || f.n.dir {
		return false
	}
	op := (*flock)(pointer(c.Args[2]))
	l, ok := k.rangeOf(c, f, op)
	if !ok {
		c.fail(eINVAL)
		return true
	}
	c.ok(0)
	other := f.n.conflict(l)
	switch {
	case c.Args[1] == fGETLK && (other == nil || op.kind == lockNone):
		op.kind = lockNone
	case c.Args[1] == fGETLK:
		*op = flock{kind: lockRead, start: other.from, n: other.to - other.from, pid: int32(other.proc)}
		if other.write {
			op.kind = lockWrite
		}
		if other.to == endOfFile {
			op.n = 0
		}
	case op.kind != lockNone && other != nil:
		c.fail(eAGAIN)
	default:
		f.n.unlock(l)
		if op.kind != lockNone {
			f.n.locks = append(f.n.locks, l)
		}
	}
	return true
}

// rangeOf decodes the bytes of a lock.
func (k *kernel) rangeOf(c *Call, f *ofile, op *flock) (rangeLock, bool) {
	l := rangeLock{proc: f.own, from: op.start, write: op.kind == lockWrite}
	switch op.whence {
	case 1:
		at, _ := k.real(sysLSEEK, c.Args[0], 0, 1)
		l.from += int64(at)
	case 2:
		_, _, size := k.stat(c.Args[0])
		l.from += size
	}
	l.to = l.from + op.n
	switch {
	case op.n == 0:
		l.to = endOfFile
	case op.n < 0:
		l.from, l.to = l.to, l.from
	}
	return l, l.from >= 0 && l.to > l.from && op.kind >= lockRead && op.kind <= lockNone
}

// conflict finds a lock of another process that excludes l.
func (n *node) conflict(l rangeLock) *rangeLock {
	for i := range n.locks {
		if o := &n.locks[i]; o.proc != l.proc && o.from < l.to && l.from < o.to && (o.write || l.write) {
			return o
		}
	}
	return nil
}

// unlock removes the locks of a process on the bytes of l.
func (n *node) unlock(l rangeLock) {
	var kept []rangeLock
	for _, o := range n.locks {
		if o.proc != l.proc || o.to <= l.from || l.to <= o.from {
			kept = append(kept, o)
			continue
		}
		if before := o; o.from < l.from {
			before.to = l.from
			kept = append(kept, before)
		}
		if after := o; l.to < o.to {
			after.from = l.to
			kept = append(kept, after)
		}
	}
	n.locks = kept
}

// unlockAll removes the locks of a process, as the close of any of its
// descriptors of the file does.
func (n *node) unlockAll(proc uint64) {
	n.unlock(rangeLock{proc: proc, to: endOfFile})
}
