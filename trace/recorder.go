package trace

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Recorder.
const (
	// MaxEvents bounds the events. A chunk of the oldest makes room for new ones.
	MaxEvents = 120_000
	// MaxBytes bounds the bodies and texts of the kept events.
	MaxBytes = 24 << 20
	// maxBody bounds the body of one message. A longer body is left out.
	maxBody = 256 << 10
	// maxBreaches bounds the breaches. The first one matters most.
	maxBreaches = 20
)

// Options say what a Recorder does beside collecting events.
type Options struct {
	// Output returns the number of bytes written by the program, and may be nil. With
	// the numbers, [Recording.AddOutput] finds the place of each line. The recorder
	// makes one call at a time.
	Output func() int64
	// Stream receives each event at once, and may be nil. A crashed run
	// leaves its events there. [ReadFile] reads the stream. The stream changes neither the
	// schedule of goroutines nor the clock of a simulated run.
	Stream func(line []byte)
	// Spin makes goroutines poll for the recorder's lock. raftlab sim may switch goroutines
	// at each operation of a mutex, and recording should add no such points to a run.
	Spin bool
}

// A Recorder collects the events of a run. Any goroutine may call the methods.
type Recorder struct {
	options Options
	start   time.Time
	output  int64 // the length of the output at the start
	stopped atomic.Bool

	lock     lock
	lanes    []Lane
	byName   map[string]int
	ring     ring
	breaches []Breach
	buffer   []byte // of the stream
}

// A lock is a mutex, or polls.
type lock struct {
	spin bool
	mu   sync.Mutex
	held atomic.Bool
}

func (l *lock) acquire() {
	if !l.spin {
		l.mu.Lock()
		return
	}
	for !l.held.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (l *lock) release() {
	if !l.spin {
		l.mu.Unlock()
		return
	}
	l.held.Store(false)
}

// NewRecorder starts a recording.
func NewRecorder(options Options) *Recorder {
	r := &Recorder{options: options, start: time.Now(), byName: make(map[string]int), lock: lock{spin: options.Spin}}
	if options.Output != nil {
		r.output = options.Output()
	}
	return r
}

// Start returns the time of the recording's start, from which events count.
func (r *Recorder) Start() time.Time { return r.start }

// Lane returns the number of a lane, which the first call for a name makes.
func (r *Recorder) Lane(name string, kind LaneKind) int { return r.lane(Lane{Name: name, Kind: kind}) }

// Running is Lane for a server that may have had a term and a log before the recording. The
// state of such a server is unknown at first, and few broken rules can be shown.
func (r *Recorder) Running(name string) int {
	return r.lane(Lane{Name: name, Kind: Server, Running: true})
}

func (r *Recorder) lane(l Lane) int {
	r.lock.acquire()
	defer r.lock.release()
	i, ok := r.byName[l.Name]
	if !ok {
		i = len(r.lanes)
		r.byName[l.Name] = i
		r.lanes = append(r.lanes, l)
		r.stream(line{Lane: &r.lanes[i]})
	}
	return i
}

// Now returns the time since the start.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Add adds an event. The recorder copies the Data. The caller does not change the Fields
// and the Entries later.
func (r *Recorder) Add(e Event) {
	if r.stopped.Load() {
		return
	}
	r.lock.acquire()
	defer r.lock.release()
	if r.options.Output != nil {
		e.Output = r.options.Output()
	}
	r.add(&e)
}

// add adds an event. The caller holds the lock.
func (r *Recorder) add(e *Event) {
	if r.stopped.Load() {
		return
	}
	if len(e.Data) > maxBody {
		e.Data = nil
	}
	if r.options.Stream != nil {
		r.buffer = appendEvent(r.buffer[:0], e)
		r.options.Stream(r.buffer)
	}
	r.ring.add(e)
}

// Mark notes the length of the output so far. A program that writes lines without sending
// messages calls Mark now and then, so that the lines get a time.
func (r *Recorder) Mark() {
	if r.options.Output == nil || r.stopped.Load() {
		return
	}
	now := r.Now()
	r.lock.acquire()
	defer r.lock.release()
	if output := r.options.Output(); output > r.ring.newest {
		r.add(&Event{Time: now, Kind: Noted, Lane: NoLane, Output: output})
	}
}

// Break adds a breach of a rule. Beyond the first breaches, Break does nothing.
func (r *Recorder) Break(b Breach) {
	now := r.Now()
	r.lock.acquire()
	defer r.lock.release()
	if r.stopped.Load() || len(r.breaches) >= maxBreaches {
		return
	}
	b.Time = now
	r.breaches = append(r.breaches, b)
	r.stream(line{Breach: &b})
}

// stream encodes a line, also without a stream, so a stream does not change a simulated run.
func (r *Recorder) stream(l line) {
	if encoded := mustLine(l); r.options.Stream != nil {
		r.options.Stream(encoded)
	}
}

// Broken reports whether a breach was added.
func (r *Recorder) Broken() bool {
	r.lock.acquire()
	defer r.lock.release()
	return len(r.breaches) > 0
}

// Stop ends the recording. Later events and breaches are ignored.
func (r *Recorder) Stop() {
	r.lock.acquire()
	defer r.lock.release()
	r.stopped.Store(true)
}

// Recording stops the recorder and returns what was recorded.
func (r *Recorder) Recording() *Recording {
	r.Stop()
	r.lock.acquire()
	defer r.lock.release()
	return &Recording{Lanes: r.lanes, Events: r.ring.all(), Omitted: r.ring.omitted, Breaches: r.breaches, Output: r.output}
}
