package kernel

import "unsafe"

// A blocked is a call on a blocking socket. The caller makes the call again and again
// until the call has an end.
type blocked struct {
	f     *file
	since int64
	sent  uintptr // bytes that a write has sent
}

// Time until a blocked call is made again. A call that has waited for long may wait for
// longer.
const (
	firstTry = 20 * micro
	lastTry  = 100 * milli
)

// blockingCall carries out a call on a descriptor without O_NONBLOCK.
func (k *kernel) blockingCall(c *Call, f *file) bool {
	b := (*blocked)(c.Wait)
	c.Wait = nil
	switch {
	case b == nil:
		b = &blocked{f: f, since: k.host.Now()}
	case b.f != f:
		c.fail(eBADF) // the descriptor is another socket's now
		return true
	case c.Trap == sysCONNECT:
		k.awaitConnect(c, f.s, b)
		return true
	}
	k.sent = b.sent
	known := k.sockCall(c, f.s) || k.ioCall(c, f.s)
	k.sent = 0
	switch {
	case !known:
		return false
	case c.Trap == sysCONNECT && c.Errno == eINPROGRESS:
		k.awaitConnect(c, f.s, b)
	case writes(c.Trap) && f.s.stream():
		k.finishWrite(c, f.s, b)
	case c.Errno == eAGAIN:
		k.await(c, b, f.s.timeFor(c.Trap))
	}
	return true
}

func writes(trap uintptr) bool {
	return trap == sysWRITE || trap == sysWRITEV || trap == sysSENDTO || trap == sysSENDMSG
}

// nonblocking reports whether a single call must not wait.
func nonblocking(c *Call) bool {
	switch c.Trap {
	case sysRECVFROM, sysSENDTO, sysRECVMMSG, sysSENDMMSG:
		return c.Args[3]&msgDONTWAIT != 0
	case sysRECVMSG, sysSENDMSG:
		return c.Args[2]&msgDONTWAIT != 0
	}
	return false
}

// timeFor is the longest wait of a call, or 0 for no limit.
func (s *sock) timeFor(trap uintptr) int64 {
	if writes(trap) || trap == sysSENDMMSG {
		return s.sendTime
	}
	return s.recvTime
}

// await asks the caller to make the call again, unless the call has waited for its limit.
func (k *kernel) await(c *Call, b *blocked, limit int64) {
	waited := k.host.Now() - b.since
	if limit > 0 && waited >= limit {
		return
	}
	c.Sleep = max(firstTry, min(waited/8, lastTry))
	if limit > 0 {
		c.Sleep = min(c.Sleep, limit-waited)
	}
	c.Wait = unsafe.Pointer(b)
}

// finishWrite waits until all bytes of a write are under way.
func (k *kernel) finishWrite(c *Call, s *sock, b *blocked) {
	switch {
	case c.Errno == 0:
		b.sent += c.R1
		if b.sent < k.want {
			k.await(c, b, s.sendTime)
		}
	case c.Errno == eAGAIN:
		k.await(c, b, s.sendTime)
	}
	if b.sent > 0 {
		c.ok(b.sent)
	}
}

// awaitConnect waits for the end of a dial.
func (k *kernel) awaitConnect(c *Call, s *sock, b *blocked) {
	switch {
	case s.state == connecting && s.err == 0:
		c.fail(eINPROGRESS)
		k.await(c, b, s.sendTime)
	case s.err != 0:
		c.fail(s.takeErr())
	default:
		c.ok(0)
	}
}

// ioctl answers questions about the queues of a socket.
func (k *kernel) ioctl(c *Call, f *file) {
	s, n := f.s, 0
	switch c.Args[1] {
	case ioNBIO:
		f.fl &^= oNONBLOCK
		if *word32(c.Args[2]) != 0 {
			f.fl |= oNONBLOCK
		}
		c.ok(0)
		return
	case ioINQ:
		switch {
		case s.state == listening:
			c.fail(eINVAL)
			return
		case s.in != nil:
			n = s.in.avail
		case len(s.queue) > 0:
			n = len(s.queue[0].data)
		}
	case ioOUTQ:
		if s.state == listening {
			c.fail(eINVAL)
			return
		}
		if s.out != nil && s.out.link != 0 {
			n = len(s.out.buf) - s.out.head - s.out.avail
		}
	default:
		c.fail(eNOTTY)
		return
	}
	*word32(c.Args[2]) = uint32(n)
	c.ok(0)
}
