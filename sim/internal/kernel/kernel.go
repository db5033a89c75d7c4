// Package kernel is the part of an operating system that a simulated world has
// of its own. The native engine copies this package into the Go tree of the
// test binary, as internal/obscuretestdata, and package syscall asks it before the
// real kernel.
//
// Sockets live here in full, and no packet leaves the process. All methods run
// on the system stack of the only running thread, so the package needs no
// locks. Nothing here blocks. A call that would block returns EAGAIN, and an
// event in virtual time wakes the poller of the runtime later.
package kernel

import "unsafe"

// Base is the first number of a simulated descriptor.
const Base = 1 << 20

// MaxFiles bounds the simulated descriptors of a world. A call that needs more
// fails with EMFILE.
const MaxFiles = 1 << 16

// Control is the trap of the calls that direct a world. The real kernel answers
// with ENOSYS.
const Control = 0x51a70001

// A Call is one system call.
type Call struct {
	Trap  uintptr
	Args  [6]uintptr
	Proc  uint64 // the process of the calling goroutine
	R1    uintptr
	Errno uintptr
	Sleep int64 // virtual ns that the call takes

	// Wait is not nil if the call waits. The call has to be made again, with this
	// value. Its memory may have moved.
	Wait unsafe.Pointer
}

func (c *Call) fail(e uintptr) { c.R1, c.Errno = ^uintptr(0), e }
func (c *Call) ok(r uintptr)   { c.R1, c.Errno = r, 0 }

// kernel is the state of a world.
type kernel struct {
	host    Host
	files   []*file // by number - Base
	low     int     // no descriptor below is free
	hosts   []*machine
	bound   map[portKey][]*sock
	paths   map[string]*sock // Unix sockets by key
	ports   portDraw
	events  events
	links   int // connections and datagram flows so far
	names   []name
	rules   []*rule
	net     NetConfig
	met     map[faultKey]bool
	streams []*sock // connected, in the order of connecting
	disks   []*disk
	proc    uint64             // of the call under way
	procs   uint64             // processes so far
	ofiles  map[uintptr]*ofile // real descriptors of files on disks
	waits   []*waiting         // calls that wait for a lock of fcntl
	sent    uintptr            // bytes of the blocking write under way that are sent
	want    uintptr            // size of the write under way
}

// A file is a descriptor.
type file struct {
	num int
	s   *sock          // nil after the end of the process
	pd  unsafe.Pointer // the runtime's poller, nil if there is none
	fl  uintptr        // O_NONBLOCK
	own uint64         // the process
}

// Host is what the kernel needs of the runtime.
type Host interface {
	Now() int64
	Seed() uint64
	Wake(pd unsafe.Pointer, mode int32)
	Timer(when int64)                // the next call of Tick; 0 for none
	Calm(f FaultID) bool             // whether the run leaves out the fault
	Record(f FaultID, what Met)      // a fault that happened
	Real(c *Call) (uintptr, uintptr) // the real system call
	Watch(fd uintptr, on bool)       // whether calls on a real descriptor come here
}

// New makes the kernel of a world.
func New(h Host, net NetConfig) *Kernel {
	k := &kernel{host: h, net: net, bound: map[portKey][]*sock{}, paths: map[string]*sock{}, met: map[faultKey]bool{}, ofiles: map[uintptr]*ofile{}}
	k.hosts = []*machine{{ips: [][16]byte{defaultIP}}}
	k.ports.seed = h.Seed()
	return &Kernel{k}
}

// Kernel is a world's kernel, for the runtime.
type Kernel struct{ k *kernel }

// Handle carries out a call, or reports that the call is the real kernel's.
func (kk *Kernel) Handle(c *Call) bool {
	k := kk.k
	k.proc = c.Proc
	k.run()
	done := k.call(c)
	k.run()
	k.arm()
	return done
}

// Tick carries out the due events.
func (kk *Kernel) Tick() {
	kk.k.run()
	kk.k.arm()
}

// PollOpen connects a descriptor with a poller of the runtime.
func (kk *Kernel) PollOpen(fd uintptr, pd unsafe.Pointer) uintptr {
	f := kk.k.file(fd)
	if f == nil {
		return eBADF
	}
	f.pd = pd
	if f.s.readable() {
		kk.k.host.Wake(pd, 'r')
	}
	if f.s.writable() {
		kk.k.host.Wake(pd, 'w')
	}
	return 0
}

// PollClose disconnects a descriptor from its poller.
func (kk *Kernel) PollClose(fd uintptr) {
	if f := kk.k.file(fd); f != nil {
		f.pd = nil
	}
}

func (k *kernel) file(fd uintptr) *file {
	if fd < Base || fd-Base >= uintptr(len(k.files)) || k.files[fd-Base] == nil || k.files[fd-Base].s == nil {
		return nil
	}
	return k.files[fd-Base]
}

// open gives a socket a descriptor, the lowest free one as in a real kernel.
func (k *kernel) open(s *sock, flags uintptr) (uintptr, bool) {
	i := k.low
	for i < len(k.files) && k.files[i] != nil {
		i++
	}
	k.low = i
	if i == MaxFiles {
		for i = 0; i < MaxFiles && k.files[i].s != nil; i++ {
		}
		if i == MaxFiles {
			return 0, false
		}
	}
	if i == len(k.files) {
		k.files = append(k.files, nil)
	}
	f := &file{num: i, s: s, fl: flags & oNONBLOCK, own: k.proc}
	k.files[i] = f
	s.files = append(s.files, f)
	return uintptr(Base + i), true
}

// wake tells the pollers of a socket to try again.
func (k *kernel) wake(s *sock, mode int32) {
	if s == nil {
		return
	}
	for _, f := range s.files {
		if f.pd != nil {
			k.host.Wake(f.pd, mode)
		}
	}
}

func (k *kernel) call(c *Call) bool {
	switch c.Trap {
	case sysSOCKET:
		return k.socket(c)
	case sysSOCKETPAIR:
		return k.socketpair(c)
	case sysUNAME:
		k.uname(c)
		return true
	case Control:
		k.control(c)
		return true
	}
	if c.Args[0] < Base || c.Args[0] >= Base+MaxFiles {
		return k.diskCall(c)
	}
	f := k.file(c.Args[0])
	if f == nil {
		k.deadCall(c)
		return true
	}
	switch {
	case k.fileCall(c, f):
	case f.fl&oNONBLOCK == 0 && !nonblocking(c):
		if !k.blockingCall(c, f) {
			c.fail(eINVAL)
		}
	case !k.sockCall(c, f.s) && !k.ioCall(c, f.s):
		c.fail(eINVAL)
	}
	return true
}

// deadCall fails a call on a closed descriptor. The descriptors of an ended process
// stay reserved until their close, because an old object of the process may close
// its descriptor at any time.
func (k *kernel) deadCall(c *Call) {
	i := int(c.Args[0] - Base)
	if c.Trap != sysCLOSE || i >= len(k.files) || k.files[i] == nil {
		c.fail(eBADF)
		return
	}
	k.free(i)
	c.ok(0)
}

func (k *kernel) free(i int) {
	k.files[i] = nil
	k.low = min(k.low, i)
}

// fileCall carries out calls that concern the descriptor.
func (k *kernel) fileCall(c *Call, f *file) bool {
	switch c.Trap {
	case sysCLOSE:
		k.closeFile(f)
		c.ok(0)
	case sysDUP:
		k.dup(c, f)
	case sysFCNTL:
		k.fcntl(c, f)
	case sysFSTAT:
		st := bytesAt(c.Args[1], sizeofStat)
		clear(st)
		*(*uint32)(unsafe.Pointer(&st[24])) = sIFSOCK | 0o777
		*(*uint64)(unsafe.Pointer(&st[8])) = uint64(f.num + 1)
		c.ok(0)
	case sysIOCTL:
		k.ioctl(c, f)
	case sysLSEEK:
		c.fail(eSPIPE)
	default:
		return false
	}
	return true
}

func (k *kernel) closeFile(f *file) {
	k.free(f.num)
	k.detach(f)
}

// end closes a descriptor of an ended process.
func (k *kernel) end(f *file) {
	f.pd = nil
	k.detach(f)
	f.s = nil
}

func (k *kernel) detach(f *file) {
	s := f.s
	for i, other := range s.files {
		if other == f {
			s.files = append(s.files[:i], s.files[i+1:]...)
			break
		}
	}
	if len(s.files) == 0 {
		k.release(s)
	}
}

func (k *kernel) dup(c *Call, f *file) {
	fd, ok := k.open(f.s, f.fl)
	if !ok {
		c.fail(eMFILE)
		return
	}
	c.ok(fd)
}

func (k *kernel) fcntl(c *Call, f *file) {
	switch c.Args[1] {
	case fDUPFD, fDUPFDCLOEXEC:
		k.dup(c, f)
	case fGETFD, fSETFD:
		c.ok(1) // FD_CLOEXEC
	case fGETFL:
		c.ok(f.fl | oRDWR)
	case fSETFL:
		f.fl = c.Args[2] & oNONBLOCK
		c.ok(0)
	default:
		c.fail(eINVAL)
	}
}

// bytesAt is the caller's memory.
func bytesAt(p, n uintptr) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), n)
}

func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func word32(p uintptr) *uint32 { return (*uint32)(pointer(p)) }

func word64(p uintptr) *int64 { return (*int64)(pointer(p)) }
