package kernel

// Times of TCP, as in Linux.
const (
	firstRetry   = 200 * milli  // retransmission timeout
	longestRetry = 120 * second // after doubling
	giveUpSend   = 924 * second // tcp_retries2
	firstSyn     = second       // doubles
	synTries     = 7            // tcp_syn_retries, after which a dial has timed out: 127 s
	synAckTries  = 6            // tcp_synack_retries, after which a server forgets a client: 63 s
)

// A flow is one direction of a connection. Bytes stay in order. The first avail
// bytes have arrived, and the rest is under way in segments.
type flow struct {
	from, to *sock
	link     uint64
	back     bool
	server   addr
	buf      []byte
	head     int
	avail    int
	segs     []segment
	sent     uint64 // segments so far
	last     int64  // arrival of the last segment
	free     int64  // when the line is free, with limited bandwidth
	fin      bool   // the end has arrived
	since    int64  // first retransmission of the first segment, or 0
	wanted   bool   // the sender waits for room
}

// A segment is the bytes of one write.
type segment struct {
	n     int
	at    int64 // arrival
	fin   bool
	reset bool
	tries int
}

func (f *flow) room() int { return f.from.sndbuf + f.to.rcvbuf - (len(f.buf) - f.head) }

// take moves arrived bytes into p.
func (f *flow) take(p []byte, peek bool) int {
	n := copy(p[:min(len(p), f.avail)], f.buf[f.head:])
	if peek {
		return n
	}
	f.head += n
	f.avail -= n
	if f.head == len(f.buf) {
		f.buf, f.head = f.buf[:0], 0
	} else if f.head > bufferSize {
		f.buf = f.buf[:copy(f.buf, f.buf[f.head:])]
		f.head = 0
	}
	return n
}

// join makes two sockets the ends of a connection.
func (k *kernel) join(client, server *sock, network bool) {
	link := uint64(0)
	if network {
		k.links++
		link = uint64(k.links)
	}
	client.out = &flow{from: client, to: server, link: link, server: server.local}
	server.out = &flow{from: server, to: client, link: link, back: true, server: server.local}
	client.in, server.in = server.out, client.out
	client.state, server.state = connected, connected
	if network {
		k.streams = append(k.streams, client, server)
	}
}

func (k *kernel) connect(s *sock, p, n uintptr) uintptr {
	if s.kind == sockDGRAM && n >= 2 && p != 0 && bytesAt(p, 2)[0] == 0 {
		k.disconnect(s) // AF_UNSPEC
		return 0
	}
	to, e := readAddr(s.family, p, n)
	if e != 0 {
		return e
	}
	switch s.state {
	case connecting:
		return eALREADY
	case connected:
		if s.stream() {
			return eISCONN
		}
	case listening:
		return eISCONN
	case over:
		if e := s.takeErr(); e != 0 {
			return e
		}
		return eCONNREFUSED
	}
	if !s.inet() {
		return k.connectPath(s, to)
	}
	to.ip = here(to.ip)
	if s.family == afINET6 && s.v6only && is4(to.ip) {
		return eNETUNREACH
	}
	if !k.autobind(s, s.anyIP()) {
		return eADDRNOTAVAIL
	}
	if isWild(s.local.ip) {
		s.local.ip, s.autoIP = k.source(s.home, to.ip), true
	}
	s.remote = to
	if s.kind == sockDGRAM {
		return 0
	}
	s.state = connecting
	k.links++
	k.syn(s, uint64(k.links), 0)
	return eINPROGRESS
}

// disconnect ends the association of a datagram socket, and takes back the address
// of the kernel's choice.
func (k *kernel) disconnect(s *sock) {
	s.remote, s.peer, s.state = addr{}, nil, idle
	if !s.inet() {
		return
	}
	if s.autoIP {
		s.local.ip = s.anyIP()
	}
	if s.autoPort {
		k.disclaim(s)
		s.bound, s.local.port = false, 0
	}
}

// here is the meaning of a wildcard address in a destination.
func here(ip [16]byte) [16]byte {
	switch ip {
	case wild4:
		return loop4
	case wild6:
		return loop6
	}
	return ip
}

// syn sends the first packet of a handshake, for the n'th time.
func (k *kernel) syn(s *sock, link uint64, n int) {
	id := FaultID{link, uint64(n), false}
	w := k.way(s.local, s.remote, id, s.remote)
	gen := s.gen
	now := k.host.Now()
	k.at(now+int64(firstSyn)<<n, func(k *kernel) { // unless answered
		switch {
		case s.gone || s.gen != gen || s.state != connecting:
		case n+1 == synTries:
			k.refuse(s, eTIMEDOUT)
		default:
			k.syn(s, link, n+1)
		}
	})
	if !w.cut {
		k.at(now+k.latency(w, id), func(k *kernel) { k.synArrives(s, gen, link, n) })
	}
}

func (k *kernel) refuse(s *sock, e uintptr) {
	s.state, s.err = over, e
	s.gen++
	k.wake(s, 'r'+'w')
}

// synArrives makes the server's end of a connection.
func (k *kernel) synArrives(s *sock, gen int, link uint64, n int) {
	if s.gone || s.gen != gen || s.state != connecting {
		return
	}
	id := FaultID{link, uint64(n), true}
	w := k.way(s.remote, s.local, id, s.remote)
	if w.cut {
		return
	}
	back := k.host.Now() + k.latency(w, id)
	m := k.machineOf(s.home, s.remote.ip)
	if m.off {
		return
	}
	l := k.lookup(m, true, s.local, s.remote)
	if l == nil {
		if k.answers(m, s.remote.ip) {
			k.at(back, func(k *kernel) {
				if s.gen == gen && s.state == connecting {
					k.refuse(s, eCONNREFUSED)
				}
			})
		}
		return
	}
	if len(l.backlog)+l.pending >= l.maxBacklog {
		return // the client tries again
	}
	l.pending++
	k.at(back, func(k *kernel) { k.established(s, gen, link, l) })
}

// answers reports whether there is a machine at an address. Addresses that
// nobody has used are dark, and a dial there times out.
func (k *kernel) answers(m *machine, ip [16]byte) bool {
	return isLoopback(ip) || m.owns(ip)
}

// established completes a handshake at the client.
func (k *kernel) established(s *sock, gen int, link uint64, l *sock) {
	if s.gone || s.gen != gen || s.state != connecting {
		l.pending--
		return
	}
	peer := k.newSock(l.family, sockSTREAM, l.home)
	peer.local, peer.remote, peer.bound = s.remote, s.local, true
	peer.options = append([]option(nil), l.options...)
	peer.alive, peer.v6only, peer.sndbuf, peer.rcvbuf = l.alive, l.v6only, l.sndbuf, l.rcvbuf
	peer.keepIdle, peer.keepEvery, peer.keepCount = l.keepIdle, l.keepEvery, l.keepCount
	k.join(s, peer, false)
	s.out.link, peer.out.link = link, link
	s.out.sent, peer.out.sent = synTries, synTries
	k.streams = append(k.streams, s, peer)
	k.wake(s, 'w')
	id := FaultID{link, synTries - 1, false}
	w := k.way(s.local, s.remote, id, s.remote)
	peer.acceptor = l
	arrives := k.host.Now() + k.latency(w, id)
	if l.home == s.home {
		arrives = k.host.Now() // both ends learn at once
	}
	s.out.last = arrives
	k.at(arrives, func(k *kernel) { k.acknowledged(peer, 0) })
}

// acknowledged completes a handshake at the server. Over a cut path the server
// answers the client again and again, and forgets the client in the end.
func (k *kernel) acknowledged(peer *sock, n int) {
	client := peer.out.to
	switch {
	case peer.acceptor == nil: // by the first bytes of the client
	case !k.way(client.local, peer.local, FaultID{peer.out.link, synTries - 1, false}, peer.local).cut || peer.state == over:
		k.enqueue(peer)
	case n == synAckTries:
		peer.acceptor.pending--
		peer.acceptor, peer.gone, peer.state = nil, true, over
		k.forget(peer)
	default:
		k.at(k.host.Now()+int64(firstSyn)<<n, func(k *kernel) { k.acknowledged(peer, n+1) })
	}
}

// enqueue adds a connection to the backlog of its listener.
func (k *kernel) enqueue(peer *sock) {
	l := peer.acceptor
	if l == nil {
		return
	}
	peer.acceptor = nil
	l.pending--
	if l.state != listening || peer.state == over {
		peer.gone = true
		k.sendReset(peer)
		return
	}
	l.backlog = append(l.backlog, peer)
	k.wake(l, 'r')
}

// send puts bytes under way, and reports how many.
func (k *kernel) send(s *sock, p []byte) (int, uintptr) {
	switch {
	case s.err != 0:
		return 0, s.takeErr()
	case s.state != connected || s.out == nil:
		if s.state == over {
			return 0, ePIPE
		}
		return 0, eNOTCONN
	case s.writeShut, s.out.link == 0 && s.out.to.gone:
		return 0, ePIPE
	}
	f := s.out
	n := max(min(len(p), f.room()), 0)
	f.wanted = n < len(p)
	if n == 0 && len(p) > 0 {
		return 0, eAGAIN
	}
	if n > 0 {
		f.buf = append(f.buf, p[:n]...)
		k.transmit(f, segment{n: n})
	}
	return n, 0
}

// finish ends the sending direction of a connection.
func (k *kernel) finish(s *sock) {
	if !s.writeShut {
		s.writeShut = true
		k.transmit(s.out, segment{fin: true})
	}
}

// transmit decides when a segment arrives.
func (k *kernel) transmit(f *flow, seg segment) {
	now := k.host.Now()
	f.sent++
	if f.link != 0 {
		id := FaultID{f.link, f.sent, f.back}
		from, to := f.from.local, f.to.local
		w := k.way(from, to, id, f.server)
		at := now
		if w.bandwidth > 0 {
			f.free = max(f.free, now) + int64(seg.n)*second/w.bandwidth
			at = f.free
		}
		at += k.latency(w, id)
		switch {
		case k.hit(k.net.Reset, forReset, id) && k.happens(id, FaultReset, 0, from, to):
			seg.reset = true
		case k.hit(k.net.Stall, forStall, id):
			if d := k.length(k.net.MaxStall, id); k.happens(id, FaultStall, d, from, to) {
				at += d
			}
		case k.hit(k.net.Delay, forDelay, id):
			if d := k.length(k.net.MaxDelay, id); k.happens(id, FaultDelay, d, from, to) {
				at += d
			}
		}
		seg.at = max(at, f.last)
	} else {
		seg.at = max(now+5*micro, f.last) // a Unix socket
	}
	f.last = seg.at
	f.segs = append(f.segs, seg)
	if len(f.segs) == 1 {
		k.at(seg.at, func(k *kernel) { k.arrive(f) })
	}
}

// arrive delivers the due segments.
func (k *kernel) arrive(f *flow) {
	now := k.host.Now()
	for len(f.segs) > 0 {
		seg := &f.segs[0]
		if seg.at > now {
			k.at(seg.at, func(k *kernel) { k.arrive(f) })
			return
		}
		if f.link != 0 && k.blocked(f, seg) {
			return
		}
		f.since = 0
		done := *seg
		f.segs = f.segs[1:]
		k.deliver(f, done)
	}
	f.segs = nil
}

// passes reports whether packets get through in the direction of a flow.
func (k *kernel) passes(f *flow) bool {
	id := FaultID{f.link, f.sent, f.back}
	return !f.to.home.off && !f.from.home.off && !k.way(f.from.local, f.to.local, id, f.server).cut
}

// reaches reports whether an end of a connection gets answers.
func (k *kernel) reaches(s *sock) bool { return k.passes(s.out) && k.passes(s.in) }

// blocked handles a segment on a cut path. The sender's kernel tries again, less and
// less often, and gives up in the end. A segment for a forgotten connection needs
// the way back for the reset.
func (k *kernel) blocked(f *flow, seg *segment) bool {
	now := k.host.Now()
	if k.passes(f) && (f.to.state == connected && !f.to.gone || k.passes(f.to.out)) {
		return false
	}
	if f.from.state != connected {
		f.segs = nil // nobody sends again
		return true
	}
	if f.since == 0 {
		f.since = now
	}
	limit := int64(giveUpSend)
	if f.from.userTimeout > 0 {
		limit = f.from.userTimeout
	}
	if now-f.since >= limit {
		k.reset(f.from, eTIMEDOUT)
		f.segs = nil
		return true
	}
	retry := int64(longestRetry)
	if seg.tries < 10 {
		retry = min(int64(firstRetry)<<seg.tries, longestRetry)
	}
	seg.tries++
	seg.at = now + min(retry, max(f.since+limit-now, milli))
	k.at(seg.at, func(k *kernel) { k.arrive(f) })
	return true
}

func (k *kernel) deliver(f *flow, seg segment) {
	to := f.to
	switch {
	case seg.reset:
		k.reset(f.from, eCONNRESET)
		k.reset(to, eCONNRESET)
	case to.state == over: // the other end has forgotten the connection
		k.discard(f, seg.n)
		k.answerReset(f)
	case seg.fin:
		k.enqueue(to)
		f.fin = true
		k.wake(to, 'r')
		k.settle(f.from)
		k.settle(to)
	case to.gone:
		k.discard(f, seg.n)
		k.sendReset(to) // nobody will read the bytes
	default:
		k.enqueue(to)
		f.avail += seg.n
		k.wake(to, 'r')
	}
}

// discard forgets the first n bytes under way.
func (k *kernel) discard(f *flow, n int) {
	i := f.head + f.avail
	f.buf = append(f.buf[:i], f.buf[min(i+n, len(f.buf)):]...)
	k.grown(f)
}

// grown tells the waiting sender about room in the buffer.
func (k *kernel) grown(f *flow) {
	if f.wanted && f.room() > 0 {
		f.wanted = false
		k.wake(f.from, 'w')
	}
}

// settle forgets a connection whose two directions have ended and whose ends are
// closed.
func (k *kernel) settle(s *sock) {
	if s.gone && s.in.fin && s.out.fin && s.state == connected {
		s.state = over
		k.forget(s)
	}
}

func (k *kernel) forget(s *sock) {
	for i, other := range k.streams {
		if other == s {
			k.streams = append(k.streams[:i], k.streams[i+1:]...)
			return
		}
	}
}

// sendReset ends a connection at once, and the other end after the latency.
func (k *kernel) sendReset(s *sock) {
	k.reset(s, eCONNRESET)
	k.answerReset(s.in)
}

// answerReset sends a reset to the sender of a flow. If the reset is lost, the
// sender learns from its own retransmissions.
func (k *kernel) answerReset(f *flow) {
	peer, back := f.from, f.to.out
	if back.link == 0 {
		k.reset(peer, eCONNRESET)
		return
	}
	back.sent++
	id := FaultID{back.link, back.sent, back.back}
	if k.passes(back) {
		w := k.way(f.to.local, peer.local, id, back.server)
		k.at(max(k.host.Now()+k.latency(w, id), back.last), func(k *kernel) { k.reset(peer, eCONNRESET) })
	}
}

// watch starts the keepalive probes of a connection whose path is cut.
func (k *kernel) watch(s *sock) {
	if s.alive && !s.probing && s.state == connected && s.out.link != 0 {
		s.probing = true
		k.at(k.host.Now()+s.keepIdle, func(k *kernel) { k.probe(s, 1) })
	}
}

// probe sends the n'th keepalive probe. A connection with bytes under way waits
// for its retransmissions instead.
func (k *kernel) probe(s *sock, n int64) {
	switch {
	case s.state == connected && !k.reaches(s):
		if len(s.out.segs) > 0 {
			n = 0
		}
		if n > s.keepCount {
			k.reset(s, eTIMEDOUT)
		} else {
			k.at(k.host.Now()+max(s.keepEvery, milli), func(k *kernel) { k.probe(s, n+1) })
			return
		}
	case s.state == connected && s.out.to.state != connected:
		k.reset(s, eCONNRESET)
	}
	s.probing = false
}

// reset ends one end of a connection.
func (k *kernel) reset(s *sock, e uintptr) {
	if s.state != connected {
		return
	}
	switch {
	case s.in.fin && s.writeShut:
		e = 0 // closed in good order before
	case s.in.fin && e == eCONNRESET:
		e = ePIPE // the other end had finished, as in Linux
	}
	s.state, s.err = over, e
	k.forget(s)
	k.wake(s, 'r'+'w')
}

// receive reads arrived bytes.
func (k *kernel) receive(s *sock, p []byte, peek bool) (int, uintptr) {
	if s.in == nil {
		switch {
		case s.err != 0:
			return 0, s.takeErr()
		case s.state == over:
			return 0, 0
		}
		return 0, eNOTCONN
	}
	f := s.in
	switch {
	case len(p) == 0:
		return 0, 0
	case f.avail > 0:
		n := f.take(p, peek)
		k.grown(f)
		return n, 0
	case f.fin:
		return 0, 0
	case s.err != 0:
		return 0, s.takeErr()
	case s.readShut || s.state == over:
		return 0, 0
	}
	return 0, eAGAIN
}
