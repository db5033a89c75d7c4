package kernel

// Sizes of buffers. bufferSize is what SO_SNDBUF and SO_RCVBUF are unless set. A
// datagram socket has as much for each direction. One direction of a connection
// has half of bufferSize at each end, for bytes under way and unread bytes.
const (
	bufferSize = 256 << 10
	minBuffer  = 2304 // as in Linux
	maxBuffer  = 212992
)

func (k *kernel) setOption(s *sock, c *Call) uintptr {
	level, name, size := c.Args[1], c.Args[2], c.Args[4]
	value := uint32(0)
	switch {
	case size >= 4:
		value = *word32(c.Args[3])
	case size > 0:
		value = uint32(bytesAt(c.Args[3], 1)[0])
	}
	on := value != 0
	switch {
	case level == solSOCKET && name == soREUSEADDR:
		s.reuseAddr = on
	case level == solSOCKET && name == soREUSEPORT:
		s.reusePort = on
	case level == solSOCKET && name == soKEEPALIVE:
		s.alive = on
	case level == solSOCKET && name == soLINGER && size >= 8:
		s.linger0 = on && *word32(c.Args[3] + 4) == 0
	case level == solSOCKET && (name == soSNDBUF || name == soRCVBUF):
		size := min(max(int(value), minBuffer), maxBuffer)
		value = uint32(2 * size)
		if name == soSNDBUF {
			s.sndbuf = size
		} else {
			s.rcvbuf = size
		}
	case level == solSOCKET && (name == soRCVTIMEO || name == soSNDTIMEO):
		return s.setTimeout(c)
	case level == ipprotoIPV6 && name == ipv6V6ONLY:
		if s.family != afINET6 {
			return eNOPROTOOPT
		}
		s.v6only = on
	case level == ipprotoTCP && !(s.inet() && s.kind == sockSTREAM):
		return eNOPROTOOPT
	case level == ipprotoTCP && name == tcpKEEPIDLE:
		s.keepIdle = int64(value) * second
	case level == ipprotoTCP && name == tcpKEEPINTV:
		s.keepEvery = int64(value) * second
	case level == ipprotoTCP && name == tcpKEEPCNT:
		s.keepCount = int64(value)
	case level == ipprotoTCP && name == tcpUSERTIME:
		s.userTimeout = int64(value) * milli
	}
	for i := range s.options {
		if o := &s.options[i]; o.level == level && o.name == name {
			o.value = value
			return 0
		}
	}
	if len(s.options) >= 64 {
		return eNOBUFS
	}
	s.options = append(s.options, option{level, name, value})
	return 0
}

func (k *kernel) getOption(s *sock, c *Call) uintptr {
	level, name := c.Args[1], c.Args[2]
	if level == ipprotoTCP && name == tcpINFO {
		return eNOPROTOOPT
	}
	if level == solSOCKET && (name == soPEERCRED || name == soRCVTIMEO || name == soSNDTIMEO) {
		k.getLong(s, c)
		return 0
	}
	value := uint32(0)
	for _, o := range s.options {
		if o.level == level && o.name == name {
			value = o.value
		}
	}
	if level == solSOCKET {
		switch name {
		case soERROR:
			value = uint32(s.takeErr())
		case soTYPE:
			value = uint32(s.kind)
		case soDOMAIN:
			value = uint32(s.family)
		case soPROTOCOL:
			value = protocol(s)
		case soACCEPTCON:
			value = 0
			if s.state == listening {
				value = 1
			}
		case soSNDBUF, soRCVBUF:
			if value == 0 {
				value = bufferSize
			}
		}
	}
	if size := *word32(c.Args[4]); size >= 4 {
		clear(bytesAt(c.Args[3], uintptr(size)))
		*word32(c.Args[3]) = value
		*word32(c.Args[4]) = 4
	} else if size > 0 {
		bytesAt(c.Args[3], 1)[0] = byte(value)
	}
	return 0
}

func protocol(s *sock) uint32 {
	switch {
	case !s.inet():
		return 0
	case s.kind == sockSTREAM:
		return ipprotoTCP
	}
	return ipprotoUDP
}

func (s *sock) setTimeout(c *Call) uintptr {
	if c.Args[4] < 16 {
		return eINVAL
	}
	*s.timeout(c.Args[2]) = *word64(c.Args[3])*second + *word64(c.Args[3] + 8)*micro
	return 0
}

func (s *sock) timeout(name uintptr) *int64 {
	if name == soRCVTIMEO {
		return &s.recvTime
	}
	return &s.sendTime
}

// getLong returns an option that is longer than a word.
func (k *kernel) getLong(s *sock, c *Call) {
	var b [16]byte
	size := uint32(len(b))
	if name := c.Args[2]; name == soPEERCRED {
		size = 12
		*word32(addressOf(b[4:])), *word32(addressOf(b[8:])) = ^uint32(0), ^uint32(0)
		if !s.inet() && s.state != idle {
			for i, trap := range [3]uintptr{sysGETPID, sysGETUID, sysGETGID} {
				id, _ := k.real(trap)
				*word32(addressOf(b[4*i:])) = uint32(id)
			}
		}
	} else {
		t := *s.timeout(name)
		*word64(addressOf(b[:])), *word64(addressOf(b[8:])) = t/second, t%second/micro
	}
	n := min(size, *word32(c.Args[4]))
	copy(bytesAt(c.Args[3], uintptr(n)), b[:n])
	*word32(c.Args[4]) = n
}
