package testkit

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func regexpQuote(s string) string { return regexp.QuoteMeta(s) }

// Run runs a test's body in a testing/synctest bubble, or on the real clock
// under RAFTLAB_REALTIME=1. The body must end every goroutine that it starts.
// The test fails if all goroutines of the bubble block for good, or if some are
// left at the end of the body. The log then shows the stacks of these
// goroutines, identical ones counted together. The goroutines stay blocked, and
// later tests run on. The test fails in the same way if virtual time stands
// still, because the holder of a lock waits.
//
// A test close to go test's -timeout prints the command that repeats the test.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	Seed(t) // so that any failure prints the line
	defer Watch(t)()
	if RealTime() {
		body(t)
		return
	}
	switch end := (Bubble{}).Run(t, body); {
	case end.Left != "":
		t.Errorf("the test's body has returned, and goroutines that it started are blocked for good\n\n%s", end.Left)
	case end.Still+end.Stuck != "":
		t.Error(end.Still + end.Stuck)
	}
}

// Settle lets the other goroutines come to rest. In a bubble and in a simulated world, the
// clock moves on only then. On the real clock Settle is a short sleep, and may not be enough.
func Settle() { time.Sleep(time.Millisecond) }

// Watch prints the command that repeats the test shortly before go test's
// timeout, because the report of the timeout lacks the command. The returned
// function ends the watch.
func Watch(t *testing.T) func() {
	deadline, ok := t.Deadline()
	if !ok {
		return func() {}
	}
	line := RepeatLine(t.Name(), Seed(t), RealTime())
	timer := time.AfterFunc(time.Until(deadline)-time.Second, func() {
		fmt.Fprintf(os.Stderr, "%s is about to time out; %s\n", t.Name(), line)
		if !RealTime() {
			fmt.Fprintf(os.Stderr, "code that looks again and again without sleeping keeps virtual time from moving; RAFTLAB_REALTIME=1 runs it on the real clock\n")
		}
	})
	return func() { timer.Stop() }
}

// Stacks writes the stacks of all goroutines, identical ones once with their number.
func Stacks() string { return grouped(stacks()) }

// stacks returns the stack of each goroutine.
func stacks() []string {
	for size := 1 << 20; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return strings.Split(strings.TrimSpace(string(buf[:n])), "\n\n")
		}
	}
}

var (
	goroutineHeader = regexp.MustCompile(`^goroutine \d+ (\[[^\]]*\])`)
	hexArguments    = regexp.MustCompile(`\((?:0x|\{|\.\.\.|_).*\)$|\+0x[0-9a-f]+| in goroutine \d+`)
)

// newestBubble writes the stacks of the bubble with the highest number. A test
// that failed before may have left another bubble.
func newestBubble(all []string) string {
	newest := 0
	var found []string
	for _, s := range all {
		m := bubbleHeader.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		var number int
		fmt.Sscan(m[2], &number)
		if number > newest {
			newest, found = number, nil
		}
		if number == newest {
			found = append(found, s)
		}
	}
	return grouped(found)
}

// grouped writes stacks, equal ones once with their number.
func grouped(all []string) string {
	count := make(map[string]int)
	var order []string
	for _, s := range all {
		lines := strings.Split(s, "\n")
		if m := goroutineHeader.FindStringSubmatch(lines[0]); m != nil {
			lines[0] = m[1]
		}
		for i := range lines {
			lines[i] = strings.TrimRight(hexArguments.ReplaceAllString(lines[i], ""), " ")
		}
		key := strings.Join(lines, "\n")
		if count[key]++; count[key] == 1 {
			order = append(order, key)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return count[b] - count[a] })
	var out strings.Builder
	for _, key := range order {
		fmt.Fprintf(&out, "%d goroutine(s) %s\n\n", count[key], key)
	}
	return strings.TrimSpace(out.String())
}

// leakGrace is how long NoLeaks waits for goroutines to end.
const leakGrace = 2 * time.Second

// NoLeaks fails the test if new goroutines run at the end of the test and do
// not end within 2 s. NoLeaks is for tests on the real clock, because Run
// checks bubbles. Such a test must not be parallel to others.
func NoLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	for range 5 { // what has just ended may still be counted, and would hide a leak
		time.Sleep(time.Millisecond)
		before = min(before, runtime.NumGoroutine())
	}
	t.Cleanup(func() {
		if !Eventually(leakGrace, func() bool { return runtime.NumGoroutine() <= before }) {
			t.Errorf("%d goroutines at the end, %d at the start\n\n%s", runtime.NumGoroutine(), before, grouped(stacks()))
		}
	})
}
