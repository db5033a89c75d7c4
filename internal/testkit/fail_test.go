//go:build !wasip1

package testkit_test

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/testkit"
)

// failing holds bodies of failing tests and the expected text of each report.
// TestFailing runs each body in another process.
var failing = []struct {
	name string
	body func(t *testing.T)
	env  string
	args []string
	want []string
}{
	{
		name: "deadlock",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				never := make(chan int)
				for range 3 {
					go func() { <-never }()
				}
				<-never
			})
		},
		want: []string{
			"all goroutines of the test are blocked, and no timer will wake one",
			`3 goroutine\(s\) \[chan receive.*\n(.+\n)*.*fail_test.go`,
			`repeat with: go test ./internal/testkit -run '\^TestFailing\$/\^deadlock\$' -seed=-?\d+`,
		},
	},
	{
		name: "nothing received",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) { testkit.Receive(t, "an answer", make(chan int)) })
		},
		want: []string{"waited a minute in vain for an answer", `1 goroutine\(s\) \[running`},
	},
	{
		name: "a group that does not end",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				var group sync.WaitGroup
				group.Go(func() { select {} })
				testkit.AwaitGroup(t, "the clients", &group)
			})
		},
		want: []string{"in vain for the clients", `1 goroutine\(s\) \[select \(no cases\)`},
	},
	{
		name: "simulated",
		body: func(t *testing.T) {
			testkit.Seed(t)
			t.Error("wrong")
		},
		env:  "RAFTLAB_SIM_REPEAT=raftlab sim pkg --seeds 7",
		want: []string{`(?m)repeat with: raftlab sim pkg --seeds 7$`},
	},
	{
		name: "leak",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) { go func() { select {} }() })
			testkit.Run(t, func(t *testing.T) { time.Sleep(time.Hour) }) // goes on after the leak
		},
		want: []string{"the test's body has returned, and goroutines that it started are blocked", `1 goroutine\(s\) \[select`, "repeat with"},
	},
	{
		name: "leak on the real clock",
		body: func(t *testing.T) {
			testkit.NoLeaks(t)
			go func() { select {} }()
		},
		want: []string{`(\d+) goroutines at the end, \d+ at the start`, `\[select \(no cases\)\]`},
	},
	{
		name: "lock held while asleep",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				var mu sync.Mutex
				woken := 0
				go func() {
					for range 3 {
						mu.Lock()
						time.Sleep(time.Second)
						mu.Unlock()
					}
				}()
				for range 3 {
					time.Sleep(time.Millisecond)
					mu.Lock()
					woken++
					mu.Unlock()
				}
			})
			testkit.Run(t, func(t *testing.T) { time.Sleep(time.Hour) }) // goes on after that
			t.Log("went on")
		},
		want: []string{
			"virtual time stands still: a goroutine waits for a lock", "RAFTLAB_REALTIME=1",
			`1 goroutine\(s\) \[sync.Mutex.Lock.*\n(.+\n)+.*fail_test.go`, `1 goroutine\(s\) \[sleep`,
			"repeat with", "went on",
		},
	},
	{
		name: "wait in vain",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				testkit.WaitFor(t, time.Minute, "a leader", func() bool { return false })
			})
		},
		args: []string{"-seed=77"},
		want: []string{"waited 1m0s in vain for a leader", "-seed=77\n"},
	},
	{
		name: "never",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				start := time.Now()
				testkit.Never(t, time.Hour, "two leaders", func() bool { return time.Since(start) > time.Minute })
			})
		},
		env:  "RAFTLAB_SEED=0x10",
		want: []string{"two leaders, after 1m0", "-seed=16\n"},
	},
	{
		name: "real time",
		body: func(t *testing.T) { testkit.Run(t, func(t *testing.T) { t.Fatal("failed") }) },
		env:  "RAFTLAB_REALTIME=1",
		want: []string{"repeat with: RAFTLAB_REALTIME=1 go test"},
	},
	{
		name: "bad seed",
		body: func(t *testing.T) { testkit.Seed(t) },
		args: []string{"-seed=x"},
		want: []string{`seed "x" .* is not a 64-bit integer`},
	},
	{
		name: "panic of its own",
		body: func(t *testing.T) { testkit.Run(t, func(t *testing.T) { panic("own") }) },
		want: []string{"panic: own"},
	},
	{
		name: "timeout",
		body: func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				for {
					runtime.Gosched()
				}
			})
		},
		args: []string{"-test.timeout=1200ms", "-seed=5"},
		want: []string{"is about to time out; repeat with: .*-seed=5\n", "without sleeping"},
	},
}

// childEnv names the failing test for a child process.
const childEnv = "RAFTLAB_TESTKIT_CHILD"

func TestFailing(t *testing.T) {
	child := os.Getenv(childEnv)
	for _, c := range failing {
		t.Run(c.name, func(t *testing.T) {
			if child == c.name {
				c.body(t)
				return
			}
			if child != "" {
				t.Skip("another one's turn")
			}
			t.Parallel()
			cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestFailing$"}, c.args...)...)
			cmd.Env = append(os.Environ(), childEnv+"="+c.name, "RAFTLAB_SEED=", "RAFTLAB_REALTIME=", c.env)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("the test passed")
			}
			for _, want := range c.want {
				if !regexp.MustCompile(want).Match(out) {
					t.Errorf("no %q in\n%s", want, strings.TrimSpace(string(out)))
				}
			}
		})
	}
}

// Processes that run at the same time get different addresses.
func TestFreeAddressesOfProcesses(t *testing.T) {
	const asOther = "RAFTLAB_TEST_ADDRESSES"
	mine := make(map[string]bool)
	for range 300 {
		mine[testkit.FreeAddress(t)] = true
	}
	if os.Getenv(asOther) != "" {
		for address := range mine {
			t.Log(address)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestFreeAddressesOfProcesses$", "-test.v")
	cmd.Env = append(os.Environ(), asOther+"=1")
	out, err := cmd.CombinedOutput()
	others := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(string(out), -1)
	if err != nil || len(others) != 300 {
		t.Fatalf("%d addresses, %v\n%s", len(others), err, out)
	}
	for _, address := range others {
		if mine[address] {
			t.Errorf("two processes have %s", address)
		}
	}
}
