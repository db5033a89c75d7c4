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

// ioCall carries out calls that move bytes.
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
		k.write(c, s, iovecs(h.iov, h.iovLen), h.name, uintptr(h.nameLen))
	case sysRECVMSG:
		h := (*msghdr)(pointer(c.Args[1]))
		h.controlLen, h.flags = 0, 0
		full := k.read(c, s, iovecs(h.iov, h.iovLen), c.Args[2], h.name, c.Args[1]+8)
		if full > int(c.R1) && c.Errno == 0 {
			h.flags = msgTRUNC
		}
		if h.name == 0 || s.stream() {
			h.nameLen = 0
		}
	default:
		return false
	}
	return true
}

// read fills the caller's memory, and reports the length of a datagram.
func (k *kernel) read(c *Call, s *sock, iov []iovec, flags, name, nameLen uintptr) int {
	total := 0
	for i, v := range iov {
		p := bytesAt(v.base, v.n)
		if !s.stream() {
			n, from, full, e := k.receiveDatagram(s, p, flags&msgPEEK != 0)
			if e != 0 {
				c.fail(e)
				return 0
			}
			for _, rest := range iov[i+1:] { // a datagram over several buffers is rare
				_ = rest
			}
			writeAddr(s.family, from, name, nameLen)
			c.ok(uintptr(n))
			if flags&msgTRUNC != 0 {
				c.ok(uintptr(full))
			}
			return full
		}
		n, e := k.receive(s, p, flags&msgPEEK != 0)
		if e != 0 {
			if total == 0 {
				c.fail(e)
				return 0
			}
			break
		}
		total += n
		if n < len(p) {
			break
		}
	}
	c.ok(uintptr(total))
	return total
}

func (k *kernel) write(c *Call, s *sock, iov []iovec, name, nameLen uintptr) {
	if !s.stream() {
		k.writeDatagram(c, s, iov, name, nameLen)
		return
	}
	total := 0
	for _, v := range iov {
		p := bytesAt(v.base, v.n)
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
	to := s.remote
	if name != 0 && nameLen > 0 {
		var e uintptr
		if to, e = readAddr(s.family, name, nameLen); e != 0 {
			c.fail(e)
			return
		}
	} else if to == (addr{}) && s.out == nil {
		c.fail(eDESTADDRREQ)
		return
	}
	var p []byte
	if len(iov) == 1 {
		p = bytesAt(iov[0].base, iov[0].n)
	} else {
		for _, v := range iov {
			p = append(p, bytesAt(v.base, v.n)...)
		}
	}
	n, e := k.sendDatagram(s, to, p)
	if e != 0 {
		c.fail(e)
		return
	}
	c.ok(uintptr(n))
}
