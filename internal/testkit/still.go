package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A bubble's clock moves on when all goroutines of the bubble are durably
// blocked. Two habits stop the clock for good. A goroutine that waits for a lock
// is not durably blocked, so the clock stands still if the holder of the lock
// sleeps, or waits for an RPC or a channel. A goroutine that looks at the clock
// again and again without a sleep is not blocked at all. The runtime reports
// neither, so a watch outside of the bubble looks for both.
const (
	stillEvery   = 250 * time.Millisecond // of real time, between two looks
	stillSamples = 4                      // looks at which no goroutine may have moved
	beatEvery    = 10 * time.Millisecond  // of virtual time
	// outsideSamples are looks without a beat and without a goroutine that could run.
	outsideSamples = 20
)

const (
	lockReport = `virtual time stands still: a goroutine waits for a lock, whose holder waits for something else.
Hold no lock while you sleep, wait for an RPC, or use a channel. Code that must can run on the real
clock, with RAFTLAB_REALTIME=1.`
	spinReport = `virtual time stands still: a goroutine runs without sleeping, or waits for something that no
goroutine of the test does. Look again only after a sleep, and after a sleep expect the clock to show
exactly the time of the alarm. Code that must can run on the real clock, with RAFTLAB_REALTIME=1.`
)

// errLimit ends a bubble at its limit of virtual time.
var errLimit = errors.New("the test did not end")

// An Outcome says how a bubble ended, apart from the result of its test.
type Outcome struct {
	// Left holds the stacks of goroutines that stayed blocked after the body had
	// returned.
	Left string
	// Still says why virtual time stood still, with stacks. The body has not ended.
	Still string
	// Stuck says that the body cannot end, with stacks: every goroutine is blocked
	// and no timer will wake one, or the limit of virtual time has passed.
	Stuck string
}

// A Bubble says how much a bubble looks after its body.
type Bubble struct {
	// Limit bounds the virtual time of the body. 0 means no limit.
	Limit time.Duration
	// Beats has a goroutine of the bubble prove that the clock moves, which finds
	// goroutines that spin. A bubble with beats is never quite blocked, so it needs
	// a limit.
	Beats bool
}

// Run runs a body like the function Run, and leaves the judgement of the
// Outcome to the caller. The test fails, or is skipped, if the body says so.
func (b Bubble) Run(t *testing.T, body func(t *testing.T)) Outcome {
	t.Helper()
	r := &bubbleRun{Bubble: b, number: make(chan string, 1), ended: make(chan any, 1), late: make(chan struct{}, 1)}
	go r.run(t, body)
	return r.watch(t)
}

type bubbleRun struct {
	Bubble
	number  chan string
	ended   chan any // what the body panicked with, if it did
	late    chan struct{}
	beats   atomic.Int64
	skipped atomic.Bool
	done    bool // the body has not been ended by FailNow
}

func (r *bubbleRun) run(t *testing.T, body func(t *testing.T)) {
	defer func() { r.ended <- recover() }()
	synctest.Test(t, func(t *testing.T) {
		r.number <- bubbleNumber()
		stop := make(chan struct{})
		t.Cleanup(func() { // the last to run
			r.skipped.Store(t.Skipped())
			close(stop)
		})
		if r.Beats {
			go r.beat(stop)
		}
		body(t)
	})
	r.done = true
}

// beat counts virtual time until stop.
func (r *bubbleRun) beat(stop chan struct{}) {
	start := time.Now()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		r.beats.Add(1)
		if r.Limit > 0 && time.Since(start) > r.Limit {
			r.late <- struct{}{}
			return
		}
	}
}

// watch waits for the end of the bubble.
func (r *bubbleRun) watch(t *testing.T) Outcome {
	t.Helper()
	tick := time.NewTicker(stillEvery)
	defer tick.Stop()
	var id string
	var locks, outside stillness
	var spins spinning
	var own uint64 // bytes that the looks have allocated
	for {
		select {
		case id = <-r.number:
		case end := <-r.ended:
			return r.over(t, end)
		case <-r.late:
			return Outcome{Stuck: fmt.Sprintf("%v within %v of virtual time\n\n%s", errLimit, r.Limit, lockedFirst(ofBubble(id)))}
		case <-tick.C:
			before := allocatedBytes()
			all := ofBubble(id)
			if locks.lasts(lockStill(all), stillSamples) {
				return Outcome{Still: lockReport + "\n\n" + lockedFirst(all)}
			}
			beats := r.beats.Load()
			if r.Beats && (spins.lasts(look{beats, cpuTime(), before - own, all}, checks(all)) || outside.lasts(outsideStill(all, beats), outsideSamples)) {
				return Outcome{Still: spinReport + "\n\n" + movingFirst(all)}
			}
			own += allocatedBytes() - before
		}
	}
}

// over is the outcome of a bubble that has ended.
func (r *bubbleRun) over(t *testing.T, end any) Outcome {
	t.Helper()
	switch err, deadlock := isDeadlock(end); {
	case deadlock && strings.Contains(err, "has exited"):
		if r.skipped.Load() {
			t.SkipNow()
		}
		return Outcome{Left: newestBubble(stacks())}
	case deadlock:
		return Outcome{Stuck: "all goroutines of the test are blocked, and no timer will wake one\n\n" + newestBubble(stacks())}
	case end != nil:
		panic(end)
	case !r.done:
		runtime.Goexit() // as FailNow has done there
	case r.skipped.Load():
		t.SkipNow()
	}
	return Outcome{}
}

// isDeadlock reports whether a panic is synctest's report of blocked goroutines.
func isDeadlock(r any) (string, bool) {
	err, ok := r.(error)
	if !ok || !strings.HasPrefix(err.Error(), "deadlock: ") {
		return "", false
	}
	return err.Error(), true
}

// A stillness counts how often in a row a picture was the same.
type stillness struct {
	picture string
	times   int
}

// lasts notes a picture, and reports whether it was the same so many times. The
// empty picture starts the count again.
func (s *stillness) lasts(picture string, times int) bool {
	if picture == "" || picture != s.picture {
		s.picture, s.times = picture, 1
		return false
	}
	s.times++
	return s.times >= times
}

// outsideStill is a picture of goroutines that all wait, and not all of them for the
// bubble. It is empty if a goroutine can run.
func outsideStill(all []string, beats int64) string {
	outside := false
	for _, s := range all {
		if strings.HasPrefix(state(s), "run") { // running or runnable
			return ""
		}
		outside = outside || !durable(s)
	}
	if !outside {
		return ""
	}
	return fmt.Sprint(beats)
}

var bubbleHeader = regexp.MustCompile(`^goroutine \d+ \[(.*)synctest bubble (\d+)`)

// bubbleNumber returns the number of the caller's bubble. Only stack traces
// have the number.
func bubbleNumber() string {
	var buf [128]byte
	header, _, _ := bytes.Cut(buf[:runtime.Stack(buf[:], false)], []byte("\n"))
	if m := bubbleHeader.FindSubmatch(header); m != nil {
		return string(m[2])
	}
	return ""
}

// ofBubble returns the stacks of a bubble's goroutines.
func ofBubble(number string) []string {
	var found []string
	for _, s := range stacks() {
		if m := bubbleHeader.FindStringSubmatch(s); m != nil && m[2] == number {
			found = append(found, s)
		}
	}
	return found
}

// lockedFirst writes stacks. Goroutines that wait for a lock come first.
func lockedFirst(stacks []string) string { return chosenFirst(stacks, waitsForLock) }

// movingFirst writes stacks. Goroutines that are not blocked for good come first.
func movingFirst(stacks []string) string {
	return chosenFirst(stacks, func(s string) bool { return !durable(s) })
}

func chosenFirst(stacks []string, chosen func(string) bool) string {
	var first, others []string
	for _, s := range stacks {
		if chosen(s) {
			first = append(first, s)
		} else {
			others = append(others, s)
		}
	}
	return grouped(first) + "\n\n" + grouped(others)
}

func state(stack string) string { return bubbleHeader.FindStringSubmatch(stack)[1] }

func durable(stack string) bool { return strings.Contains(state(stack), "(durable)") }

func waitsForLock(stack string) bool {
	s := state(stack)
	return strings.HasPrefix(s, "sync.Mutex.Lock") || strings.HasPrefix(s, "sync.RWMutex.")
}

// lockStill returns the stacks as one text if no goroutine can move before time
// does, and time cannot move. In this case all goroutines wait, and at least
// one waits for a lock.
func lockStill(stacks []string) string {
	locked := false
	for _, s := range stacks {
		switch {
		case durable(s):
		case waitsForLock(s):
			locked = true
		default:
			return ""
		}
	}
	if !locked {
		return ""
	}
	return minutes.ReplaceAllString(strings.Join(stacks, "\n\n"), "")
}

var minutes = regexp.MustCompile(`, \d+ minutes`)
