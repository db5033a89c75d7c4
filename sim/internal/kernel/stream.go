package kernel

// Times of TCP, as in Linux.
const (
	firstRetry   = 200 * milli  // retransmission timeout
	longestRetry = 120 * second // after doubling
	giveUpSend   = 924 * second // tcp_retries2
	firstSyn     = second       // doubles
	synTries     = 7            // tcp_syn_retries, after which a dial has timed out: 127 s
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
}

// A segment is the bytes of one write.
type segment struct {
	n     int
	at    int64 // arrival
	fin   bool
	reset bool
	tries int
}

func (f *flow) room() int { return bufferSize - (len(f.buf) - f.head) }

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
		s.remote = addr{} // AF_UNSPEC ends the association
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
	switch to.ip {
	case wild4:
		to.ip = loop4
	case wild6:
		to.ip = loop6
	}
	if s.family == afINET6 && s.v6only && is4(to.ip) {
		return eNETUNREACH
	}
	k.autobind(s, to)
	s.remote = to
	if s.kind == sockDGRAM {
		return 0
	}
	s.state = connecting
	k.links++
	k.syn(s, uint64(k.links), 0)
	return eINPROGRESS
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
	l := k.lookup(m, true, s.remote)
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
	if len(l.backlog) >= l.maxBacklog {
		return // the client tries again
	}
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
		return
	}
	if l.state != listening || len(l.backlog) >= l.maxBacklog {
		k.refuse(s, eCONNREFUSED)
		return
	}
	peer := k.newSock(l.family, sockSTREAM, l.home)
	peer.local, peer.remote, peer.bound = s.remote, s.local, true
	peer.options = append([]option(nil), l.options...)
	peer.alive, peer.v6only = l.alive, l.v6only
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
	k.at(arrives, func(k *kernel) {
		if l.state != listening {
			k.reset(peer, 0)
			k.release(peer)
			return
		}
		l.backlog = append(l.backlog, peer)
		k.wake(l, 'r')
	})
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
	case s.writeShut:
		return 0, ePIPE
	}
	f := s.out
	n := min(len(p), f.room())
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

// arrive delivers the segments that are due.
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

// blocked handles a segment on a path that is cut: the sender's kernel tries
// again, less and less often, and gives up in the end.
func (k *kernel) blocked(f *flow, seg *segment) bool {
	now := k.host.Now()
	id := FaultID{f.link, f.sent, f.back}
	if !f.to.home.off && !f.from.home.off && !k.way(f.from.local, f.to.local, id, f.server).cut {
		return false
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
	case to.in != f || to.state == over:
		f.drop(seg.n)
		if to.forgotten { // by a machine that has started again
			k.reset(f.from, eCONNRESET)
		}
	case seg.fin:
		f.fin = true
		k.wake(to, 'r')
		k.settle(f.from)
		k.settle(to)
	case to.gone || to.readShut && to.writeShut && to.gone:
		f.drop(seg.n)
		k.sendReset(to) // nobody reads what has come
	default:
		f.avail += seg.n
		k.wake(to, 'r')
	}
}

func (f *flow) drop(n int) {
	if f.head+f.avail+n <= len(f.buf) {
		f.head += n
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
	f := s.out
	peer := f.to
	k.reset(s, eCONNRESET)
	if f.link == 0 {
		k.reset(peer, eCONNRESET)
		return
	}
	f.sent++
	id := FaultID{f.link, f.sent, f.back}
	w := k.way(s.local, peer.local, id, f.server)
	if w.cut || peer.home.off {
		return // the other end learns from its own retransmissions
	}
	k.at(max(k.host.Now()+k.latency(w, id), f.last), func(k *kernel) { k.reset(peer, eCONNRESET) })
}

// reset ends one end of a connection.
func (k *kernel) reset(s *sock, e uintptr) {
	if s.state != connected {
		return
	}
	if s.in != nil && s.in.fin && s.writeShut {
		e = 0 // closed in good order before
	}
	s.state, s.err = over, e
	s.out.segs = nil
	k.forget(s)
	k.wake(s, 'r'+'w')
}

// receive reads bytes that have arrived.
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
		full := f.room() <= 0
		n := f.take(p, peek)
		if full && !peek {
			k.wake(f.from, 'w')
		}
		return n, 0
	case s.err != 0:
		return 0, s.takeErr()
	case f.fin || s.readShut || s.state == over:
		return 0, 0
	}
	return 0, eAGAIN
}
