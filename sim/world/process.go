package world

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"raftlab/sim/internal/kernel"
)

// ErrNoWorld is returned outside of a simulated world.
var ErrNoWorld = errors.New("world: there are processes only in a simulated world, under raftlab sim with the native engine")

// A Process is a function that runs as a process on a machine of its own. The
// machine has an IP address, its own 127.0.0.1, and a name for the whole world.
// All goroutines and timers of the function, started directly or not, belong to
// the process.
//
// Processes share the memory of the test. Package variables keep their values
// over Kill and Start, and a test must not hand a process's data to its next
// run. A process has no environment or standard output of its own.
type Process struct {
	name    string
	ip      string
	machine uintptr

	mu    sync.Mutex
	proc  uintptr // 0: none runs
	done  chan struct{}
	disks []*Disk
}

// NewProcess makes a machine for a process. A world has at most 4,095 such
// machines.
func NewProcess(name, ip string) (*Process, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, fmt.Errorf("%w: address of process %s: %w", ErrInvalid, name, err)
	}
	if !Active() {
		return nil, ErrNoWorld
	}
	b := a.As16()
	n, err := controlBytes(kernel.OpMachine, b[:])
	if err != nil {
		return nil, fmt.Errorf("process %s at %s: %w", name, ip, err)
	}
	return &Process{name: name, ip: a.String(), machine: n}, Name(name, ip)
}

// IP is the address of the process's machine, for Cut, Partition and others.
func (p *Process) IP() string { return p.ip }

// Attach makes a disk part of the process's machine, so PowerOff takes away
// its unsynced changes. Files for the time after the process belong on a disk. Elsewhere the locks of a killed process are never freed.
func (p *Process) Attach(d *Disk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disks = append(p.disks, d)
}

// Start runs main as the process, on a machine with power. The process ends when
// main returns, or at Kill or PowerOff. A world starts at most 65,535 processes.
func (p *Process) Start(main func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != 0 {
		return fmt.Errorf("%w: process %s runs", ErrInvalid, p.name)
	}
	proc, err := controlNumber(kernel.OpBoot, p.machine)
	if err != nil {
		return fmt.Errorf("process %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.proc, p.done = proc, done
	go func() {
		controlNumber(kernel.OpEnter, proc)
		main()
		controlNumber(kernel.OpEnter, 0) // a goroutine of the test again
		p.end(proc)
	}()
	return nil
}

// Kill ends the process as SIGKILL does. Its goroutines never run again, once
// they wait for anything but a mutex, and nobody sees their actions from
// then on. Deferred functions do not run. The system closes the process's
// sockets, and the files on its disks keep what was written.
func (p *Process) Kill() {
	p.mu.Lock()
	proc := p.proc
	p.mu.Unlock()
	p.end(proc)
}

// PowerOff ends the process and its machine. The other ends of its connections
// hear nothing. They learn from their own retransmissions and keepalive probes,
// or when the machine has started again. The machine's disks lose their unsynced
// changes.
func (p *Process) PowerOff() error {
	p.mu.Lock()
	proc, disks := p.proc, p.disks
	p.mu.Unlock()
	if _, err := controlNumber(kernel.OpPowerOff, p.machine); err != nil {
		return err
	}
	p.end(proc)
	for _, d := range disks {
		if err := d.PowerLoss(); err != nil {
			return err
		}
	}
	return nil
}

// end ends a run of the process, if it is the present one.
func (p *Process) end(proc uintptr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if proc == 0 || p.proc != proc {
		return
	}
	controlNumber(kernel.OpKill, proc)
	p.proc = 0
	close(p.done)
}

// Done returns a channel that is closed at the end of the present run of the
// process. The channel is nil before the first Start.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}
