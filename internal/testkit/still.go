package testkit

import (
	"bytes"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A bubble's clock moves on when all goroutines of the bubble are durably
// blocked. A goroutine that waits for a lock is not durably blocked. If the
// holder of the lock sleeps, or waits for an RPC or a channel, the clock stands
// still for good. The runtime then reports no deadlock, so a watch outside of
// the bubble looks for this case.
const (
	stillEvery   = 500 * time.Millisecond // of real time, between two looks
	stillSamples = 3                      // looks at which nothing may have changed
)

const stillReport = `virtual time stands still: a goroutine waits for a lock, whose holder waits for something else.
Hold no lock while you sleep, wait for an RPC, or use a channel. Code that must can run on the real
clock, with RAFTLAB_REALTIME=1.`

// inBubble is synctest.Test with a watch. If virtual time stands still,
// inBubble fails the test and returns, and the goroutines of the bubble stay
// blocked.
func inBubble(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	number := make(chan string, 1)
	ended := make(chan any, 1) // what it panicked with, if it did
	returned := false
	go func() {
		defer func() { ended <- recover() }()
		synctest.Test(t, func(t *testing.T) {
			number <- bubbleNumber()
			body(t)
		})
		returned = true
	}()
	look := time.NewTicker(stillEvery)
	defer look.Stop()
	var id string
	var last string
	for repeats := 0; ; {
		select {
		case id = <-number:
		case r := <-ended:
			if r != nil {
				panic(r)
			}
			if !returned {
				runtime.Goexit() // as FailNow has done there
			}
			return
		case <-look.C:
			now := stillness(ofBubble(id))
			if now == "" || now != last {
				last, repeats = now, 1
				continue
			}
			if repeats++; repeats >= stillSamples {
				t.Errorf("%s\n\n%s", stillReport, lockedFirst(ofBubble(id)))
				return
			}
		}
	}
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
func lockedFirst(stacks []string) string {
	var locked, others []string
	for _, s := range stacks {
		if waitsForLock(bubbleHeader.FindStringSubmatch(s)[1]) {
			locked = append(locked, s)
		} else {
			others = append(others, s)
		}
	}
	return grouped(locked) + "\n\n" + grouped(others)
}

func waitsForLock(state string) bool {
	return strings.HasPrefix(state, "sync.Mutex.Lock") || strings.HasPrefix(state, "sync.RWMutex.")
}

// stillness returns the stacks as one text if no goroutine can move before time
// does, and time cannot move. In this case all goroutines wait, and at least
// one waits for a lock.
func stillness(stacks []string) string {
	locked := false
	for _, s := range stacks {
		state := bubbleHeader.FindStringSubmatch(s)[1]
		switch {
		case strings.Contains(state, "(durable)"):
		case waitsForLock(state):
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
