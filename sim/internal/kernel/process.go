package kernel

// MaxProcesses bounds the processes that a world has had.
const MaxProcesses = 1<<16 - 1

// MaxMachines bounds the machines of a world.
const MaxMachines = 4096

func (k *kernel) processCall(c *Call) {
	n := c.Args[1]
	switch c.Args[0] {
	case OpMachine:
		k.addMachine(c)
		return
	case OpBoot, OpPowerOff:
		if n == 0 || n >= uintptr(len(k.hosts)) {
			c.fail(eINVAL)
			return
		}
	}
	switch c.Args[0] {
	case OpBoot:
		if k.procs >= MaxProcesses {
			c.fail(eNOBUFS)
			return
		}
		k.procs++
		m := k.hosts[n]
		m.proc, m.off = k.procs, false
		c.ok(uintptr(k.procs))
	case OpKill:
		k.killFiles(func(f *ofile) bool { return f.own == uint64(n) })
		for _, f := range k.files {
			if f != nil && f.s != nil && f.own == uint64(n) {
				k.end(f)
			}
		}
	case OpPowerOff:
		k.powerOff(k.hosts[n])
	}
}

func (k *kernel) addMachine(c *Call) {
	var ip [16]byte
	if copy(ip[:], bytesAt(c.Args[1], c.Args[2])) != 16 || isWild(ip) || isLoopback(ip) || isMulticast(ip) {
		c.fail(eINVAL)
		return
	}
	for _, m := range k.hosts {
		if m.owns(ip) {
			c.fail(eEXIST)
			return
		}
	}
	if len(k.hosts) >= MaxMachines {
		c.fail(eNOBUFS)
		return
	}
	k.hosts = append(k.hosts, &machine{ips: [][16]byte{ip}, proc: ^uint64(0)})
	c.ok(uintptr(len(k.hosts) - 1))
}

// powerOff forgets the sockets of a machine without a word to the other ends.
// These learn when they send, or from their keepalive probes.
func (k *kernel) powerOff(m *machine) {
	m.off = true
	proc := m.proc
	k.killFiles(func(f *ofile) bool { return f.own == proc })
	for _, f := range k.files {
		if f == nil || f.s == nil || f.own != proc {
			continue
		}
		k.vanish(f.s)
		for _, waiting := range f.s.backlog {
			k.vanish(waiting)
		}
		f.pd, f.s = nil, nil
	}
}

func (k *kernel) vanish(s *sock) {
	if s.gone {
		return
	}
	s.files = nil
	s.gone, s.state = true, over
	s.gen++
	k.disclaim(s)
	k.forget(s)
	if s.out != nil {
		s.out.segs = nil
		k.watch(s.out.to)
	}
}
