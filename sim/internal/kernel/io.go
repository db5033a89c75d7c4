package kernel

import "unsafe"

// msghdr is the header of sendmsg and recvmsg.
type msghdr struct {
	name       uintptr
	nameLen    uint32
	_          uint32
	iov        uintptr
	iovLen     uintptr
	control    uintptr
	controlLen uintptr
	flags      int32
	_          int32
}

type iovec struct{ base, n uintptr }

func iovecs(p, n uintptr) []iovec {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*iovec)(pointer(p)), n)
}

// ioCall carries out calls with data.
func (k *kernel) ioCall(c *Call, s *sock) bool {
	switch c.Trap {
	case sysREAD:
		k.read(c, s, []iovec{{c.Args[1], c.Args[2]}}, 0, 0, 0)
	case sysREADV:
		k.read(c, s, iovecs(c.Args[1], c.Args[2]), 0, 0, 0)
	case sysRECVFROM:
		k.read(c, s, []iovec{{c.Args[1], c.Args[2]}}, c.Args[3], c.Args[4], c.Args[5])
	case sysWRITE:
		k.write(c, s, []iovec{{c.Args[1], c.Args[2]}}, 0, 0)
	case sysWRITEV:
		k.write(c, s, iovecs(c.Args[1], c.Args[2]), 0, 0)
	case sysSENDTO:
		k.write(c, s, []iovec{{c.Args[1], c.Args[2]}}, c.Args[4], c.Args[5])
	case sysSENDMSG:
		h := (*msghdr)(pointer(c.Args[1]))
		if h.controlLen > 0 && !s.inet() {
			c.fail(eOPNOTSUPP) // descriptors and credentials
			return true
		}
		k.write(c, s, iovecs(h.iov, h.iovLen), h.name, uintptr(h.nameLen))
	case sysRECVMSG:
		h := (*msghdr)(pointer(c.Args[1]))
		h.controlLen, h.flags = 0, 0
		cut := k.read(c, s, iovecs(h.iov, h.iovLen), c.Args[2], h.name, c.Args[1]+8)
		if cut {
			h.flags = msgTRUNC
		}
		if h.name == 0 || s.stream() {
			h.nameLen = 0
		}
	case sysSENDMMSG, sysRECVMMSG:
		k.many(c, s)
	default:
		return false
	}
	return true
}

// many carries out sendmmsg and recvmmsg. The first error ends both.
func (k *kernel) many(c *Call, s *sock) {
	const size = 64 // of a header with the length of its message
	one := Call{Trap: sysSENDMSG, Args: [6]uintptr{c.Args[0], c.Args[1], c.Args[3]}}
	if c.Trap == sysRECVMMSG {
		one.Trap = sysRECVMSG
	}
	done := uintptr(0)
	for ; done < c.Args[2]; done++ {
		if k.ioCall(&one, s); one.Errno != 0 {
			break
		}
		*word32(one.Args[1] + 56) = uint32(one.R1)
		one.Args[1] += size
	}
	c.ok(done)
	if done == 0 && one.Errno != 0 {
		c.fail(one.Errno)
	}
}

// scatter copies data into buffers, and reports how much found room.
func scatter(iov []iovec, data []byte) int {
	n := 0
	for _, v := range iov {
		n += copy(bytesAt(v.base, v.n), data[n:])
	}
	return n
}

// gather copies the content of buffers.
func gather(iov []iovec) []byte {
	var p []byte
	for _, v := range iov {
		p = append(p, bytesAt(v.base, v.n)...)
	}
	return p
}

// read fills the caller's memory, and reports whether a datagram was cut.
func (k *kernel) read(c *Call, s *sock, iov []iovec, flags, name, nameLen uintptr) bool {
	peek := flags&msgPEEK != 0
	if !s.stream() {
		d, e := k.receiveDatagram(s, peek)
		if e != 0 {
			c.fail(e)
			return false
		}
		if d.from == (addr{}) && name != 0 {
			*word32(nameLen) = 0 // an unnamed socket
		} else {
			writeAddr(s.family, d.from, name, nameLen)
		}
		n := scatter(iov, d.data)
		c.ok(uintptr(n))
		if flags&msgTRUNC != 0 {
			c.ok(uintptr(len(d.data)))
		}
		return n < len(d.data)
	}
	total := 0
	for _, v := range iov {
		p := bytesAt(v.base, v.n)
		n, e := k.receive(s, p, peek)
		if e != 0 && total == 0 {
			c.fail(e)
			return false
		}
		total += n
		if e != 0 || n < len(p) || peek || s.in == nil || s.in.avail == 0 {
			break
		}
	}
	c.ok(uintptr(total))
	return false
}

func (k *kernel) write(c *Call, s *sock, iov []iovec, name, nameLen uintptr) {
	if !s.stream() {
		k.writeDatagram(c, s, iov, name, nameLen)
		return
	}
	total, skip := 0, k.sent
	k.want = 0
	for _, v := range iov {
		k.want += v.n
	}
	for _, v := range iov {
		if skip > 0 && skip >= v.n {
			skip -= v.n
			continue
		}
		p := bytesAt(v.base+skip, v.n-skip)
		skip = 0
		n, e := k.send(s, p)
		if e != 0 {
			if total == 0 {
				c.fail(e)
				return
			}
			break
		}
		total += n
		if n < len(p) {
			break
		}
	}
	c.ok(uintptr(total))
}

func (k *kernel) writeDatagram(c *Call, s *sock, iov []iovec, name, nameLen uintptr) {
	to, peer := s.remote, s.peer
	var e uintptr
	if name != 0 && nameLen > 0 {
		to, e = readAddr(s.family, name, nameLen)
		if e == 0 && !s.inet() {
			peer, e = k.atPath(s, to.path)
		}
	} else if to == (addr{}) && peer == nil {
		e = eDESTADDRREQ
		if !s.inet() {
			e = eNOTCONN
		}
	}
	n := 0
	switch {
	case e != 0:
	case s.inet():
		n, e = k.sendDatagram(s, to, gather(iov))
	default:
		n, e = k.sendPath(s, peer, gather(iov))
	}
	c.ok(uintptr(n))
	if e != 0 {
		c.fail(e)
	}
}
