// Package library measures proposals through raft/node and through other Raft
// libraries: three members, commands of 128 bytes or 1 KiB, 1, 16 and 256 clients,
// in memory and durable over loopback TCP. Each client proposes through the
// library's public face and waits for the result of a state machine.
//
//	go test ./library -run Libraries -v -full
package library

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	full    = flag.Bool("full", false, "measure, and do not only try")
	rounds  = flag.Int("rounds", 3, "interleaved rounds; the table has their medians")
	seconds = flag.Float64("seconds", 1, "length of one measurement")
	only    = flag.String("only", "", "part of the names of the libraries to measure")
	size    = flag.Int("size", 128, "bytes of a command")
)

// cluster is a running group of three members.
type cluster interface {
	// Propose returns when the command is applied on the leader.
	Propose(command []byte) error
	Close()
}

// systems are the libraries in the order in which each round measures them.
var systems = []struct {
	name    string
	durable bool
	start   func(dir string) (cluster, error)
}{
	{"raftlab, memory", false, startOursInMemory},
	{"etcd-io/raft, memory", false, startEtcdInMemory},
	{"hashicorp/raft, memory", false, startHashicorpInMemory},
	{"raftlab, durable", true, startOurs},
	{"dragonboat, durable", true, startDragonboat},
	{"hashicorp/raft, durable", true, startHashicorp},
}

// figures are those of one measurement.
type figures struct {
	rate      float64 // proposals a second
	p50, p99  time.Duration
	cpu       time.Duration // a proposal
	allocated float64       // bytes a proposal
}

func TestLibraries(t *testing.T) {
	clients := []int{1, 16, 256}
	if !*full {
		*rounds, *seconds = 1, 0.05
		clients = []int{2}
	}
	results := make(map[string][]figures)
	for round := range *rounds {
		for _, s := range systems {
			if !strings.Contains(s.name, *only) {
				continue
			}
			c, err := s.start(t.TempDir())
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			awaitLeader(t, s.name, c)
			for _, n := range clients {
				f := measure(t, c, n)
				key := fmt.Sprintf("%-24s C=%-4d", s.name, n)
				results[key] = append(results[key], f)
				t.Logf("round %d of %d: %s %9.0f/s", round+1, *rounds, key, f.rate)
			}
			c.Close()
		}
	}
	limits(t)
	t.Logf("%-32s %10s %10s %10s %10s %10s", fmt.Sprintf("%d bytes, medians", *size), "ops/s", "p50", "p99", "CPU/op", "B/op")
	for _, s := range systems {
		for _, n := range clients {
			key := fmt.Sprintf("%-24s C=%-4d", s.name, n)
			if all := results[key]; len(all) > 0 {
				slices.SortFunc(all, func(a, b figures) int { return int(a.rate - b.rate) })
				f := all[len(all)/2]
				t.Logf("%-32s %10.0f %10v %10v %10v %10.0f", key, f.rate, f.p50, f.p99, f.cpu, f.allocated)
			}
		}
	}
}

func awaitLeader(t *testing.T, name string, c cluster) {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := c.Propose(make([]byte, *size))
		if err == nil {
			return
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("%s: no leader after 30 s: %v", name, err)
		}
	}
}

// measure lets clients propose for a while.
func measure(t *testing.T, c cluster, clients int) figures {
	for range 10 {
		if err := c.Propose(make([]byte, *size)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, begun := processorTime(), time.Now()
	length := time.Duration(*seconds * float64(time.Second))
	latencies := make([][]time.Duration, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for last := begun; ; {
				if err := c.Propose(make([]byte, *size)); err != nil {
					t.Error(err)
					return
				}
				now := time.Now()
				latencies[i] = append(latencies[i], now.Sub(last))
				if last = now; now.Sub(begun) > length {
					return
				}
			}
		})
	}
	running.Wait()
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	if len(all) == 0 {
		t.Fatal("no proposals")
	}
	n := len(all)
	return figures{
		rate: float64(n) / took.Seconds(), p50: all[n/2], p99: all[n*99/100],
		cpu:       (processorTime() - cpu) / time.Duration(n),
		allocated: float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// limits prints what the machine needs for a sync, a round trip over TCP and one
// through channels.
func limits(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	sync := each(100, func(i int) error {
		if _, err := f.WriteAt(make([]byte, 256), int64(i)*256); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	})
	ping, pong := make(chan int), make(chan int)
	go func() { // ends when ping is closed
		for i := range ping {
			pong <- i
		}
	}()
	channel := each(10_000, func(i int) error { ping <- i; <-pong; return nil })
	close(ping)
	t.Logf("limits: write and fdatasync %v, TCP round trip %v, channel round trip %v", sync, tcpRoundTrip(t), channel)
}

// each returns the median time of a call.
func each(n int, f func(i int) error) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		begun := time.Now()
		if err := f(i); err != nil {
			return 0
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[n/2]
}
