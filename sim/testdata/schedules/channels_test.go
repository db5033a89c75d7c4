package schedules

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestDoubleClose fails if both goroutines find the channel open before either
// one closes it.
func TestDoubleClose(t *testing.T)      { doubleClose(t, false) }
func TestDoubleCloseFixed(t *testing.T) { doubleClose(t, true) }

func doubleClose(t *testing.T, fixed bool) {
	done := make(chan int)
	var once sync.Once
	var closing atomic.Bool
	stop := func() {
		if fixed {
			once.Do(func() { close(done) })
			return
		}
		if !closing.Load() {
			closing.Store(true)
			close(done)
		}
	}
	together(stop, stop)
	<-done
}

// TestSendOnClosed fails if the sender finds the channel open, and the closer
// closes it before the send.
func TestSendOnClosed(t *testing.T)      { sendOnClosed(t, false) }
func TestSendOnClosedFixed(t *testing.T) { sendOnClosed(t, true) }

func sendOnClosed(t *testing.T, fixed bool) {
	var mu sync.Mutex
	closed := false
	c := make(chan int, 4)
	send := func() {
		for i := range 2 {
			mu.Lock()
			open := !closed
			if fixed && open {
				c <- i
			}
			mu.Unlock()
			if !fixed && open {
				c <- i
			}
		}
	}
	together(send, func() {
		mu.Lock()
		closed = true
		mu.Unlock()
		mu.Lock() // with the lock, no sender is between its look and its send
		close(c)
		mu.Unlock()
	})
}

// TestMissedSignal fails if the signal comes between the look at the flag and
// the wait.
func TestMissedSignal(t *testing.T)      { missedSignal(t, false) }
func TestMissedSignalFixed(t *testing.T) { missedSignal(t, true) }

func missedSignal(t *testing.T, fixed bool) {
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	ready := false
	together(
		func() {
			mu.Lock()
			waits := !ready
			if !fixed {
				mu.Unlock()
				mu.Lock()
			}
			if waits {
				cond.Wait()
			}
			mu.Unlock()
		},
		func() {
			mu.Lock()
			ready = true
			cond.Signal()
			mu.Unlock()
		},
	)
}

// TestSemaphore fails if both parents have a slot before either child has one:
// the semaphore has one slot too few.
func TestSemaphore(t *testing.T)      { semaphore(t, false) }
func TestSemaphoreFixed(t *testing.T) { semaphore(t, true) }

func semaphore(t *testing.T, fixed bool) {
	slots := make(chan int, 2)
	if fixed {
		slots = make(chan int, 3)
	}
	parent := func() {
		slots <- 1
		together(func() {
			slots <- 1
			<-slots
		})
		<-slots
	}
	together(parent, parent)
}

// TestLateAdd fails if Wait looks before a goroutine has added itself.
func TestLateAdd(t *testing.T)      { lateAdd(t, false) }
func TestLateAddFixed(t *testing.T) { lateAdd(t, true) }

func lateAdd(t *testing.T, fixed bool) {
	var wg, all sync.WaitGroup
	var finished atomic.Int32
	started := make(chan int, 2)
	for range 2 {
		if fixed {
			wg.Add(1)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			started <- 1
			if !fixed {
				wg.Add(1)
			}
			defer wg.Done()
			finished.Add(1)
		}()
	}
	<-started
	<-started
	wg.Wait()
	if n := finished.Load(); n != 2 {
		t.Errorf("Wait is over, and %d of 2 have finished", n)
	}
	all.Wait()
}

// TestCancelled fails if the context ends, and its resource with it, between
// the check and the use.
func TestCancelled(t *testing.T)      { cancelled(t, false) }
func TestCancelledFixed(t *testing.T) { cancelled(t, true) }

func cancelled(t *testing.T, fixed bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	open := true
	together(
		func() {
			if fixed {
				mu.Lock()
				defer mu.Unlock()
			}
			if ctx.Err() == nil && !open {
				t.Error("the resource is used after its end")
			}
		},
		func() {
			if fixed {
				mu.Lock()
				defer mu.Unlock()
			}
			open = false
			cancel()
		},
	)
}

// TestRenewedLease fails if the timer of a lease fires, the lease is renewed,
// and then the timer's function ends the renewed lease.
func TestRenewedLease(t *testing.T)      { renewedLease(t, false) }
func TestRenewedLeaseFixed(t *testing.T) { renewedLease(t, true) }

func renewedLease(t *testing.T, fixed bool) {
	var mu sync.Mutex
	held, term := true, 1
	expire := func(of int) func() {
		return func() {
			mu.Lock()
			defer mu.Unlock()
			if !fixed || of == term {
				held = false
			}
		}
	}
	timer := time.AfterFunc(10*time.Millisecond, expire(1))
	time.Sleep(10 * time.Millisecond)
	mu.Lock()
	renewed := held
	if renewed {
		term++
		timer.Stop()
		timer = time.AfterFunc(time.Hour, expire(term))
	}
	mu.Unlock()
	time.Sleep(time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	timer.Stop()
	if renewed && !held {
		t.Error("the lease was renewed, and then it ended")
	}
}

// TestBarrier fails if a fast goroutine is back at the barrier before a slow
// one has left it, and resets the count that the slow one waits for.
func TestBarrier(t *testing.T)      { barrier(t, false) }
func TestBarrierFixed(t *testing.T) { barrier(t, true) }

func barrier(t *testing.T, fixed bool) {
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	waiting, round := 0, 0
	await := func() {
		mu.Lock()
		defer mu.Unlock()
		mine := round
		waiting++
		if waiting == 2 {
			if fixed {
				waiting = 0
			}
			round++
			cond.Broadcast()
			return
		}
		if fixed {
			for mine == round {
				cond.Wait()
			}
			return
		}
		for waiting < 2 {
			cond.Wait()
		}
		waiting = 0
	}
	walk := func() {
		await()
		await()
	}
	together(walk, walk)
}
