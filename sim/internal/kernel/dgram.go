package kernel

// A dgram is a datagram at its receiver.
type dgram struct {
	data []byte
	from addr
}

// dgramFlow counts the datagrams from a socket to an address.
type dgramFlow struct {
	link uint64
	sent uint64
	last int64 // arrival of the last punctual datagram
}

// flowKey names a flow of a socket. A multicast address has one flow for each
// machine.
type flowKey struct {
	from, to addr
	m        *machine
}

const (
	maxDatagram = 65507 // the largest payload of UDP over IPv4
	maxQueue    = 4096  // datagrams
	maxFlows    = 4096  // of a socket; beyond, the counts begin again
	overhead    = 256   // bytes of a buffer for each datagram, beside the data
)

// sendDatagram sends p. From now on p belongs to the kernel.
func (k *kernel) sendDatagram(s *sock, to addr, p []byte) (int, uintptr) {
	if s.err != 0 {
		return 0, s.takeErr()
	}
	if len(p) > maxDatagram {
		return 0, eMSGSIZE
	}
	if s.flying > 0 && s.flying+len(p)+overhead > s.sndbuf || !k.autobind(s, s.anyIP()) {
		return 0, eAGAIN
	}
	to.ip = here(to.ip)
	from := s.local
	if isWild(from.ip) {
		from.ip = k.source(s.home, to.ip)
	}
	if isMulticast(to.ip) {
		for _, m := range k.hosts {
			k.datagram(s, dgram{p, from}, to, m)
		}
	} else {
		k.datagram(s, dgram{p, from}, to, k.machineOf(s.home, to.ip))
	}
	return len(p), 0
}

// flow is the flow of a socket to an address.
func (k *kernel) flow(s *sock, from, to addr, m *machine) *dgramFlow {
	key := flowKey{from, to, m}
	if f := s.flows[key]; f != nil {
		return f
	}
	if s.flows == nil || len(s.flows) >= maxFlows {
		s.flows = map[flowKey]*dgramFlow{}
	}
	k.links++
	f := &dgramFlow{link: uint64(k.links)}
	s.flows[key] = f
	return f
}

// datagram puts a datagram under way.
func (k *kernel) datagram(s *sock, d dgram, to addr, m *machine) {
	f := k.flow(s, d.from, to, m)
	f.sent++
	id := FaultID{f.link, f.sent, false}
	path := to
	if isMulticast(to.ip) {
		path.ip = m.ips[0]
	}
	w := k.way(d.from, path, id, path)
	if w.cut || k.hit(k.net.Loss, forLoss, id) && k.happens(id, FaultLoss, 0, d.from, path) {
		return
	}
	at := max(k.host.Now()+k.latency(w, id), f.last)
	f.last = at
	if k.hit(k.net.Delay, forDelay, id) {
		if late := k.length(k.net.MaxDelay, id); k.happens(id, FaultDelay, late, d.from, path) {
			at += late
		}
	}
	size := len(d.data) + overhead
	s.flying += size
	k.at(at, func(k *kernel) {
		s.flying -= size
		k.wake(s, 'w')
		k.datagramArrives(s, d, to, m)
	})
	if k.hit(k.net.Duplicate, forDuplicate, id) && k.happens(id, FaultDuplicate, 0, d.from, path) {
		k.at(at+k.length(max(k.net.MaxDelay, milli), id), func(k *kernel) { k.datagramArrives(s, d, to, m) })
	}
}

func (k *kernel) datagramArrives(sender *sock, d dgram, to addr, m *machine) {
	if m.off {
		return
	}
	if isMulticast(to.ip) {
		for _, s := range k.bound[portKey{false, to.port}] {
			if s.rank(m, d.from, to) > 0 {
				k.push(s, d)
			}
		}
		return
	}
	s := k.lookup(m, false, d.from, to)
	if s == nil {
		// Only a connected sender learns, after the latency.
		if sender.remote == to && k.answers(m, to.ip) {
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
	if s.bytes > 0 && s.bytes+len(d.data) > s.rcvbuf || len(s.queue) >= maxQueue {
		return
	}
	s.bytes += len(d.data)
	s.queue = append(s.queue, d)
	k.wake(s, 'r')
}

// receiveDatagram returns the first datagram of the queue, and removes the datagram
// unless the caller peeks.
func (k *kernel) receiveDatagram(s *sock, peek bool) (dgram, uintptr) {
	if s.err != 0 {
		return dgram{}, s.takeErr()
	}
	if len(s.queue) == 0 {
		if s.state == over {
			return dgram{}, 0
		}
		return dgram{}, eAGAIN
	}
	d := s.queue[0]
	if !peek {
		s.queue = s.queue[1:]
		s.bytes -= len(d.data)
		for _, sender := range s.waiting {
			k.wake(sender, 'w')
		}
		s.waiting = nil
	}
	return d, 0
}
