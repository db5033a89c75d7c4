package mini

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strings"
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

// TestAssertion fails with a message that begins on the next line, as those of
// assertion libraries do.
func TestAssertion(t *testing.T) {
	t.Errorf("\n\tError Trace:\t/some/where.go:7\n\tError:      \tNot equal: \n\t            \texpected: 1\n\t            \tactual  : 2\n\tTest:       \tTestAssertion")
	t.Log("said after the failed check")
}

// TestQuotesFails fails, and says other things before.
func TestQuotesFails(t *testing.T) {
	quotes()
	fmt.Print("no newline")
	t.Error("wrong \xff value")
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

// TestLockOrder deadlocks, while another goroutine wakes now and then. A third
// goroutine asks for a lock later.
func TestLockOrder(t *testing.T) {
	go func() {
		for range time.Tick(time.Second) {
		}
	}()
	var a, b sync.Mutex
	var wg sync.WaitGroup
	both := func(first, second *sync.Mutex) {
		first.Lock()
		defer first.Unlock()
		time.Sleep(time.Millisecond)
		second.Lock()
		defer second.Unlock()
	}
	wg.Go(func() { both(&a, &b) })
	wg.Go(func() { both(&b, &a) })
	wg.Go(func() {
		time.Sleep(time.Second)
		a.Lock()
	})
	wg.Wait()
}

// TestCrowdedDeadlock is such a deadlock among many goroutines that go on.
func TestCrowdedDeadlock(t *testing.T) {
	for range 40 {
		go func() {
			for range time.Tick(time.Second) {
			}
		}()
	}
	var a, b sync.Mutex
	go func() {
		a.Lock()
		time.Sleep(time.Millisecond)
		b.Lock()
	}()
	b.Lock()
	time.Sleep(time.Millisecond)
	a.Lock()
}

// TestLongControl loses an update as TestGap does, beside a bystander, and goes on for a
// long time if it does not.
func TestLongControl(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	balance := 0
	wg.Go(bystander)
	for range 2 {
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
	if balance != 2 {
		t.Fatalf("balance is %d, not 2", balance)
	}
	for range 10_000 {
		time.Sleep(time.Millisecond)
	}
}

// bystander uses a lock of its own.
func bystander() {
	var mu sync.Mutex
	for range 20 {
		mu.Lock()
		mu.Unlock()
	}
}

// TestContended has goroutines that hold a mutex for most of the time, and go on
// without end.
func TestContended(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				mu.Lock()
				time.Sleep(50 * time.Millisecond)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestHoard keeps all memory that it can get.
func TestHoard(t *testing.T) {
	var hoard [][]byte
	for {
		hoard = append(hoard, make([]byte, 1<<20))
		clear(hoard[len(hoard)-1])
	}
}

// TestLoud writes without end.
func TestLoud(t *testing.T) {
	line := strings.Repeat("x", 999)
	for {
		fmt.Println(line)
	}
}

// TestExit leaves the test without its result.
func TestExit(t *testing.T) { os.Exit(3) }

// TestFatalElsewhere fails outside of the test's goroutine.
func TestFatalElsewhere(t *testing.T) {
	done := make(chan bool)
	go func() {
		defer close(done)
		t.Fatal("wrong value")
	}()
	<-done
}

// FuzzSeed fails on its seed corpus.
func FuzzSeed(f *testing.F) {
	f.Add(5)
	f.Fuzz(func(t *testing.T, n int) {
		if n == 5 {
			t.Fatal("five")
		}
	})
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

// TestRepeat prints the command that repeats it.
func TestRepeat(t *testing.T) {
	t.Fatal("repeat with: " + strings.TrimSpace(os.Getenv("RAFTLAB_SIM_REPEAT")))
}

// TestGoesOn goes on after a failed check.
func TestGoesOn(t *testing.T) {
	var mu sync.Mutex
	before := func() { mu.Lock(); mu.Unlock() }
	if t.Failed() { // asks, and fails nothing
		return
	}
	before()
	t.Error("a value is wrong")
	for range 20 {
		time.Sleep(time.Second)
	}
}

// TestCalibrates computes more and more until a second has passed.
func TestCalibrates(t *testing.T) {
	sum := 0
	for n := 1; ; n *= 2 {
		start := time.Now()
		for i := range n {
			sum += i * sum
		}
		if time.Since(start) > time.Second {
			break
		}
	}
	t.Log(sum)
}

// TestComputesOn computes in small portions until a minute has passed.
func TestComputesOn(t *testing.T) {
	sum := 0
	for start := time.Now(); time.Since(start) < time.Minute; {
		for i := range 1 << 24 {
			sum += i * sum
		}
	}
	t.Log(sum)
}
