package trace

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Bounds of a Recorder.
const (
	// MaxEvents bounds the events. A chunk of the oldest makes room for new ones.
	MaxEvents = 120_000
	// MaxBytes bounds the bodies of the kept messages.
	MaxBytes = 24 << 20
	// maxBody bounds the body of one message. A longer body is left out.
	maxBody = 256 << 10
	// maxBreaches bounds the breaches. The first one matters most.
	maxBreaches = 20

	chunkEvents = 1024
)

// Options say what a Recorder does beside collecting events.
type Options struct {
	// Output returns the number of bytes written by the program, and may be nil. With
	// the numbers, [Recording.AddOutput] finds the place of each line.
	Output func() int64
	// Stream receives each event at once, and may be nil. A crashed run
	// leaves its events there. [ReadFile] reads the stream. The stream changes neither the
	// schedule of goroutines nor the clock of a simulated run.
	Stream func(line []byte)
}

// A Recorder collects the events of a run. Any goroutine may call the methods.
//
// A Recorder uses no mutex, because raftlab sim counts the operations of mutexes as points
// at which goroutines may switch.
type Recorder struct {
	options Options
	start   time.Time
	output  int64 // the length of the output at the start

	lock     atomic.Bool
	stopped  bool
	lanes    []Lane
	byName   map[string]int
	chunks   []*chunk
	events   int
	bytes    int
	omitted  int
	breaches []Breach
	buffer   []byte // of the stream
}

// A chunk is a piece of the ring of events.
type chunk struct {
	events []Event
	bytes  int
}

// NewRecorder starts a recording.
func NewRecorder(options Options) *Recorder {
	r := &Recorder{options: options, start: time.Now(), byName: make(map[string]int)}
	if options.Output != nil {
		r.output = options.Output()
	}
	return r
}

// Start returns the time of the recording's start, from which events count.
func (r *Recorder) Start() time.Time { return r.start }

func (r *Recorder) acquire() {
	for !r.lock.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (r *Recorder) release() { r.lock.Store(false) }

// Lane returns the number of a lane, which the first call for a name makes.
func (r *Recorder) Lane(name string, kind LaneKind) int {
	r.acquire()
	defer r.release()
	i, ok := r.byName[name]
	if !ok {
		i = len(r.lanes)
		r.byName[name] = i
		r.lanes = append(r.lanes, Lane{name, kind})
		r.stream(line{Lane: &r.lanes[i]})
	}
	return i
}

// Now returns the time since the start.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Add adds an event. The caller changes neither the fields' contents nor the Data later.
func (r *Recorder) Add(e Event) {
	r.acquire()
	defer r.release()
	if r.stopped {
		return
	}
	if r.options.Output != nil {
		e.Output = r.options.Output()
	}
	if len(e.Data) > maxBody {
		e.Data = nil
	}
	if r.options.Stream != nil {
		r.buffer = appendEvent(r.buffer[:0], &e)
		r.options.Stream(r.buffer)
	}
	c := r.room()
	c.events = append(c.events, e)
	c.bytes += len(e.Data)
	r.events++
	r.bytes += len(e.Data)
}

// Mark notes the length of the output so far. A program that writes lines without sending
// messages calls Mark now and then, so that the lines get a time.
func (r *Recorder) Mark() {
	if r.options.Output == nil {
		return
	}
	r.acquire()
	newest := int64(0)
	if n := len(r.chunks); n > 0 {
		events := r.chunks[n-1].events
		newest = events[len(events)-1].Output
	}
	stopped := r.stopped
	r.release()
	if now := r.options.Output(); now > newest && !stopped {
		r.Add(Event{Time: r.Now(), Kind: Noted, Lane: NoLane})
	}
}

// room returns the chunk for the next event, after leaving out the oldest chunks beyond
// the bounds.
func (r *Recorder) room() *chunk {
	for len(r.chunks) > 1 && (r.events >= MaxEvents || r.bytes >= MaxBytes) {
		oldest := r.chunks[0]
		r.events -= len(oldest.events)
		r.bytes -= oldest.bytes
		r.omitted += len(oldest.events)
		r.chunks[0] = nil
		r.chunks = r.chunks[1:]
	}
	if n := len(r.chunks); n > 0 {
		last := r.chunks[n-1]
		full := len(last.events) == chunkEvents || last.bytes >= MaxBytes/8
		if !full {
			return last
		}
	}
	// A short run needs no whole chunk at once.
	size := chunkEvents
	if len(r.chunks) == 0 {
		size = 256
	}
	c := &chunk{events: make([]Event, 0, size)}
	r.chunks = append(r.chunks, c)
	return c
}

// Break adds a breach of a rule. Beyond the first breaches, Break does nothing.
func (r *Recorder) Break(b Breach) {
	now := r.Now()
	r.acquire()
	defer r.release()
	if r.stopped || len(r.breaches) >= maxBreaches {
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
	r.acquire()
	defer r.release()
	return len(r.breaches) > 0
}

// Stop ends the recording. Later events and breaches are ignored.
func (r *Recorder) Stop() {
	r.acquire()
	defer r.release()
	r.stopped = true
}

// Recording stops the recorder and returns what was recorded.
func (r *Recorder) Recording() *Recording {
	r.Stop()
	r.acquire()
	defer r.release()
	run := &Recording{Lanes: r.lanes, Omitted: r.omitted, Breaches: r.breaches, Output: r.output}
	for _, c := range r.chunks {
		run.Events = append(run.Events, c.events...)
	}
	return run
}
