//go:build faketime && linux

package kernel

import "unsafe"

// world is the kernel of this process.
var world *Kernel

// Functions of the runtime, see files/runtime_net.go.txt in package overlay.

//go:linkname rtNow
func rtNow() int64

//go:linkname rtWord
func rtWord(i int) uint64

//go:linkname rtWake
func rtWake(pd unsafe.Pointer, mode int32)

//go:linkname rtTimer
func rtTimer(when int64)

//go:linkname rtCalm
func rtCalm(link, number uint64) bool

//go:linkname rtRecord
func rtRecord(words *[8]uint64, file string)

//go:linkname rtReal
func rtReal(c *Call) (uintptr, uintptr)

// Words of the page that is shared with the parent process, see page.go in
// package sim.
const (
	wordSeed = 2
	wordNet  = 32
)

//go:linkname rtWatch
func rtWatch(fd uintptr, on bool)

type rt struct{}

func (rt) Now() int64                         { return rtNow() }
func (rt) Seed() uint64                       { return mix(rtWord(wordSeed) + 0x6e6574) }
func (rt) Wake(pd unsafe.Pointer, mode int32) { rtWake(pd, mode) }
func (rt) Timer(when int64)                   { rtTimer(when) }
func (rt) Watch(fd uintptr, on bool)          { rtWatch(fd, on) }
func (rt) Real(c *Call) (uintptr, uintptr)    { return rtReal(c) }
func (rt) Calm(f FaultID) bool                { return rtCalm(f.Link, f.word()) }

func (f FaultID) word() uint64 {
	n := f.Number << 1
	if f.Back {
		n |= 1
	}
	return n
}

func (rt) Record(f FaultID, m Met) {
	end := func(ip [16]byte, port uint16) uint64 {
		return uint64(ip[12])<<40 | uint64(ip[13])<<32 | uint64(ip[14])<<24 | uint64(ip[15])<<16 | uint64(port)
	}
	rtRecord(&[8]uint64{f.Link, f.word(), m.Kind, uint64(m.Value), uint64(m.At), end(m.From, m.FromPort), end(m.To, m.ToPort)}, m.File)
}

func started() *Kernel {
	if world == nil {
		w := func(i int) int64 { return int64(rtWord(wordNet + i)) }
		o := func(i int) uint64 { return rtWord(wordNet + i) }
		world = New(rt{}, NetConfig{
			LatencyMin: w(0), LatencyMax: w(1), Bandwidth: w(2),
			Delay: o(3), Reset: o(4), Stall: o(5), Loss: o(6), Duplicate: o(7), Cut: o(8),
			MaxDelay: w(9), MaxStall: w(10), CutPeriod: w(11),
		})
	}
	return world
}

// handle, tick, pollOpen and pollClose are called by the runtime on the system
// stack.
//
//go:linkname handle
func handle(c *Call) bool { return started().Handle(c) }

//go:linkname tick
func tick() { started().Tick() }

//go:linkname pollOpen
func pollOpen(fd uintptr, pd unsafe.Pointer) uintptr { return started().PollOpen(fd, pd) }

//go:linkname pollClose
func pollClose(fd uintptr) { started().PollClose(fd) }
