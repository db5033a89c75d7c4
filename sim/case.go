package sim

import (
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// Errors that callers may match.
var (
	// ErrUnsupported is returned if an engine cannot run here, or lacks a
	// requested feature.
	ErrUnsupported = errors.New("sim: not supported")
	// ErrInvalid is returned for a value out of range.
	ErrInvalid = errors.New("sim: invalid value")
	// ErrNoTest is returned if no test of the packages matches the pattern.
	ErrNoTest = fmt.Errorf("%w: no test matches", ErrInvalid)
	// ErrBroken is returned for a package whose tests cannot be built or
	// listed.
	ErrBroken = errors.New("sim: the package cannot be run")
)

// Limits of injected sleeps. Beyond the limits, a correct implementation misses
// its liveness limits.
const (
	MaxSleepRate = 0.05
	MaxSleep     = 200 * time.Millisecond
)

// A Point is an injected perturbation. The Op'th synchronization operation or
// memory access of a goroutine yields, or sleeps for a while in virtual time.
type Point struct {
	Goroutine uint64        `json:"g"`               // follows from who started it, and how many before
	Op        uint64        `json:"op"`              // from 1
	Sleep     time.Duration `json:"sleep,omitempty"` // 0: yield
}

// Limits end a run that does not end by itself. Zero fields take the defaults.
type Limits struct {
	Virtual time.Duration `json:"virtual,omitempty"` // virtual time of a run; default 1 hour; gives Liveness
	SpinCPU time.Duration `json:"spin,omitempty"`    // CPU time without a sign of progress; default 10 s; gives Spin
	Wall    time.Duration `json:"wall,omitempty"`    // real time of a run; default 10 minutes; gives Stuck
	Memory  int64         `json:"memory,omitempty"`  // bytes of heap after which garbage is collected; default 1 GiB; twice as much gives Crash (native; wasm has 4 GiB)
}

// Upper bounds of limits.
const (
	MaxDuration = 100 * 365 * 24 * time.Hour
	MaxMemory   = 1 << 40 // bytes
)

// Validate reports a value out of range as ErrInvalid.
func (l Limits) Validate() error {
	for name, d := range map[string]time.Duration{"virtual time": l.Virtual, "CPU time of a spin": l.SpinCPU, "real time": l.Wall} {
		if d < 0 || d > MaxDuration {
			return fmt.Errorf("%w: limit of %s %v is not within 0 and %v", ErrInvalid, name, d, MaxDuration)
		}
	}
	if l.Memory < 0 || l.Memory > MaxMemory {
		return fmt.Errorf("%w: limit of memory %d is not within 0 and %d bytes", ErrInvalid, l.Memory, int64(MaxMemory))
	}
	return nil
}

func (l Limits) orDefault() Limits {
	if l.Virtual == 0 {
		l.Virtual = time.Hour
	}
	if l.SpinCPU == 0 {
		l.SpinCPU = 10 * time.Second
	}
	if l.Wall == 0 {
		l.Wall = 10 * time.Minute
	}
	if l.Memory == 0 {
		l.Memory = 1 << 30
	}
	return l
}

// A Case names one run. The same case gives the same run, to the byte.
type Case struct {
	Test    string  `json:"test"` // as for go test -run; the name of one top-level test
	Seed    uint64  `json:"seed"`
	Explore Explore `json:"explore,omitzero"`
	Limits  Limits  `json:"limits,omitzero"`
	Faults  Faults  `json:"faults,omitzero"`
	Net     Net     `json:"net,omitzero"` // native engine only
	Explain bool    `json:"-"`            // print the stack at each injected point
	// Prepare, if not nil, may change the process of a run before its start, in
	// order to confine the process or to pass files. Native engine only.
	Prepare func(*exec.Cmd) error `json:"-"`

	repeat string // the command that the tests see in RepeatEnv
	cover  bool   // note which points follow each other
	events bool   // record the last events
	stop   stop
	debug  bool // the watchdog leaves the run alone
}

// Validate reports a value out of range as ErrInvalid.
func (c Case) Validate() error {
	if err := c.Explore.Validate(); err != nil {
		return err
	}
	if err := c.Net.Validate(); err != nil {
		return err
	}
	return c.Limits.Validate()
}

// An Outcome describes a run after its end.
type Outcome struct {
	Verdict   Verdict
	Detail    string        // the line that says most about a failure
	Output    []byte        // all that the test wrote, both streams in order
	Hash      string        // SHA-256 of Output, in hex
	Stack     string        // of the goroutine that spins
	Virtual   time.Duration // time that passed in the run's world
	CPU       time.Duration // CPU time it took in ours
	Wall      time.Duration
	Injected  []Point // what Explore injected, at most MaxTrace of them
	Faults    []Fault // the network's, if they were recorded
	Points    uint64  // points passed: synchronization operations, and memory accesses of Options.Preempt
	Choices   uint64  // points at which another goroutine could have run
	Schedules uint64  // goroutines scheduled
	Events    []Event // the last ones of a recorded run
	events    uint64  // recorded, also if more than Events holds
	stopped   bool    // for the debugger
	noBreak   bool    // no function had the name of the breakpoint
	covered   []byte  // pairs of points that followed each other, as bits
}

// Signature is equal for failures of one kind. The signature holds the verdict,
// the place and the message, without numbers, quoted texts and random strings.
func (o Outcome) Signature() string { return signature(o.Verdict, o.Detail) }
