package kernel

// A dgram is a datagram that has arrived.
type dgram struct {
	data []byte
	from addr
}

// dgramFlow counts the datagrams from one address to another.
type dgramFlow struct {
	link uint64
	sent uint64
}

type flowKey struct{ from, to addr }

// maxDatagram is the largest payload of UDP over IPv4.
const maxDatagram = 65507

func (k *kernel) sendDatagram(s *sock, to addr, p []byte) (int, uintptr) {
	if s.err != 0 {
		return 0, s.takeErr()
	}
	if !s.inet() {
		return k.sendPath(s, to, p)
	}
	if len(p) > maxDatagram {
		return 0, eMSGSIZE
	}
	switch to.ip {
	case wild4:
		to.ip = loop4
	case wild6:
		to.ip = loop6
	}
	from := addr{ip: k.source(s.home, to.ip)}
	if !s.bound {
		k.autobind(s, addr{ip: wild4})
		s.local.ip = wild4
		if s.family == afINET6 {
			s.local.ip = wild6
		}
	}
	if !isWild(s.local.ip) {
		from.ip = s.local.ip
	}
	from.port = s.local.port
	if isMulticast(to.ip) {
		k.multicast(from, to, p)
		return len(p), 0
	}
	k.datagram(s, from, to, p, k.machineOf(s.home, to.ip))
	return len(p), 0
}

// datagram puts a datagram under way.
func (k *kernel) datagram(s *sock, from, to addr, p []byte, m *machine) {
	key := flowKey{from, to}
	f := k.flows[key]
	if f == nil {
		k.links++
		f = &dgramFlow{link: uint64(k.links)}
		k.flows[key] = f
	}
	f.sent++
	id := FaultID{f.link, f.sent, false}
	w := k.way(from, to, id, to)
	if w.cut || k.hit(k.net.Loss, forLoss, id) && k.happens(id, FaultLoss, 0, from, to) {
		return
	}
	at := k.host.Now() + k.latency(w, id)
	if k.hit(k.net.Delay, forDelay, id) {
		if d := k.length(k.net.MaxDelay, id); k.happens(id, FaultDelay, d, from, to) {
			at += d
		}
	}
	data := append([]byte(nil), p...)
	arrives := func(k *kernel) { k.datagramArrives(s, dgram{data, from}, to, m) }
	k.at(at, arrives)
	if k.hit(k.net.Duplicate, forDuplicate, id) && k.happens(id, FaultDuplicate, 0, from, to) {
		k.at(at+k.length(max(k.net.MaxDelay, milli), id), arrives)
	}
}

func (k *kernel) datagramArrives(sender *sock, d dgram, to addr, m *machine) {
	if m.off {
		return
	}
	s := k.lookup(m, false, to)
	if s == nil {
		// The sender learns only if it is connected, and after the latency.
		if sender.remote == to && !sender.gone && k.answers(m, to.ip) {
			k.at(k.host.Now()+k.net.LatencyMin, func(k *kernel) {
				sender.err = eCONNREFUSED
				k.wake(sender, 'r'+'w')
			})
		}
		return
	}
	k.push(s, d)
}

// push queues a datagram for a socket with room.
func (k *kernel) push(s *sock, d dgram) {
	if s.remote != (addr{}) && s.inet() && s.remote != d.from {
		return
	}
	if s.bytes+len(d.data) > bufferSize || len(s.queue) >= 4096 {
		return
	}
	s.bytes += len(d.data)
	s.queue = append(s.queue, d)
	k.wake(s, 'r')
}

// multicast sends to every socket with the port.
func (k *kernel) multicast(from, to addr, p []byte) {
	data := append([]byte(nil), p...)
	for _, m := range k.hosts {
		at := k.host.Now() + k.net.LatencyMax
		k.at(at, func(k *kernel) {
			for _, other := range k.bound[portKey{false, to.port}] {
				if other.home == m && !m.off && (isWild(other.local.ip) || other.local.ip == to.ip) {
					k.push(other, dgram{data, from})
				}
			}
		})
	}
}

// receiveDatagram returns a datagram's bytes, its sender and its full length.
func (k *kernel) receiveDatagram(s *sock, p []byte, peek bool) (int, addr, int, uintptr) {
	if s.err != 0 {
		return 0, addr{}, 0, s.takeErr()
	}
	if len(s.queue) == 0 {
		if s.readShut || s.state == over {
			return 0, addr{}, 0, 0
		}
		return 0, addr{}, 0, eAGAIN
	}
	d := s.queue[0]
	n := copy(p, d.data)
	if !peek {
		s.queue = s.queue[1:]
		s.bytes -= len(d.data)
	}
	return n, d.from, len(d.data), 0
}
