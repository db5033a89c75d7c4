package kernel

// state of a socket.
type state int

const (
	idle state = iota
	listening
	connecting
	connected
	over // reset, or closed by the other end and by this one
)

// A sock is a socket. Several descriptors may share it.
type sock struct {
	files   []*file
	family  int
	kind    int // sockSTREAM or sockDGRAM
	home    *machine
	local   addr
	remote  addr
	bound   bool
	claimed bool // in the tables of bound sockets
	state   state
	err     uintptr // to be reported by the next call
	options []option

	v6only, reusePort, reuseAddr, alive bool
	linger0                             bool // close resets the connection
	forgotten                           bool // its machine lost power
	keepIdle, keepEvery, keepCount      int64
	userTimeout                         int64

	// Streams.
	in, out    *flow // nil unless connected
	readShut   bool
	writeShut  bool
	backlog    []*sock
	maxBacklog int
	gone       bool // all descriptors are closed
	acceptor   *sock
	gen        int // changes when a dial is over

	// Datagrams.
	queue []dgram
	bytes int
}

// option is a value that setsockopt has set and getsockopt returns.
type option struct {
	level, name uintptr
	value       uint32
}

func (s *sock) inet() bool   { return s.family != afUNIX }
func (s *sock) stream() bool { return s.kind != sockDGRAM }

// readable reports whether a read would not block.
func (s *sock) readable() bool {
	switch {
	case s.err != 0 || s.state == over:
		return true
	case s.state == listening:
		return len(s.backlog) > 0
	case s.in != nil:
		return s.in.avail > 0 || s.in.fin || s.readShut
	}
	return len(s.queue) > 0
}

// writable reports whether a write would not block.
func (s *sock) writable() bool {
	switch {
	case s.err != 0 || s.state == over:
		return true
	case s.out != nil:
		return s.out.room() > 0
	}
	return s.kind == sockDGRAM
}

// takeErr returns the socket's error and clears it.
func (s *sock) takeErr() uintptr {
	e := s.err
	s.err = 0
	return e
}

func (k *kernel) socket(c *Call) bool {
	family, kind := int(c.Args[0]), int(c.Args[1]&0xf)
	if family != afINET && family != afINET6 && family != afUNIX {
		return false // netlink, for instance
	}
	if kind != sockSTREAM && kind != sockDGRAM {
		c.fail(ePROTONOSUPP)
		return true
	}
	if proto := c.Args[2]; family != afUNIX && proto != 0 && (kind != sockSTREAM || proto != ipprotoTCP) && (kind != sockDGRAM || proto != ipprotoUDP) {
		c.fail(ePROTONOSUPP) // multipath TCP too
		return true
	}
	s := k.newSock(family, kind, k.home(c.Proc))
	k.hand(c, s, c.Args[1]&sockNONBLOCK)
	return true
}

func (k *kernel) newSock(family, kind int, home *machine) *sock {
	return &sock{family: family, kind: kind, home: home, keepIdle: 7200 * second, keepEvery: 75 * second, keepCount: 9}
}

// hand returns a new descriptor of s to the caller.
func (k *kernel) hand(c *Call, s *sock, flags uintptr) bool {
	fd, ok := k.open(s, flags)
	if !ok {
		c.fail(eMFILE)
		return false
	}
	c.ok(fd)
	return true
}

func (k *kernel) socketpair(c *Call) bool {
	if c.Args[0] != afUNIX {
		return false
	}
	kind := int(c.Args[1] & 0xf)
	a, b := k.newSock(afUNIX, kind, k.home(c.Proc)), k.newSock(afUNIX, kind, k.home(c.Proc))
	k.join(a, b, false)
	if k.hand(c, a, c.Args[1]&sockNONBLOCK) {
		*word32(c.Args[3]) = uint32(c.R1)
		if k.hand(c, b, c.Args[1]&sockNONBLOCK) {
			*word32(c.Args[3] + 4) = uint32(c.R1)
			c.ok(0)
		}
	}
	return true
}

// sockCall carries out calls that concern the state of the socket.
func (k *kernel) sockCall(c *Call, s *sock) bool {
	var e uintptr
	switch c.Trap {
	case sysBIND:
		e = k.bind(s, c.Args[1], c.Args[2])
	case sysLISTEN:
		e = k.listen(s, int(int32(c.Args[1])))
	case sysCONNECT:
		e = k.connect(s, c.Args[1], c.Args[2])
	case sysACCEPT4:
		k.accept(c, s)
		return true
	case sysSHUTDOWN:
		e = k.shutdown(s, c.Args[1])
	case sysGETSOCKNAME:
		writeAddr(s.family, s.local, c.Args[1], c.Args[2])
	case sysGETPEERNAME:
		if s.remote == (addr{}) && (s.inet() || s.state != connected) || s.stream() && s.state == connecting {
			e = eNOTCONN
			break
		}
		writeAddr(s.family, s.remote, c.Args[1], c.Args[2])
	case sysSETSOCKOPT:
		e = k.setOption(s, c)
	case sysGETSOCKOPT:
		e = k.getOption(s, c)
	default:
		return false
	}
	c.ok(0)
	if e != 0 {
		c.fail(e)
	}
	return true
}

func (k *kernel) bind(s *sock, p, n uintptr) uintptr {
	a, e := readAddr(s.family, p, n)
	switch {
	case e != 0:
		return e
	case s.bound:
		return eINVAL
	case !s.inet():
		return k.bindPath(s, a)
	}
	if s.family == afINET6 && s.v6only && is4(a.ip) {
		return eINVAL
	}
	if !isWild(a.ip) && !isMulticast(a.ip) && !isLoopback(a.ip) && k.machineOf(s.home, a.ip) != s.home {
		return eADDRNOTAVAIL
	}
	s.local = a
	if a.port == 0 {
		s.local.port = k.freePort(s)
	} else if k.taken(s) {
		s.local = addr{}
		return eADDRINUSE
	}
	k.claim(s)
	if !isWild(a.ip) && !isMulticast(a.ip) && !isLoopback(a.ip) && !s.home.owns(a.ip) {
		s.home.ips = append(s.home.ips, a.ip) // from now on the address answers
	}
	return 0
}

// freePort draws a port that no socket has.
func (k *kernel) freePort(s *sock) uint16 {
	for {
		port := k.ports.next()
		if len(k.bound[portKey{s.stream(), port}]) == 0 {
			return port
		}
	}
}

// taken reports whether another socket has the address of s.
func (k *kernel) taken(s *sock) bool {
	for _, other := range k.bound[portKey{s.stream(), s.local.port}] {
		switch {
		case other == s || !overlap(s, other):
		case s.reusePort && other.reusePort:
		case s.reuseAddr && other.reuseAddr && (!s.stream() || other.state != listening):
		default:
			return true
		}
	}
	return false
}

func (k *kernel) claim(s *sock) {
	s.bound, s.claimed = true, true
	key := portKey{s.stream(), s.local.port}
	k.bound[key] = append(k.bound[key], s)
}

// disclaim takes a socket out of the tables.
func (k *kernel) disclaim(s *sock) {
	if !s.claimed {
		return
	}
	s.claimed = false
	if !s.inet() {
		if k.paths[s.local.path] == s {
			delete(k.paths, s.local.path)
		}
		return
	}
	key := portKey{s.stream(), s.local.port}
	list := k.bound[key]
	for i, other := range list {
		if other == s {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(k.bound, key)
	} else {
		k.bound[key] = list
	}
}

// autobind gives an unbound socket an address to reach the address to.
func (k *kernel) autobind(s *sock, to addr) {
	if s.bound && !isWild(s.local.ip) {
		return
	}
	s.local.ip = k.source(s.home, to.ip)
	if !s.bound {
		s.local.port = k.freePort(s)
		k.claim(s)
	}
}

// claimed sockets keep their address until the last descriptor is closed.
func (k *kernel) listen(s *sock, backlog int) uintptr {
	if s.kind == sockDGRAM {
		return eOPNOTSUPP
	}
	if s.state != idle && s.state != listening {
		return eINVAL
	}
	if !s.bound {
		if !s.inet() {
			return eINVAL
		}
		s.local.ip = wild4
		if s.family == afINET6 {
			s.local.ip = wild6
		}
		s.local.port = k.freePort(s)
		k.claim(s)
	}
	if s.inet() {
		for _, other := range k.bound[portKey{true, s.local.port}] {
			if other != s && other.state == listening && overlap(s, other) && !(s.reusePort && other.reusePort) {
				return eADDRINUSE
			}
		}
	}
	if backlog <= 0 || backlog > 4096 {
		backlog = 4096
	}
	s.state, s.maxBacklog = listening, backlog
	return 0
}

func (k *kernel) accept(c *Call, s *sock) {
	if s.state != listening {
		c.fail(eINVAL)
		return
	}
	if len(s.backlog) == 0 {
		c.fail(eAGAIN)
		return
	}
	peer := s.backlog[0]
	s.backlog = s.backlog[1:]
	peer.acceptor = nil
	if !k.hand(c, peer, c.Args[3]&sockNONBLOCK) {
		k.reset(peer, eCONNRESET)
		return
	}
	writeAddr(peer.family, peer.remote, c.Args[1], c.Args[2])
}

// release frees a socket without descriptors.
func (k *kernel) release(s *sock) {
	s.gone = true
	s.gen++
	k.disclaim(s)
	switch {
	case s.state == listening:
		for _, waiting := range s.backlog {
			k.reset(waiting, 0)
			k.release(waiting)
		}
		s.backlog, s.state = nil, over
	case s.state == connected && s.out != nil:
		if s.in.avail > 0 || s.linger0 {
			k.sendReset(s)
			return
		}
		k.finish(s)
	default:
		s.state = over
	}
}

func (k *kernel) shutdown(s *sock, how uintptr) uintptr {
	if s.state == listening {
		if how != 1 {
			s.state, s.err = over, 0
			k.disclaim(s)
			k.wake(s, 'r'+'w')
		}
		return 0
	}
	if s.state != connected || s.out == nil {
		return eNOTCONN
	}
	if how == 0 || how == 2 {
		s.readShut = true
		k.wake(s, 'r')
	}
	if how == 1 || how == 2 {
		k.finish(s)
		k.wake(s, 'w')
	}
	return 0
}
