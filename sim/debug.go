package sim

import (
	"context"
	"fmt"
)

// stop says where a run stops for the debugger.
type stop struct {
	event    uint64 // number of an event; 0 is nowhere
	function string // at its first entry; "" is nowhere
}

// A Stop is a run that stopped at an event or in a function.
type Stop struct {
	Event   uint64 // number of the last event
	Stopped bool   // false if the run ended before
	Outcome Outcome
}

// Until runs a case up to an event, records the events, and prints all
// goroutines there. The same case has the same events each time.
func Until(ctx context.Context, p Program, c Case, event uint64) (Stop, error) {
	c.stop = stop{event: max(event, 1)}
	return stopped(ctx, p, c)
}

// Break runs a case up to the first entry of a function. The name may lack the
// directories of its package. A function that the compiler has inlined has no
// entry.
func Break(ctx context.Context, p Program, c Case, function string) (Stop, error) {
	if function == "" || len(function) > maxName {
		return Stop{}, fmt.Errorf("%w: the name of a function has %d bytes, not 1 to %d", ErrInvalid, len(function), maxName)
	}
	c.stop = stop{function: function}
	return stopped(ctx, p, c)
}

// Attend runs a case whose process c.Prepare may start under a debugger. The debugger
// may stop the process for as long as it likes, because no watchdog ends the run.
func Attend(ctx context.Context, p Program, c Case) (Outcome, error) {
	if p.Engine() != Native {
		return Outcome{}, fmt.Errorf("%w: a run of the %s engine has no process of its own", ErrUnsupported, p.Engine())
	}
	c.debug = true
	return p.Run(ctx, c)
}

// Record runs a case and records its last events.
func Record(ctx context.Context, p Program, c Case) (Outcome, error) {
	c.events = true
	return p.Run(ctx, c)
}

func stopped(ctx context.Context, p Program, c Case) (Stop, error) {
	if p.Engine() != Native {
		return Stop{}, fmt.Errorf("%w: the %s engine records no events, and a run there stops nowhere", ErrUnsupported, p.Engine())
	}
	c.events = true
	out, err := p.Run(ctx, c)
	if err != nil {
		return Stop{}, err
	}
	if out.noBreak {
		return Stop{}, fmt.Errorf("%w: no function %q in the test binary of %s has an entry: it is not there, or inlined everywhere", ErrInvalid, c.stop.function, p.Package())
	}
	return Stop{Event: out.events, Stopped: out.stopped, Outcome: out}, nil
}
