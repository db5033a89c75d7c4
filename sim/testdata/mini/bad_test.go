package mini

import (
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCheck fails in about one world of four.
func TestCheck(t *testing.T) {
	if n := rand.Intn(100); n < 25 {
		t.Fatalf("drew %d, which is below 25", n)
	}
}

// TestGap loses an update when two goroutines meet in the gap between unlock
// and relock, which a schedule that switches only where goroutines block
// never shows.
func TestGap(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	balance := 0
	for range 4 {
		wg.Go(func() {
			mu.Lock()
			read := balance
			mu.Unlock()
			mu.Lock()
			balance = read + 1
			mu.Unlock()
		})
	}
	wg.Wait()
	if balance != 4 {
		t.Fatalf("balance is %d, not 4", balance)
	}
}

// TestSlow fails a check with a message that means lateness.
func TestSlow(t *testing.T) {
	t.Fatal("one(7) failed to reach agreement")
}

// TestForever waits for what never comes, while a clock ticks.
func TestForever(t *testing.T) {
	for range time.Tick(10 * time.Millisecond) {
	}
}

// TestBusyForever yields, but never ends.
func TestBusyForever(t *testing.T) {
	for {
		runtime.Gosched()
	}
}

// TestDeadlock locks twice.
func TestDeadlock(t *testing.T) {
	var mu sync.Mutex
	mu.Lock()
	mu.Lock()
}

// TestSpin waits for an atomic without yielding.
func TestSpin(t *testing.T) {
	var done atomic.Bool
	go func() { time.Sleep(time.Second); done.Store(true) }()
	time.Sleep(time.Millisecond)
	for !done.Load() {
	}
}

// TestPanic fails in another goroutine.
func TestPanic(t *testing.T) {
	go func() {
		time.Sleep(time.Second)
		var m map[int]int
		m[0] = 1
	}()
	time.Sleep(time.Minute)
}

// TestRace writes a variable from two goroutines.
func TestRace(t *testing.T) {
	n := 0
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { n++ })
	}
	wg.Wait()
}
