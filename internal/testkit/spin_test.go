package testkit

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A picture is what a look of a made-up bubble shows.
type picture struct {
	stacks    []string
	allocated uint64 // since the look before
	beat      bool   // the clock has moved since the look before
	excused   bool
}

// goroutine writes a stack of functions, the innermost first.
func goroutine(id int, state string, functions ...string) string {
	s := fmt.Sprintf("goroutine %d [%s, synctest bubble 3]:\n", id, state)
	for _, f := range functions {
		s += fmt.Sprintf("%s(0xc000%04x, {0x1, ...})\n\t/src/file.go:%d +0x1d\n", f, id, id)
	}
	return s + "created by testing.(*T).Run in goroutine 1\n\t/src/testing.go:1 +0x1"
}

func sleeping(id int) string { return goroutine(id, "sleep (durable)", "time.Sleep", "raft.ticker") }

// accusedAfter returns the CPU time after which the watch finds a spin in looks that
// each cost a quarter of a second, or 0.
func accusedAfter(at func(n int) picture) time.Duration {
	var s spinning
	l := look{cpu: time.Minute, allocated: 1 << 30}
	for n := range 2_000 {
		p := at(n)
		l.cpu += stillEvery
		l.allocated += p.allocated
		l.stacks = p.stacks
		if p.beat {
			l.beats++
		}
		if s.lasts(l, p.excused) {
			return l.cpu - time.Minute
		}
	}
	return 0
}

// Each spin is found within the time of its kind. A seen place is shown again and
// again, in turns.
func TestSpinIsFound(t *testing.T) {
	const mib = 1 << 20
	crowd := []string{goroutine(8, "running", "raft.broadcast")}
	for id := range flood {
		crowd = append(crowd, sleeping(10+id))
	}
	cases := map[string]struct {
		at     func(n int) picture
		within time.Duration
	}{
		"loop on the clock": {func(n int) picture {
			return picture{stacks: []string{sleeping(7), goroutine(8, "running", []string{"time.Now", "raft.wait"}[n%2], "raft.Make")}}
		}, 2*quietCPU + 2*time.Second},
		"loop on a variable under a lock": {func(n int) picture {
			return picture{stacks: []string{goroutine(8, []string{"running", "sync.Mutex.Lock"}[n%2], "sync.(*Mutex).Lock", "raft.poll"), goroutine(9, "runnable", "raft.poll")}}
		}, 2*quietCPU + 2*time.Second},
		"two goroutines wake each other": {func(n int) picture {
			return picture{stacks: []string{goroutine(8+n%2, "runnable", "raft.ping"), goroutine(9-n%2, "chan receive (durable)", "raft.ping")}}
		}, 2*quietCPU + 2*time.Second},
		"timers that have expired": {func(n int) picture {
			return picture{stacks: []string{goroutine(8, "runnable", []string{"raft.loop", "time.NewTimer"}[n%2], fmt.Sprint("raft.f", n))}, allocated: 50 * mib}
		}, clockCPU + time.Second},
		"loop that allocates": {func(n int) picture {
			return picture{stacks: []string{goroutine(8, "running", fmt.Sprint("gob.f", n), "raft.loop")}, allocated: 50 * mib}
		}, anyCPU + time.Second},
		"goroutines without end": {func(int) picture {
			return picture{stacks: crowd, allocated: 50 * mib}
		}, floodCPU + time.Second},
		"spin after long work": {func(n int) picture {
			if n < 8 {
				return picture{stacks: []string{goroutine(8, "running", fmt.Sprint("gob.f", n), "raft.save")}, allocated: 50 * mib}
			}
			return picture{stacks: []string{goroutine(8, "running", "raft.wait")}}
		}, 2*quietCPU + 4*time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if took := accusedAfter(c.at); took == 0 || took > c.within {
				t.Errorf("found after %v of CPU time, want at most %v", took, c.within)
			}
		})
	}
}

// Work is not taken for a spin, however long it takes.
func TestWorkIsNoSpin(t *testing.T) {
	work := func(id, n int) string { return goroutine(id, "running", fmt.Sprint("gob.f", n%5), "raft.apply") }
	for name, at := range map[string]func(n int) picture{
		"the clock moves": func(n int) picture {
			return picture{stacks: []string{goroutine(8, "running", "raft.apply")}, beat: n%7 == 0}
		},
		"goroutines take turns": func(n int) picture {
			return picture{stacks: []string{work(8+n/20, n), sleeping(7)}, allocated: 20 << 20}
		},
		"the checker searches": func(int) picture {
			return picture{stacks: []string{goroutine(8, "running", "raftlab/porcupine.search")}, excused: true}
		},
		"everything waits for the outside": func(int) picture {
			return picture{stacks: []string{goroutine(8, "IO wait (durable)", "net.Read"), sleeping(7)}}
		},
		"long encoding": func(n int) picture { // as long as the hard limit permits
			return picture{stacks: []string{work(8, n)}, allocated: 20 << 20, beat: n%int(anyCPU/stillEvery) == 0}
		},
		"functions of one computation": func(n int) picture {
			return picture{stacks: []string{goroutine(8, "running", "raft.f"+strings.Repeat("x", n))}, beat: n%int(anyCPU/stillEvery) == 0}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if took := accusedAfter(at); took != 0 {
				t.Errorf("taken for a spin after %v of CPU time", took)
			}
		})
	}
}
