package kernel

import "unsafe"

// Operations of Control. The second argument points to the operands, and the
// third is their size in bytes.
const (
	OpActive     = iota // returns Active
	OpRule              // a RuleOp
	OpHeal              // a RuleOp: removes the rules for its addresses, or all
	OpReset             // a RuleOp: resets the connections between its addresses
	OpNet               // a NetConfig, for the whole world
	OpGetNet            // reads the NetConfig
	OpName              // 16 bytes of address, then the name
	OpLookup            // a name; the fourth and fifth arguments are room for addresses
	OpLookupAddr        // an address; room for names, each behind a byte of length
	OpDisk              // a path; returns the number of a new disk
	OpDiskConf          // a DiskOp
	OpPowerLoss         // a DiskOp
	OpMachine           // an address; returns the number of a new machine
	OpBoot              // the number of a machine; returns the number of its new process
	OpEnter             // the number of a process that the calling goroutine joins
	OpKill              // the number of a process, which loses its descriptors
	OpPowerOff          // the number of a machine
)

// Active is the answer to OpActive.
const Active = 0x51a7

// A PatternOp matches addresses, for a RuleOp.
type PatternOp struct {
	IP   [16]byte
	Bits uint64
	Port uint64
}

func (p PatternOp) pattern() pattern { return pattern{p.IP, int(min(p.Bits, 128)), uint16(p.Port)} }

// A RuleOp directs packets. Negative numbers leave a property as it is.
type RuleOp struct {
	From, To               PatternOp
	Cut                    uint64
	LatencyMin, LatencyMax int64
	Bandwidth              int64
}

// MaxNames bounds the names of a world.
const MaxNames = 1 << 16

type name struct {
	name string
	ip   [16]byte
}

func operands[T any](c *Call) *T {
	var t T
	if c.Args[2] != unsafe.Sizeof(t) {
		return nil
	}
	return (*T)(pointer(c.Args[1]))
}

func (k *kernel) control(c *Call) {
	c.ok(0)
	switch c.Args[0] {
	case OpActive:
		c.ok(Active)
	case OpRule, OpHeal, OpReset:
		r := operands[RuleOp](c)
		if r == nil {
			c.fail(eINVAL)
			return
		}
		k.direct(c, r)
	case OpNet, OpGetNet:
		n := operands[NetConfig](c)
		switch {
		case n == nil:
			c.fail(eINVAL)
		case c.Args[0] == OpNet:
			k.net = *n
		default:
			*n = k.net
		}
	case OpName:
		k.addName(c)
	case OpLookup:
		k.lookupName(c)
	case OpLookupAddr:
		k.lookupAddr(c)
	case OpDisk:
		k.addDisk(c)
	case OpDiskConf, OpPowerLoss:
		op := operands[DiskOp](c)
		if op == nil || op.Disk >= uint64(len(k.disks)) {
			c.fail(eINVAL)
			return
		}
		if d := k.disks[op.Disk]; c.Args[0] == OpDiskConf {
			d.conf = op.Conf
		} else {
			k.powerLoss(d)
		}
	case OpMachine, OpBoot, OpEnter, OpKill, OpPowerOff:
		k.processCall(c)
	default:
		c.fail(eINVAL)
	}
}

// A DiskOp directs a disk.
type DiskOp struct {
	Disk uint64
	Conf DiskConfig
}

// addDisk makes a disk of a directory. All that is there counts as synced.
func (k *kernel) addDisk(c *Call) {
	b := bytesAt(c.Args[1], c.Args[2])
	path := clean(string(b))
	for _, d := range k.disks {
		if d.root == path || k.diskOf(path) != nil || len(d.root) > len(path) && d.root[:len(path)+1] == path+"/" {
			c.fail(eEXIST)
			return
		}
	}
	if len(k.disks) >= MaxDisks {
		c.fail(eNOBUFS)
		return
	}
	d := &disk{number: len(k.disks), root: path, byIno: map[uint64]*node{}, conf: DiskConfig{Free: -1}}
	k.disks = append(k.disks, d)
	k.host.Watch(^uintptr(0), true)
	c.ok(uintptr(d.number))
}

// direct changes the rules, or resets connections.
func (k *kernel) direct(c *Call, op *RuleOp) {
	from, to := op.From.pattern(), op.To.pattern()
	switch c.Args[0] {
	case OpRule:
		if len(k.rules) >= MaxRules {
			c.fail(eNOBUFS)
			return
		}
		k.rules = append(k.rules, &rule{from, to, op.Cut != 0, op.LatencyMin, op.LatencyMax, op.Bandwidth})
		for _, s := range k.streams {
			if op.Cut != 0 && !k.reaches(s) {
				k.watch(s)
			}
		}
	case OpHeal:
		all := from == pattern{} && to == pattern{}
		kept := k.rules[:0]
		for _, r := range k.rules {
			if !all && (r.from != from || r.to != to) {
				kept = append(kept, r)
			}
		}
		clear(k.rules[len(kept):])
		k.rules = kept
	case OpReset:
		for _, s := range append([]*sock(nil), k.streams...) {
			if from.matches(s.local) && to.matches(s.remote) {
				k.reset(s.out.to, eCONNRESET)
				k.reset(s, eCONNRESET)
			}
		}
	}
}

func (k *kernel) addName(c *Call) {
	b := bytesAt(c.Args[1], c.Args[2])
	if len(b) <= 16 || len(b) > 16+255 {
		c.fail(eINVAL)
		return
	}
	if len(k.names) >= MaxNames {
		c.fail(eNOBUFS)
		return
	}
	n := name{name: lower(b[16:])}
	copy(n.ip[:], b)
	k.names = append(k.names, n)
}

// lower returns a name in lower case without a dot at the end.
func lower(b []byte) string {
	if len(b) > 1 && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	b = append([]byte(nil), b...)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func (k *kernel) lookupName(c *Call) {
	want := lower(bytesAt(c.Args[1], c.Args[2]))
	room := bytesAt(c.Args[3], c.Args[4])
	n := 0
	add := func(ip [16]byte) {
		if n+16 <= len(room) {
			n += copy(room[n:], ip[:])
		}
	}
	if want == "localhost" {
		add(loop4)
		add(loop6)
	}
	if want == hostname {
		add(defaultIP)
	}
	for _, entry := range k.names {
		if entry.name == want {
			add(entry.ip)
		}
	}
	c.ok(uintptr(n))
}

func (k *kernel) lookupAddr(c *Call) {
	var ip [16]byte
	copy(ip[:], bytesAt(c.Args[1], c.Args[2]))
	room := bytesAt(c.Args[3], c.Args[4])
	n := 0
	add := func(name string) {
		if n+1+len(name) <= len(room) {
			room[n] = byte(len(name))
			n += 1 + copy(room[n+1:], name)
		}
	}
	if ip == loop4 || ip == loop6 {
		add("localhost")
	}
	if ip == defaultIP {
		add(hostname)
	}
	for _, entry := range k.names {
		if entry.ip == ip {
			add(entry.name)
		}
	}
	c.ok(uintptr(n))
}

// hostname is the name of the first machine.
const hostname = "sim"

// uname gives the machine the same name on every real machine.
func (k *kernel) uname(c *Call) {
	c.R1, c.Errno = k.host.Real(c)
	if c.Errno != 0 {
		return
	}
	const field = 65 // bytes of each of the six fields; the second is the name
	node := bytesAt(c.Args[0]+field, field)
	clear(node)
	copy(node, hostname)
}

func addressOf(p []byte) uintptr { return uintptr(unsafe.Pointer(&p[0])) }
