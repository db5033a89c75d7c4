package kernel

// Unix sockets meet by their file, whatever path leads there. The file of a bound
// socket is a real file, so a program finds, renames and removes the file. Abstract
// names have no file.

const (
	sysMKNOD      = 133
	sysNEWFSTATAT = 262

	eEXIST = 17
)

func (k *kernel) bindPath(s *sock, a addr) uintptr {
	for a.path == "" { // autobind
		k.links++
		if name := "\x00" + hex5(k.links); k.paths[abstract(s, name)] == nil {
			a.path = name
		}
	}
	key := abstract(s, a.path)
	if a.path[0] != 0 {
		e := k.mknod(a.path)
		if e == 0 {
			key, e = k.fileKey(a.path)
		}
		if e != 0 {
			return e
		}
	} else if k.paths[key] != nil {
		return eADDRINUSE
	}
	s.local, s.key, s.bound, s.claimed = a, key, true, true
	k.paths[key] = s
	return 0
}

// abstract names the sockets of one kind with an abstract name.
func abstract(s *sock, name string) string { return string(rune(s.kind)) + name }

// hex5 is an abstract name as Linux chooses them.
func hex5(n int) string {
	var b [5]byte
	for i := range b {
		b[i] = "0123456789abcdef"[n>>(4*(4-i))&15]
	}
	return string(b[:])
}

// fileKey names the file of a socket by its device and its inode.
func (k *kernel) fileKey(path string) (string, uintptr) {
	var st [sizeofStat]byte
	p := append([]byte(path), 0)
	at := int64(atFDCWD)
	if _, e := k.real(sysNEWFSTATAT, uintptr(at), addressOf(p), addressOf(st[:]), 0); e != 0 {
		return "", e
	}
	if *word32(addressOf(st[24:]))&sIFMT != sIFSOCK {
		return "", eCONNREFUSED
	}
	return "/" + string(st[:16]), 0
}

func (k *kernel) mknod(path string) uintptr {
	p := append([]byte(path), 0)
	_, e := k.host.Real(&Call{Trap: sysMKNOD, Args: [6]uintptr{addressOf(p), sIFSOCK | 0o755}})
	if e == eEXIST {
		return eADDRINUSE
	}
	return e
}

// atPath finds the socket of a path for s.
func (k *kernel) atPath(s *sock, path string) (*sock, uintptr) {
	key := abstract(s, path)
	if path != "" && path[0] != 0 {
		var e uintptr
		if key, e = k.fileKey(path); e != 0 {
			return nil, e
		}
	}
	if other := k.paths[key]; other != nil {
		return other, 0
	}
	return nil, eCONNREFUSED
}

func (k *kernel) connectPath(s *sock, to addr) uintptr {
	l, e := k.atPath(s, to.path)
	switch {
	case e != 0:
		return e
	case l.kind != s.kind:
		return ePROTOTYPE
	case s.kind == sockDGRAM:
		s.remote, s.state, s.peer = to, connected, l
		return 0
	case l.state != listening:
		return eCONNREFUSED
	case len(l.backlog) >= l.maxBacklog:
		return eAGAIN
	}
	peer := k.newSock(afUNIX, s.kind, l.home)
	peer.local, peer.remote, peer.bound = l.local, s.local, true
	s.remote = to
	k.join(s, peer, false)
	l.backlog = append(l.backlog, peer)
	k.wake(l, 'r')
	return 0
}

// sendPath sends a datagram to a Unix socket. The sender waits for room there.
func (k *kernel) sendPath(s, other *sock, p []byte) (int, uintptr) {
	switch {
	case s.err != 0:
		return 0, s.takeErr()
	case other.gone:
		return 0, eCONNREFUSED
	case other.kind != sockDGRAM:
		return 0, ePROTOTYPE
	}
	if len(p) > s.sndbuf {
		return 0, eMSGSIZE
	}
	if other.bytes > 0 && other.bytes+len(p) > other.rcvbuf || len(other.queue) >= maxQueue {
		for _, sender := range other.waiting {
			if sender == s {
				return 0, eAGAIN
			}
		}
		other.waiting = append(other.waiting, s)
		return 0, eAGAIN
	}
	k.push(other, dgram{p, s.local})
	return len(p), 0
}
