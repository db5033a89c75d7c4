package kernel

import "unsafe"

// An addr is the address of a socket. IPv4 addresses are mapped into IPv6. A
// Unix socket has a path and no ip.
type addr struct {
	ip   [16]byte
	port uint16
	path string
}

// portKey names a port of a protocol.
type portKey struct {
	stream bool
	port   uint16
}

func ip4(b []byte) (ip [16]byte) {
	ip[10], ip[11] = 0xff, 0xff
	copy(ip[12:], b[:4])
	return ip
}

var (
	wild4 = ip4([]byte{0, 0, 0, 0})
	wild6 [16]byte
	loop4 = ip4([]byte{127, 0, 0, 1})
	loop6 = [16]byte{15: 1}
)

func is4(ip [16]byte) bool {
	for _, b := range ip[:10] {
		if b != 0 {
			return false
		}
	}
	return ip[10] == 0xff && ip[11] == 0xff
}

func isWild(ip [16]byte) bool     { return ip == wild4 || ip == wild6 }
func isLoopback(ip [16]byte) bool { return ip == loop6 || is4(ip) && ip[12] == 127 }

// isMulticast reports a multicast or a broadcast address.
func isMulticast(ip [16]byte) bool {
	if is4(ip) {
		return ip[12]&0xf0 == 0xe0 || ip[12] == 255 && ip[15] == 255
	}
	return ip[0] == 0xff
}

// readAddr decodes the address of a call.
func readAddr(family int, p, n uintptr) (addr, uintptr) {
	var a addr
	if n < 2 || p == 0 {
		return a, eINVAL
	}
	b := bytesAt(p, n)
	if got := int(*(*uint16)(unsafe.Pointer(&b[0]))); got != family {
		return a, eAFNOSUPP
	}
	switch family {
	case afUNIX:
		path := b[2:]
		if len(path) > 0 && path[0] != 0 {
			for i, c := range path {
				if c == 0 {
					path = path[:i]
					break
				}
			}
		}
		a.path = string(path)
		return a, 0
	case afINET:
		if n < 8 {
			return a, eINVAL
		}
		a.ip = ip4(b[4:8])
	case afINET6:
		if n < 24 {
			return a, eINVAL
		}
		copy(a.ip[:], b[8:24])
	}
	a.port = uint16(b[2])<<8 | uint16(b[3])
	return a, 0
}

// writeAddr encodes an address for the caller, in the room of *pn bytes at p.
func writeAddr(family int, a addr, p, pn uintptr) {
	if p == 0 || pn == 0 {
		return
	}
	var raw [128]byte
	n := encodeAddr(family, a, &raw)
	room := *word32(pn)
	copy(bytesAt(p, uintptr(min(room, n))), raw[:n])
	*word32(pn) = n
}

func encodeAddr(family int, a addr, raw *[128]byte) uint32 {
	raw[0] = byte(family)
	switch family {
	case afUNIX:
		if a.path == "" {
			return 2
		}
		n := copy(raw[2:110], a.path)
		if a.path[0] != 0 {
			n++ // the zero at the end
		}
		return uint32(2 + n)
	case afINET:
		raw[2], raw[3] = byte(a.port>>8), byte(a.port)
		copy(raw[4:8], a.ip[12:])
		return 16
	}
	raw[2], raw[3] = byte(a.port>>8), byte(a.port)
	copy(raw[8:24], a.ip[:])
	return 28
}

// A machine is a host of the world's network with addresses of its own. The
// first machine has every address that no other machine has.
type machine struct {
	proc uint64
	ips  [][16]byte
	off  bool // without power: nothing arrives and nothing answers
}

// machineOf is the machine that a packet from one machine to ip reaches, or nil
// if nobody has the address.
func (k *kernel) machineOf(from *machine, ip [16]byte) *machine {
	if isLoopback(ip) || isWild(ip) {
		return from
	}
	for _, m := range k.hosts[1:] {
		if m.owns(ip) {
			return m
		}
	}
	return k.hosts[0]
}

func (m *machine) owns(ip [16]byte) bool {
	for _, own := range m.ips {
		if own == ip {
			return true
		}
	}
	return false
}

// home is the machine of a process.
func (k *kernel) home(proc uint64) *machine {
	for _, m := range k.hosts {
		if m.proc == proc {
			return m
		}
	}
	return k.hosts[0]
}

// source is the address from which a machine reaches ip.
func (k *kernel) source(m *machine, ip [16]byte) [16]byte {
	switch {
	case ip == loop6:
		return loop6
	case isLoopback(ip):
		return loop4
	case k.machineOf(m, ip) == m:
		return ip
	}
	for _, own := range m.ips {
		if is4(own) == is4(ip) {
			return own
		}
	}
	if is4(ip) {
		return defaultIP
	}
	return loop6
}

// defaultIP is the address of the first machine.
var defaultIP = ip4([]byte{10, 0, 0, 1})

// overlap reports whether two sockets cannot both have a port.
func overlap(a, b *sock) bool {
	if a.home != b.home {
		return false
	}
	x, y := a.local.ip, b.local.ip
	if x == y {
		return true
	}
	return a.covers(y) || b.covers(x)
}

// covers reports whether a socket is bound to a wildcard address for ip.
func (s *sock) covers(ip [16]byte) bool {
	return s.local.ip == wild4 && is4(ip) || s.local.ip == wild6 && (!is4(ip) || !s.v6only)
}

// lookup finds the socket for a packet to an address of a machine. An exact
// address takes precedence over a wildcard, and a connected datagram socket over
// one that takes datagrams from everybody. Sockets of one rank share the port, and
// the sender's address decides among them.
func (k *kernel) lookup(m *machine, stream bool, from, to addr) *sock {
	var found *sock
	best, equal := 0, uint64(0)
	for _, s := range k.bound[portKey{stream, to.port}] {
		rank := s.rank(m, from, to)
		if rank == 0 || rank < best {
			continue
		}
		if rank > best {
			best, equal = rank, 0
		}
		equal++
		if equal == 1 || mix(k.ports.seed+uint64(from.port)<<16+equal)%equal == 0 {
			found = s
		}
	}
	return found
}

// rank tells how well a socket fits a packet. 0 means not at all.
func (s *sock) rank(m *machine, from, to addr) int {
	rank := 1
	switch {
	case s.home != m || s.stream() && s.state != listening:
		return 0
	case s.local.ip == to.ip:
		rank = 2
	case !s.covers(to.ip):
		return 0
	}
	if !s.stream() && s.remote != (addr{}) {
		if s.remote != from {
			return 0
		}
		rank += 2
	}
	return rank
}

// Ports of the kernel's choice.
const (
	firstPort = 20000
	portCount = 12000
)

// portDraw draws ports from the seed. A port comes again only after half of the
// ports were drawn.
type portDraw struct {
	seed  uint64
	drawn uint64
	used  []bool
	count int
}

func (d *portDraw) next() uint16 {
	if d.used == nil || d.count >= portCount/2 {
		d.used, d.count = make([]bool, portCount), 0
	}
	for {
		d.drawn++
		i := mix(d.seed+d.drawn*0x9e3779b97f4a7c15) >> 32 * portCount >> 32
		if !d.used[i] {
			d.used[i] = true
			d.count++
			return uint16(firstPort + i)
		}
	}
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
