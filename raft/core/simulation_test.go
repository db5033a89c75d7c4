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

var (
	schedule  = flag.Uint64("schedule", 0, "run the one schedule of TestSimulation with this `number`, and show its trace")
	schedules = flag.Uint64("schedules", 400, "how `many` schedules TestSimulation runs")
	from      = flag.Uint64("from", 1, "the `number` of the first schedule of TestSimulation")
)

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
			NoPreVote:      seed%8 == 7,
		},
	}
	if next(2) == 0 {
		opt.Config.MaxRequestBytes = 1 + next(100)
		opt.Config.MaxInflight = 1 + next(4)
		opt.Config.MaxInflightBytes = 1 + next(100)
		opt.Config.AdaptiveWindow = next(2) == 0
	}
	if next(2) == 0 { // a library's server, rather than a lab's
		opt.Config.LeaderNoOp = true
		opt.Voters = 1 + next(opt.Servers)
		opt.Config.Quiesce = next(3) == 0
		opt.Config.MaxUncommittedBytes = next(2) * (1 + next(20))
		if next(3) == 0 {
			// A leader must get its heartbeats out whatever the clocks do.
			opt.Config.ElectionTicks, opt.Config.HeartbeatTicks = opt.Config.ElectionTicks+4, 1
			e := opt.Config.ElectionTicks
			opt.Config.LeaseTicks = e/2 + next(e-e/2)
			opt.Clocks = clocks(opt, next, 1)
		}
	}
	if next(3) == 0 {
		opt.Config.MaxCachedBytes = 1 + next(200)
		opt.Trailing = uint64(next(8))
	}
	if next(2) == 0 {
		opt.Config.SnapshotChunkBytes = 1 + next(20)
	}
	return opt
}

// clocks draws the servers' clocks: the fastest is up to times as fast as the
// slowest as the bound for leases allows (see core.Config).
func clocks(opt coretest.Options, next func(int) int, times int) []int {
	const fastest = 20
	slowest := times * fastest * (opt.Config.ElectionTicks - 1) / opt.Config.LeaseTicks
	lengths := make([]int, opt.Servers)
	for i := range lengths {
		switch next(3) {
		case 0:
			lengths[i] = fastest
		case 1:
			lengths[i] = slowest
		default:
			lengths[i] = fastest + next(slowest-fastest+1)
		}
	}
	return lengths
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
	first, last := *from, *from+*schedules-1
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		last = *from + 199_999
	}
	if testing.Short() {
		last = *from + 199
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
