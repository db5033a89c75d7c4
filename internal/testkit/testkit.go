// Package testkit is the base of the project's tests. A failing test prints its
// seed and takes the seed back. Tests run in virtual time, wait for conditions,
// and check for leaked goroutines.
//
// A typical test:
//
//	func TestElection(t *testing.T) {
//		testkit.Run(t, func(t *testing.T) {
//			net := labrpc.MakeNetworkSeed(testkit.Seed(t))
//			defer net.Cleanup()
//			...
//			testkit.WaitFor(t, 5*time.Second, "a leader", func() bool { ... })
//		})
//	}
//
// # Environment
//
//	-seed N, RAFTLAB_SEED=N   the seed of every test, in place of a random one for each
//	RAFTLAB_REALTIME=1        tests run on the real clock, not in a synctest bubble
//	RAFTLAB_SOAK=1            long cases run in full
//	RAFTLAB_SIM_REPEAT        the command that repeats the run, set by raftlab sim
package testkit

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var seedFlag = flag.String("seed", os.Getenv("RAFTLAB_SEED"), "seed of every test's random choices (default: RAFTLAB_SEED, else one drawn for each test)")

// seeds holds the seeds of running tests by name.
var seeds sync.Map

// Seed returns the seed of a test. The seed is the -seed flag, or RAFTLAB_SEED,
// or random. Each call within one test returns the same seed. If the test
// fails, the log shows the command that repeats the test.
func Seed(t testing.TB) int64 {
	t.Helper()
	seed, err := ChooseSeed()
	if err != nil {
		t.Fatal(err)
	}
	if have, known := seeds.LoadOrStore(t.Name(), seed); known {
		return have.(int64)
	}
	t.Cleanup(func() {
		seeds.Delete(t.Name())
		if t.Failed() && os.Getenv(labResult) == "" {
			t.Log(RepeatLine(t.Name(), seed, RealTime()))
		}
	})
	return seed
}

// labResult is set in a child of labrun, whose parent prints the command.
const labResult = "RAFTLAB_LAB_RESULT"

// ChooseSeed returns the seed of the -seed flag or of RAFTLAB_SEED, or a random one.
func ChooseSeed() (int64, error) {
	if *seedFlag == "" {
		return rand.Int64(), nil
	}
	seed, err := strconv.ParseInt(*seedFlag, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("seed %q (-seed or RAFTLAB_SEED) is not a 64-bit integer", *seedFlag)
	}
	return seed, nil
}

// Rand returns a random source seeded with the test's seed. Each call starts
// the same stream again.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(uint64(Seed(t)), 0))
}

// simRepeat is the variable in which raftlab sim passes the command that
// repeats a run. No other command repeats the schedule and the clock as well.
const simRepeat = "RAFTLAB_SIM_REPEAT"

// Simulated reports whether raftlab sim runs this process.
func Simulated() bool { return os.Getenv(simRepeat) != "" }

// Tags are the build tags of the test binary, separated by commas, that a repetition of a
// test needs.
var Tags string

// RepeatLine returns the line with the command that runs one test with one seed, on
// the real clock or in virtual time.
func RepeatLine(test string, seed int64, clock bool) string {
	if command := strings.TrimSpace(os.Getenv(simRepeat)); command != "" {
		return "repeat with: " + command
	}
	env := ""
	if clock {
		env = "RAFTLAB_REALTIME=1 "
	}
	tags := ""
	if Tags != "" {
		tags = "-tags=" + Tags + " "
	}
	return fmt.Sprintf("repeat with: %sgo test %s%s -run '%s' -seed=%d", env, tags, PackageDir(), RunPattern(test), seed)
}

// RunPattern returns the -run pattern of one test.
func RunPattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexpQuote(p) + "$"
	}
	return strings.Join(parts, "/")
}

// PackageDir returns the directory of the package under test, relative to the
// module's root. Tests run in the directory of their package.
func PackageDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for root := dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			rel, _ := filepath.Rel(root, dir)
			return "./" + filepath.ToSlash(rel)
		}
		if root == filepath.Dir(root) {
			return "."
		}
	}
}

// RealTime says whether tests run on the real clock (RAFTLAB_REALTIME=1).
func RealTime() bool { return os.Getenv("RAFTLAB_REALTIME") == "1" }

// VirtualOnly skips a test on the real clock. There the test would measure the
// machine or take minutes.
func VirtualOnly(t testing.TB) {
	t.Helper()
	if RealTime() {
		t.Skip("only in virtual time")
	}
}

// Soak says whether long cases run in full (RAFTLAB_SOAK=1).
func Soak() bool { return os.Getenv("RAFTLAB_SOAK") == "1" }

// SoakFactor is the multiplier of long cases, 10 under RAFTLAB_SOAK=1 and 1
// elsewhere.
func SoakFactor() int {
	if Soak() {
		return 10
	}
	return 1
}

// Apart lets a millisecond pass. A harness calls Apart before the start of each server
// and each client, because virtual time stands still during a start. Without Apart,
// servers and clients that take a seed or an identity from the clock would all take the
// same one.
func Apart() { time.Sleep(time.Millisecond) }

// pollEvery is how often WaitFor looks.
const pollEvery = 2 * time.Millisecond

// WaitFor waits until cond holds. If cond does not hold within the timeout, on
// the test's clock, WaitFor ends the test. The caller must be the test's own
// goroutine.
func WaitFor(t testing.TB, timeout time.Duration, what string, cond func() bool) {
	t.Helper()
	if !Eventually(timeout, cond) {
		t.Fatalf("waited %v in vain for %s", timeout, what)
	}
}

// Receive returns the next value of a channel, or the zero value of a closed channel. If
// nothing comes within a minute, on the test's clock, Receive ends the test with the
// stacks of all goroutines. The caller must be the test's own goroutine.
func Receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited a minute in vain for %s\n%s", what, Stacks())
		panic("unreachable")
	}
}

// AwaitGroup waits for the goroutines of a group as [Receive] does for a value.
func AwaitGroup(t testing.TB, what string, group *sync.WaitGroup) {
	t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); group.Wait() }()
	Receive(t, what, ended)
}

// Eventually waits until cond holds, and reports whether cond held within the
// timeout.
func Eventually(timeout time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(timeout); ; time.Sleep(pollEvery) {
		if cond() {
			return true
		}
		if !time.Now().Before(deadline) {
			return false
		}
	}
}

// Never watches for a while, and ends the test if cond comes to hold.
func Never(t testing.TB, span time.Duration, what string, cond func() bool) {
	t.Helper()
	if start := time.Now(); Eventually(span, cond) {
		t.Fatalf("%s, after %v", what, time.Since(start))
	}
}
