package testkit

import (
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// A spinning goroutine computes until the bubble's clock moves or a variable changes,
// and the computation keeps the clock still. Long work keeps the clock still as well,
// and ends. CPU time alone does not distinguish the two, so the watch looks at the
// functions of the goroutines. CPU time counts because real time passes on a busy
// machine without work.
const (
	// quietCPU is CPU time without a beat, without a goroutine or function new to the
	// looks, and almost without allocations. Code that encodes,
	// copies or builds a value allocates.
	quietCPU   = 2 * time.Second * raceCost
	quietLooks = 6
	quietBytes = 1 << 20 // in a second of CPU time
	// clockCPU is CPU time without a beat. A quarter of the looks show one goroutine
	// inside package time or runtime.Gosched, unlike any computation.
	clockCPU   = 3 * time.Second * raceCost
	clockLooks = 8
	// anyCPU is CPU time without a beat. Every look shows the same goroutine. Work of
	// many goroutines in turn starts the time again.
	anyCPU = 20 * time.Second * raceCost
	// floodCPU and flood find a goroutine that starts others without a sleep, before
	// the memory is full.
	floodCPU = time.Second * raceCost
	flood    = 50_000
)

// A look is a picture of a bubble.
type look struct {
	beats     int64
	cpu       time.Duration // of the process, since its start
	allocated uint64        // bytes, but for the looks themselves
	stacks    []string      // of the bubble's goroutines
}

// spinning follows a bubble since the last beat of its clock.
type spinning struct {
	first look
	seen  map[string]bool // goroutines that were not blocked, with their functions
	known look            // the last look with something new
	looks int             // since known

	always  map[string]bool // goroutines of every look
	count   int             // looks in the intersection always
	clocked map[string]int  // looks with the goroutine at the clock
}

// lasts notes a look, and reports whether a goroutine spins. excused starts the
// watch again.
func (s *spinning) lasts(l look, excused bool) bool {
	if excused || s.seen == nil || l.beats != s.first.beats {
		*s = spinning{first: l, seen: map[string]bool{}, clocked: map[string]int{}}
	}
	fresh, moving := s.note(l)
	if s.count++; s.count == 1 {
		s.always = moving
	}
	for id := range s.always {
		if !moving[id] {
			delete(s.always, id)
		}
	}
	if s.looks++; fresh || len(moving) == 0 || allocates(s.known, l) {
		s.known, s.looks = l, 0
	}
	if len(s.always) == 0 { // others have their turn
		s.first, s.count = l, 0
	}
	return s.judge(l)
}

func (s *spinning) judge(l look) bool {
	used := l.cpu - s.first.cpu
	atClock := false
	for id := range s.always {
		atClock = atClock || s.count >= clockLooks && 4*s.clocked[id] >= s.count
	}
	return s.looks >= quietLooks && l.cpu-s.known.cpu > quietCPU ||
		atClock && used > clockCPU ||
		used > anyCPU ||
		len(l.stacks) > flood && used > floodCPU
}

// note returns the goroutines of a look that are not blocked, and reports whether a
// goroutine or a function is new among them.
func (s *spinning) note(l look) (fresh bool, moving map[string]bool) {
	moving = map[string]bool{}
	for _, stack := range l.stacks {
		if durable(stack) {
			continue
		}
		id, functions := functionsOf(stack)
		moving[id] = true
		if place := id + functions; !s.seen[place] {
			s.seen[place], fresh = true, true
		}
		if strings.HasPrefix(functions, " time.") || strings.HasPrefix(functions, " runtime.Gosched") {
			s.clocked[id]++
		}
	}
	return fresh, moving
}

// allocates reports whether allocations between two looks are too many for a spin
// that only reads.
func allocates(from, to look) bool {
	seconds := (to.cpu - from.cpu).Seconds()
	return float64(to.allocated-from.allocated) > quietBytes*max(seconds, 1)
}

// functionsOf returns the number of a goroutine, and the names of the functions of
// the stack, each after a space.
func functionsOf(stack string) (id, functions string) {
	header, frames, _ := strings.Cut(stack, "\n")
	id, _, _ = strings.Cut(strings.TrimPrefix(header, "goroutine "), " ")
	var names strings.Builder
	for line := range strings.Lines(frames) {
		if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "created by ") {
			continue
		}
		name := line
		if end := strings.LastIndexByte(line, '('); end >= 0 {
			name = line[:end]
		}
		names.WriteString(" " + name)
	}
	return id, names.String()
}

// allocatedBytes returns the bytes that the process has allocated.
func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// checks reports whether the checker of histories computes. The checker has no limit of
// time.
func checks(all []string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return !durable(s) && strings.Contains(s, "/porcupine.") })
}
