package core_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

var schedule = flag.Uint64("schedule", 0, "run the one schedule of TestSimulation with this number, and show its trace")

// shape draws a cluster from choices: its size, its limits, what its network
// tells. Small limits make windows and batches end in short schedules.
func shape(seed uint64, choices coretest.Choices) coretest.Options {
	next := func(n int) int { i, _ := choices.Next(n); return i }
	opt := coretest.Options{
		Seed:    seed,
		Servers: []int{3, 3, 3, 5, 5, 2, 4, 1}[next(8)],
		Silent:  next(2) == 0,
		Config: core.Config{
			ElectionTicks:  4 + next(8),
			HeartbeatTicks: 1 + next(3),
			LeaderNoOp:     next(2) == 0,
		},
	}
	if next(2) == 0 {
		opt.Config.MaxRequestBytes = 1 + next(100)
		opt.Config.MaxInflight = 1 + next(4)
		opt.Config.MaxInflightBytes = 1 + next(100)
	}
	return opt
}

// explore runs a schedule; if it fails it is run again to show how it went.
func explore(t *testing.T, choices func() coretest.Choices, seed uint64, repeat string) {
	t.Helper()
	run := func(trace func(string)) error {
		ch := choices()
		opt := shape(seed, ch)
		opt.Trace = trace
		return coretest.Explore(coretest.New(opt), ch)
	}
	err := run(nil)
	if err == nil {
		return
	}
	var lines []string
	_ = run(func(line string) { lines = append(lines, line) })
	if n := len(lines) - 60; n > 0 && !testing.Verbose() {
		lines = append([]string{fmt.Sprintf("... %d lines before", n)}, lines[n:]...)
	}
	t.Fatalf("%v\nrepeat it: %s\n%s", err, repeat, strings.Join(lines, "\n"))
}

// TestSimulation runs random schedules with every kind of fault, checks the
// paper's properties after each step, and wants progress once the faults end.
// The n-th schedule is always the same.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(3000)
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		last = 200_000
	}
	if testing.Short() {
		last = 200
	}
	if *schedule != 0 {
		first, last = *schedule, *schedule
	}
	const workers = 2
	for w := range uint64(workers) {
		t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
			t.Parallel()
			for seed := first + w; seed <= last; seed += workers {
				explore(t, func() coretest.Choices { return coretest.Seeded(seed, 100+int(seed%500)) }, seed,
					fmt.Sprintf("go test ./raft/core -run TestSimulation -v -schedule=%d", seed))
			}
		})
	}
}

// FuzzStep lets the fuzzer write the schedule.
func FuzzStep(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(8) {
		f.Add(randomBytes(seed, 300))
	}
	f.Fuzz(func(t *testing.T, schedule []byte) {
		if len(schedule) > 4096 {
			t.Skip("longer than it takes to find anything")
		}
		explore(t, func() coretest.Choices { return coretest.FromBytes(schedule) }, 1,
			"go test ./raft/core -run FuzzStep, with the file that the fuzzer names")
	})
}

func randomBytes(seed uint64, n int) []byte {
	choices := coretest.Seeded(seed, n)
	b := make([]byte, n)
	for i := range b {
		x, _ := choices.Next(256)
		b[i] = byte(x)
	}
	return b
}
