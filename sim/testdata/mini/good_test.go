// Package mini holds small test programs, correct and broken, for the
// engines' own tests.
package mini

import (
	crand "crypto/rand"
	"fmt"
	"hash/maphash"
	"math/rand"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMixed prints what depends on every source of chance there is.
func TestMixed(t *testing.T) {
	began := time.Now()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		order []int
		chans [4]chan int
	)
	for i := range chans {
		chans[i] = make(chan int, 8)
	}
	for i := range 40 {
		wg.Go(func() {
			if i%3 == 0 {
				time.Sleep(time.Duration(rand.Intn(1000)) * time.Millisecond)
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			chans[i%4] <- i
		})
	}
	var picked []int
	for range 40 {
		select {
		case v := <-chans[0]:
			picked = append(picked, v)
		case v := <-chans[1]:
			picked = append(picked, v)
		case v := <-chans[2]:
			picked = append(picked, v)
		case v := <-chans[3]:
			picked = append(picked, v)
		case <-time.After(time.Second):
			t.Fatal("nobody sends")
		}
	}
	wg.Wait()
	fmt.Println("order", order)
	fmt.Println("picked", picked)
	names := map[string]*int{}
	for i := range 30 {
		names[fmt.Sprint("n", i)] = new(int)
	}
	for name := range names {
		fmt.Print(name, " ")
	}
	pointers := map[*int]string{}
	for name, p := range names {
		pointers[p] = name
	}
	for _, name := range pointers {
		fmt.Print(name, " ")
	}
	secret := make([]byte, 8)
	crand.Read(secret)
	fmt.Printf("\n%x %d %x %p\n", secret, rand.Int(), maphash.String(maphash.MakeSeed(), "x"), t)
	fmt.Println(runtime.NumCPU(), runtime.GOMAXPROCS(4), runtime.GOMAXPROCS(0), time.Since(began), began.UnixNano())
}

// TestHours sleeps for a long time.
func TestHours(t *testing.T) {
	began := time.Now()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for range 300 {
		<-tick.C
	}
	if d := time.Since(began); d < 5*time.Hour || d > 5*time.Hour+time.Second {
		t.Errorf("300 minutes took %v", d)
	}
}

// TestCrowd has thousands of goroutines that sleep, each until another moment.
func TestCrowd(t *testing.T) {
	var wg sync.WaitGroup
	for range 20_000 {
		wg.Go(func() { time.Sleep(time.Duration(rand.Intn(1e9))) })
	}
	wg.Wait()
}

// TestPolling waits in each of the ways that never let the world go idle.
func TestPolling(t *testing.T) {
	t.Run("clock", func(t *testing.T) {
		for began := time.Now(); time.Since(began) < 2*time.Second; {
		}
	})
	t.Run("gosched", func(t *testing.T) {
		var done atomic.Bool
		time.AfterFunc(time.Second, func() { done.Store(true) })
		for !done.Load() {
			runtime.Gosched()
		}
	})
	t.Run("mutex", func(t *testing.T) {
		var mu sync.Mutex
		done := false
		time.AfterFunc(time.Second, func() { mu.Lock(); done = true; mu.Unlock() })
		for over := false; !over; {
			mu.Lock()
			over = done
			mu.Unlock()
		}
	})
	t.Run("select", func(t *testing.T) {
		after := time.After(time.Second)
		other := make(chan int)
		for {
			select {
			case <-after:
				return
			case <-other:
			default:
			}
		}
	})
	t.Run("receive", func(t *testing.T) {
		done := make(chan int)
		go func() { time.Sleep(time.Second); close(done) }()
		for {
			select {
			case <-done:
				return
			default:
			}
		}
	})
}

// TestGarbage allocates far more than the memory limit of a run.
func TestGarbage(t *testing.T) {
	var wg sync.WaitGroup
	live := make([][]byte, 64)
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				live[(g*16)+i%16] = make([]byte, 16<<10+rand.Intn(1<<10))
				if i%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	runtime.GC()
	fmt.Println(rand.Int(), len(live))
}

// TestFiles uses the temporary directory.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/x", []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Println(dir)
}

// TestTimeZone reads a time zone, which comes with the binary where there are no
// files for it.
func TestTimeZone(t *testing.T) {
	zone, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(time.Now().In(zone))
}

// TestQuotes passes, whatever it says.
func TestQuotes(t *testing.T) {
	quotes()
}

// quotes prints what the ends of other runs look like.
func quotes() {
	fmt.Println("WARNING: DATA RACE")
	fmt.Println("fatal error: all goroutines are asleep - deadlock!")
	fmt.Println("panic: at the disco")
	fmt.Println("--- FAIL: TestOther")
}

// TestParallel has subtests that overlap.
func TestParallel(t *testing.T) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			time.Sleep(time.Duration(rand.Intn(100)) * time.Millisecond)
			fmt.Println("done", i)
		})
	}
}

// TestOwnFiles fails if another run has changed the directory of the package.
func TestOwnFiles(t *testing.T) {
	if err := os.Mkdir("left", 0o755); err != nil {
		t.Fatal("another run was here:", err)
	}
	if err := os.WriteFile("left/file", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("../mini/left/file"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for _, err := range []error{os.Rename("left/file", "left/other"), os.RemoveAll("left"), os.Mkdir("left", 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir("left"); err != nil || len(entries) > 0 {
		t.Fatalf("%v in a new directory, error %v", entries, err)
	}
}
