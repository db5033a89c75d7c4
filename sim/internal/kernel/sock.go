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
	files    []*file
	family   int
	kind     int // sockSTREAM or sockDGRAM
	home     *machine
	local    addr
	remote   addr
	bound    bool
	claimed  bool // in the tables of bound sockets
	autoIP   bool // the kernel has chosen the address, and
	autoPort bool // the port
	state    state
	err      uintptr // to be reported by the next call
	options  []option

	v6only, reusePort, reuseAddr, alive bool
	linger0                             bool // close resets the connection
	probing                             bool // keepalive probes are under way
	keepIdle, keepEvery, keepCount      int64
	userTimeout                         int64
	recvTime, sendTime                  int64 // of blocking calls, or 0 for no limit

	// Streams.
	in, out    *flow // nil unless connected
	readShut   bool
	writeShut  bool
	backlog    []*sock
	pending    int // handshakes under way; each needs room in the backlog
	maxBacklog int
	gone       bool  // all descriptors are closed
	acceptor   *sock // the listener during the handshake
	gen        int   // changes when a dial is over

	// Datagrams.
	queue   []dgram
	bytes   int // in the queue
	flying  int // bytes under way
	flows   map[flowKey]*dgramFlow
	waiting []*sock // Unix sockets waiting for room in the queue

	key            string // of a bound Unix socket
	peer           *sock  // of a connected Unix datagram socket
	sndbuf, rcvbuf int
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
	return s.kind == sockDGRAM && s.flying < s.sndbuf
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
	s := &sock{family: family, kind: kind, home: home, keepIdle: 7200 * second, keepEvery: 75 * second, keepCount: 9}
	s.sndbuf, s.rcvbuf = bufferSize, bufferSize
	if s.stream() { // shared by both ends
		s.sndbuf, s.rcvbuf = bufferSize/2, bufferSize/2
	}
	return s
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
	switch kind {
	case sockSTREAM:
		k.join(a, b, false)
	case sockDGRAM:
		a.peer, b.peer = b, a
		a.state, b.state = connected, connected
	default:
		c.fail(ePROTONOSUPP)
		return true
	}
	if !k.hand(c, a, c.Args[1]&sockNONBLOCK) {
		return true
	}
	first := c.R1
	if !k.hand(c, b, c.Args[1]&sockNONBLOCK) {
		k.closeFile(k.file(first))
		return true
	}
	*word32(c.Args[3]), *word32(c.Args[3] + 4) = uint32(first), uint32(c.R1)
	c.ok(0)
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
		s.local.port, s.autoPort = k.freePort(s), true
	}
	if s.local.port == 0 || k.taken(s) {
		s.local = addr{}
		return eADDRINUSE
	}
	k.claim(s)
	if !isWild(a.ip) && !isMulticast(a.ip) && !isLoopback(a.ip) && !s.home.owns(a.ip) {
		s.home.ips = append(s.home.ips, a.ip) // from now on the address answers
	}
	return 0
}

// freePort draws a port without a socket on the machine, or returns 0.
func (k *kernel) freePort(s *sock) uint16 {
	port := k.ports.next()
	for range portCount {
		if !k.portUsed(s, port) {
			return port
		}
		port = firstPort + (port-firstPort+1)%portCount
	}
	return 0
}

func (k *kernel) portUsed(s *sock, port uint16) bool {
	for _, other := range k.bound[portKey{s.stream(), port}] {
		if other.home == s.home {
			return true
		}
	}
	return false
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
		if k.paths[s.key] == s {
			delete(k.paths, s.key)
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

// autobind gives an unbound socket a port, or reports that no port is free.
func (k *kernel) autobind(s *sock, ip [16]byte) bool {
	if s.bound {
		return true
	}
	port := k.freePort(s)
	if port == 0 {
		return false
	}
	s.local, s.autoPort = addr{ip: ip, port: port}, true
	k.claim(s)
	return true
}

// anyIP is the wildcard address of the socket's family.
func (s *sock) anyIP() [16]byte {
	if s.family == afINET6 {
		return wild6
	}
	return wild4
}

func (k *kernel) listen(s *sock, backlog int) uintptr {
	if s.kind == sockDGRAM {
		return eOPNOTSUPP
	}
	if s.state != idle && s.state != listening {
		return eINVAL
	}
	if !s.bound && !s.inet() {
		return eINVAL
	}
	if !k.autobind(s, s.anyIP()) {
		return eADDRINUSE
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
	if !k.hand(c, peer, c.Args[3]&sockNONBLOCK) {
		return // the connection waits for a free descriptor
	}
	s.backlog = s.backlog[1:]
	writeAddr(peer.family, peer.remote, c.Args[1], c.Args[2])
}

// release frees a socket without descriptors.
func (k *kernel) release(s *sock) {
	s.gone = true
	s.gen++
	k.disclaim(s)
	for _, sender := range s.waiting {
		k.wake(sender, 'w')
	}
	s.waiting = nil
	switch {
	case s.state == listening:
		k.stopListening(s)
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

// stopListening resets the connections in the backlog.
func (k *kernel) stopListening(s *sock) {
	s.state = over
	for _, waiting := range s.backlog {
		waiting.gone = true
		k.sendReset(waiting)
	}
	s.backlog = nil
}

func (k *kernel) shutdown(s *sock, how uintptr) uintptr {
	if s.state == listening {
		if how != 1 {
			k.stopListening(s)
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
