package kernel

import "unsafe"

// Locks of ranges of files (fcntl) belong to a process, or to an open file (OFD). To
// the real kernel all simulated processes are one, so the locks live here. Locks of
// whole files (flock) belong to open files and stay real.

const (
	lockNB = 4 // LOCK_NB of flock

	fGETLK     = 5
	fSETLK     = 6
	fSETLKW    = 7
	fOFDGETLK  = 36
	fOFDSETLK  = 37
	fOFDSETLKW = 38

	lockRead  = 0
	lockWrite = 1
	lockNone  = 2
)

// A description is an open file, which duplicated descriptors share.
type description struct{ files int }

// An owner of locks is a process, or a description.
type owner struct {
	proc uint64
	desc *description
}

// A span is the bytes of a lock.
type span struct {
	from, to int64 // to is behind the last byte
	kind     int16
}

const endOfFile = 1<<63 - 1

// A holder is an owner with its locks of a file, in order.
type holder struct {
	owner owner
	spans []span
}

// A waiting is a call that waits for a lock. It keeps the operands, because the
// caller's memory may move meanwhile.
type waiting struct {
	f     *ofile
	owner owner
	span  span
}

// flock is the operand of fcntl.
type flock struct {
	kind, whence int16
	_            int32
	start, n     int64
	pid          int32
}

// lockFile carries out the locking calls of fcntl.
func (k *kernel) lockFile(c *Call, f *ofile) bool {
	w := (*waiting)(c.Wait)
	if w == nil {
		w = &waiting{f: f}
		op := (*flock)(pointer(c.Args[2]))
		switch c.Args[1] {
		case fGETLK, fSETLK, fSETLKW:
			w.owner.proc = f.own
		case fOFDGETLK, fOFDSETLK, fOFDSETLKW:
			w.owner.desc = f.desc
		default:
			return false
		}
		if e := k.lockOperand(c, f, op, &w.span); e != 0 {
			c.fail(e)
			return true
		}
		if c.Args[1] == fGETLK || c.Args[1] == fOFDGETLK {
			f.n.describe(op, w.owner, w.span)
			c.ok(0)
			return true
		}
	}
	k.waits = without(k.waits, w)
	c.Wait = nil
	h := f.n.conflict(w.owner, w.span)
	switch {
	case h == nil:
		f.n.lock(w.owner, w.span)
		c.ok(0)
	case c.Args[1] != fSETLKW && c.Args[1] != fOFDSETLKW:
		c.fail(eAGAIN)
	case w.owner.desc == nil && k.deadlock(w.owner, h.owner):
		c.fail(eDEADLK)
	default:
		k.waits = append(k.waits, w)
		c.fail(eAGAIN)
		c.Wait = unsafe.Pointer(w)
	}
	return true
}

// lockOperand decodes and checks the operand of a locking call.
func (k *kernel) lockOperand(c *Call, f *ofile, op *flock, s *span) uintptr {
	*s = span{from: op.start, kind: op.kind}
	switch op.whence {
	case 0:
	case 1:
		at, _ := k.real(sysLSEEK, c.Args[0], 0, 1)
		s.from += int64(at)
	case 2:
		_, _, size := k.stat(c.Args[0])
		s.from += size
	default:
		return eINVAL
	}
	s.to = s.from + op.n
	switch {
	case op.n == 0:
		s.to = endOfFile
	case op.n < 0:
		s.from, s.to = s.to, s.from
	}
	asks, ofd := c.Args[1] == fGETLK || c.Args[1] == fOFDGETLK, c.Args[1] >= fOFDGETLK
	mode := f.fl & 3
	switch {
	case s.from < 0 || s.to <= s.from, op.kind < lockRead || op.kind > lockNone,
		c.Args[1] == fGETLK && op.kind == lockNone, ofd && op.pid != 0:
		return eINVAL
	case !asks && (op.kind == lockRead && mode == oWRONLY || op.kind == lockWrite && mode == oRDONLY):
		return eBADF
	}
	return 0
}

// describe answers with the first lock that excludes another one.
func (n *node) describe(op *flock, o owner, s span) {
	h, found := n.first(o, s)
	if h == nil {
		op.kind = lockNone
		return
	}
	*op = flock{kind: found.kind, start: found.from, n: found.to - found.from, pid: int32(h.owner.proc)}
	if h.owner.desc != nil {
		op.pid = -1
	}
	if found.to == endOfFile {
		op.n = 0
	}
}

// first finds the first lock that excludes s. For lockNone, the lock is the owner's
// own, which only F_OFD_GETLK asks for.
func (n *node) first(o owner, s span) (*holder, span) {
	for _, h := range n.locks {
		if (h.owner == o) != (s.kind == lockNone) {
			continue
		}
		for _, r := range h.spans {
			if r.from < s.to && s.from < r.to && (s.kind != lockRead || r.kind == lockWrite) {
				return h, r
			}
		}
	}
	return nil, span{}
}

// conflict finds another owner with a lock that excludes s.
func (n *node) conflict(o owner, s span) *holder {
	if s.kind == lockNone {
		return nil
	}
	h, _ := n.first(o, s)
	return h
}

// deadlock reports whether the owner of a lock waits for o, directly or through
// others. Linux follows as many others, and treats the threads of a process as one.
func (k *kernel) deadlock(o, holds owner) bool {
	for range 12 {
		if holds == o {
			return true
		}
		var next *holder
		for _, w := range k.waits {
			if w.owner == holds {
				next = w.f.n.conflict(w.owner, w.span)
				break
			}
		}
		if next == nil {
			return false
		}
		holds = next.owner
	}
	return false
}

// lock changes the locks of an owner on the bytes of s. Equal neighbors become one
// lock.
func (n *node) lock(o owner, s span) {
	i := 0
	for i < len(n.locks) && n.locks[i].owner != o {
		i++
	}
	if i == len(n.locks) {
		n.locks = append(n.locks, &holder{owner: o})
	}
	h := n.locks[i]
	var before, after []span
	for _, r := range h.spans {
		switch {
		case r.kind == s.kind && r.from <= s.to && s.from <= r.to:
			s.from, s.to = min(s.from, r.from), max(s.to, r.to)
		case r.to <= s.from:
			before = append(before, r)
		case r.from >= s.to:
			after = append(after, r)
		default:
			if r.from < s.from {
				before = append(before, span{r.from, s.from, r.kind})
			}
			if s.to < r.to {
				after = append(after, span{s.to, r.to, r.kind})
			}
		}
	}
	if s.kind != lockNone {
		before = append(before, s)
	}
	if h.spans = append(before, after...); len(h.spans) == 0 {
		n.locks = append(n.locks[:i], n.locks[i+1:]...)
	}
}

// unlocked removes what the end of a descriptor takes away: the locks of the process,
// which the close of any of its descriptors of the file frees, and those of the
// open file with its last descriptor.
func (n *node) unlocked(f *ofile) {
	all := span{to: endOfFile, kind: lockNone}
	n.lock(owner{proc: f.own}, all)
	if f.desc.files--; f.desc.files == 0 {
		n.lock(owner{desc: f.desc}, all)
	}
}

// without removes w, and the calls on files that are gone.
func without(waits []*waiting, w *waiting) []*waiting {
	kept := waits[:0]
	for _, other := range waits {
		if other != w && !other.f.dead {
			kept = append(kept, other)
		}
	}
	return kept
}
