package kernel

// Unix sockets meet by their path. The file of a bound socket is a real one, so
// that a program finds and removes it.

const (
	sysMKNOD  = 133
	sysACCESS = 21
)

func (k *kernel) bindPath(s *sock, a addr) uintptr {
	if a.path == "" { // autobind
		k.links++
		a.path = "\x00sim-" + string(rune('a'+k.links%26)) + string(rune('a'+k.links/26%26)) + string(rune('a'+k.links/676%26))
	}
	if a.path[0] == 0 {
		if k.paths[a.path] != nil {
			return eADDRINUSE
		}
	} else if e := k.mknod(a.path); e != 0 {
		return e
	}
	s.local, s.bound, s.claimed = a, true, true
	k.paths[a.path] = s
	return 0
}

const eEXIST = 17

func (k *kernel) mknod(path string) uintptr {
	p := append([]byte(path), 0)
	_, e := k.host.Real(&Call{Trap: sysMKNOD, Args: [6]uintptr{addressOf(p), sIFSOCK | 0o755}})
	if e == eEXIST {
		return eADDRINUSE
	}
	return e
}

// atPath finds the socket with a path whose file is still there.
func (k *kernel) atPath(path string) (*sock, uintptr) {
	s := k.paths[path]
	if path == "" || path[0] == 0 {
		if s == nil {
			return nil, eCONNREFUSED
		}
		return s, 0
	}
	p := append([]byte(path), 0)
	if _, e := k.host.Real(&Call{Trap: sysACCESS, Args: [6]uintptr{addressOf(p), 0}}); e != 0 {
		return nil, e
	}
	if s == nil {
		return nil, eCONNREFUSED
	}
	return s, 0
}

func (k *kernel) connectPath(s *sock, to addr) uintptr {
	l, e := k.atPath(to.path)
	switch {
	case e != 0:
		return e
	case l.kind != s.kind:
		return ePROTOTYPE
	case s.kind == sockDGRAM:
		s.remote, s.state = to, connected
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

// sendPath sends a datagram to a Unix socket. A full socket gives ENOBUFS.
func (k *kernel) sendPath(s *sock, to addr, p []byte) (int, uintptr) {
	var other *sock
	if s.out != nil { // a socketpair
		other = s.out.to
		if other.gone {
			return 0, eCONNREFUSED
		}
	} else {
		var e uintptr
		if other, e = k.atPath(to.path); e != 0 {
			return 0, e
		}
		if other.kind != sockDGRAM {
			return 0, ePROTOTYPE
		}
	}
	if len(p) > bufferSize {
		return 0, eMSGSIZE
	}
	if other.bytes+len(p) > bufferSize {
		return 0, eNOBUFS
	}
	k.push(other, dgram{append([]byte(nil), p...), s.local})
	return len(p), 0
}
