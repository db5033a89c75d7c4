//go:build !wasip1

package labrun_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labrun"
)

func TestMain(m *testing.M) { labrun.Main(m) }

// cases are tests of a suite. Each runs in a process of go test of its own, in which
// labrun starts the children.
var cases = map[string]struct {
	body    func(t *testing.T)
	env     string
	verdict string   // in the output of go test -v
	want    []string // in the output
	unwant  []string
}{
	"pass": {
		body:    func(t *testing.T) { time.Sleep(time.Hour / 2); t.Log("half an hour passed") },
		verdict: "PASS", want: []string{"half an hour passed"}, unwant: []string{"note: ", "=== RUN   TestCase/pass\n=== RUN"},
	},
	"fail": {
		body:    func(t *testing.T) { t.Error("wrong") },
		verdict: "FAIL", want: []string{"labrun_test.go", "wrong", "repeat with: go test ./internal/labrun -run '^TestCase$/^fail$' -seed="},
		unwant: []string{"-count"},
	},
	"fails at times": {
		body: func(t *testing.T) {
			name := os.Getenv("LABRUN_FILE")
			if _, err := os.Stat(name); err != nil {
				os.WriteFile(name, nil, 0o600)
				t.Error("wrong")
			}
		},
		verdict: "FAIL", want: []string{"-count=50 -failfast", "failed in 1 of 4 runs", "raftlab sim ./internal/labrun --run '^TestCase$'"},
	},
	"skip": {
		body:    func(t *testing.T) { t.Skip("no such case") },
		verdict: "SKIP", want: []string{"no such case"},
	},
	"skip of a blocked test": {
		body:    func(t *testing.T) { go labrun.QuitSkipped(t, "the package waits, and may"); select {} },
		verdict: "SKIP", want: []string{"the package waits, and may"}, unwant: []string{"goroutine "},
	},
	"panic": {
		body:    func(t *testing.T) { go func() { panic("of the package") }(); time.Sleep(time.Second) },
		verdict: "FAIL", want: []string{"panic: of the package", "ended without a result: exit status 2", "repeat with"},
	},
	"exit": {
		body:    func(t *testing.T) { os.Exit(0) },
		verdict: "FAIL", want: []string{"repeat with"},
	},
	"goroutines stay": {
		body:    func(t *testing.T) { go func() { select {} }() },
		verdict: "PASS", want: []string{"note: goroutines of the package stay blocked for good after Kill", "[select"},
	},
	"goroutines sleep": {
		body:    func(t *testing.T) { go time.Sleep(time.Hour) },
		verdict: "PASS", want: []string{"note: goroutines of the package stay blocked for good after Kill"},
	},
	"lock across a sleep": {
		body:    func(t *testing.T) { lockAcrossSleep() },
		verdict: "PASS", want: []string{"on the real clock", "a goroutine waits for a lock, whose holder waits"},
	},
	"spin": {
		body: func(t *testing.T) {
			for next := time.Now().Add(100 * time.Millisecond); !time.Now().After(next); {
				time.Sleep(time.Until(next))
			}
		},
		verdict: "PASS", want: []string{"on the real clock", "a goroutine runs without sleeping", "labrun_test.go"},
	},
	"ticker and polls": {
		body: func(t *testing.T) {
			start := time.Now()
			for range time.Tick(time.Millisecond) {
				if time.Sleep(time.Millisecond); time.Since(start) > time.Minute {
					return
				}
			}
		},
		verdict: "PASS", unwant: []string{"note: ", "real clock"},
	},
	"fails on the real clock": {
		body:    func(t *testing.T) { lockAcrossSleep(); t.Error("wrong") },
		verdict: "FAIL", want: []string{"on the real clock", "wrong", "repeat with: RAFTLAB_REALTIME=1 go test"},
	},
	"note": {
		body:    func(t *testing.T) { labrun.Note(t, "slow") },
		verdict: "PASS", want: []string{"note: slow"},
	},
	"prints": {
		body: func(t *testing.T) {
			for k := range 100_000 {
				fmt.Printf("line %d with a good deal of text that nobody needs\n", k)
			}
			t.Error("wrong")
		},
		verdict: "FAIL", want: []string{"line 0 ", "line 99999 ", "bytes of output left out", "wrong"}, env: "RAFTLAB_REPEATS=0",
	},
	"never ends": {
		body: func(t *testing.T) {
			for {
				time.Sleep(time.Second)
			}
		},
		verdict: "FAIL", want: []string{"did not end within 1h0m0s of virtual time"}, env: "RAFTLAB_REPEATS=0",
	},
	"operation that never ends": {
		body: func(t *testing.T) {
			over := make(chan struct{})
			labrun.Within(t, over, time.Minute, "one that ends", func() { time.Sleep(time.Second) })
			labrun.Within(t, over, time.Minute, "a Get", func() {
				for {
					time.Sleep(time.Second)
				}
			})
		},
		verdict: "FAIL", want: []string{"a Get: not done within 1m0s"}, unwant: []string{"one that ends"}, env: "RAFTLAB_REPEATS=0",
	},
	"operation that never ends in a simulated run": {
		body: func(t *testing.T) {
			labrun.Within(t, nil, time.Minute, "a Get", func() {
				for {
					time.Sleep(time.Second)
				}
			})
		},
		verdict: "FAIL", want: []string{"a Get: not done within 1m0s"}, unwant: []string{"of virtual time"}, env: "RAFTLAB_SIM_REPEAT=raftlab sim",
	},
	"operation of a test that is over": {
		body: func(t *testing.T) {
			over := make(chan struct{})
			go labrun.Within(t, over, time.Minute, "a Get", func() { time.Sleep(time.Hour / 2) })
			close(over)
			time.Sleep(time.Hour / 2)
		},
		verdict: "PASS", unwant: []string{"a Get"},
	},
	"in process": {
		body:    func(t *testing.T) { go func() { select {} }(); t.Skip("no such case") },
		verdict: "SKIP", want: []string{"no such case"}, env: "RAFTLAB_ISOLATE=0",
	},
}

// lockAcrossSleep waits for a lock whose holder sleeps, so virtual time stands still.
func lockAcrossSleep() {
	var mu sync.Mutex
	go func() { mu.Lock(); defer mu.Unlock(); time.Sleep(200 * time.Millisecond) }()
	time.Sleep(100 * time.Millisecond)
	mu.Lock()
}

const caseVariable = "LABRUN_CASE"

func TestCase(t *testing.T) {
	name := os.Getenv(caseVariable)
	if name == "" {
		t.Skip("TestRun starts the cases")
	}
	t.Run(name, func(t *testing.T) { labrun.Run(t, cases[name].body) })
}

func TestRun(t *testing.T) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestCase$", "-test.v")
			cmd.Env = append(os.Environ(), caseVariable+"="+name, "LABRUN_FILE="+t.TempDir()+"/file",
				"RAFTLAB_REALTIME=", "RAFTLAB_SEED=", "RAFTLAB_ISOLATE=", "RAFTLAB_REPEATS=", c.env)
			out, err := cmd.CombinedOutput()
			require.Equal(t, c.verdict == "FAIL", err != nil, "%s", out)
			verdict := fmt.Sprintf("--- %s: TestCase/%s", c.verdict, strings.ReplaceAll(name, " ", "_"))
			for _, want := range append(c.want, verdict) {
				require.Contains(t, string(out), want)
			}
			for _, unwant := range c.unwant {
				require.NotContains(t, string(out), unwant)
			}
		})
	}
}
