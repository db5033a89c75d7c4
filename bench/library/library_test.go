// Package library measures proposals through raft/node and through other Raft
// libraries: three members, commands of 128 bytes and 1 KiB, 1, 16 and 256 clients,
// in memory and durable over loopback TCP. Each client proposes through the
// library's public face and waits for the result of a state machine.
//
//	go test ./library -run Libraries -v -full            # all, about six minutes
//	go test ./library -run Libraries -v -full -write     # and the tables of docs/library/speed.md
//	go test ./library -run Libraries -v -full -only raftlab -sizes 128 -clients 1,16
//
// Each round measures every library once, so that a slow moment of the machine
// hits all of them. The tables have the medians of the rounds.
package library

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strconv"
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
	sizes   = flag.String("sizes", "128,1024", "bytes of a command")
	clients = flag.String("clients", "1,16,256", "numbers of clients")
	groups  = flag.String("groups", "1,10,100,1000", "numbers of groups of TestGrowth")
	procs   = flag.Int("procs", runtime.NumCPU()+3, "GOMAXPROCS of the durable measurements; see useProcs")
	write   = flag.Bool("write", false, "write the tables into docs/library/speed.md and README.md")
)

// cluster is a running group of three members.
type cluster interface {
	// Propose returns when the command is applied on the leader.
	Propose(command []byte) error
	Close()
}

// manyGroups is a cluster of many groups, each with clients of its own.
type manyGroups interface {
	cluster
	// ProposeTo proposes to a group.
	ProposeTo(group int, command []byte) error
}

// system is a library with a storage and a network.
type system struct {
	name    string
	durable bool
	start   func(dir string) (cluster, error)
}

func (s system) String() string {
	if s.durable {
		return s.name + ", durable"
	}
	return s.name + ", memory"
}

// systems are the libraries in the order in which each round measures them.
var systems = []system{
	{"raftlab", false, startOursInMemory},
	{"etcd-io/raft, drained queues", false, startEtcdInMemory},
	{"etcd-io/raft, its Node", false, startEtcdNodes},
	{"hashicorp/raft", false, startHashicorpInMemory},
	{"raftlab", true, startOurs},
	{"raftlab, boltstore", true, startOursOnBolt},
	{"etcd-io/raft, etcd's WAL", true, startEtcd(false)},
	{"etcd-io/raft, etcd's WAL, async", true, startEtcd(true)},
	{"dragonboat", true, startDragonboat(false)},
	{"dragonboat, tan", true, startDragonboat(true)},
	{"hashicorp/raft, raft-wal", true, startHashicorp(openWAL)},
	{"hashicorp/raft, raft-boltdb", true, startHashicorp(openBolt)},
}

// figures are those of one measurement.
type figures struct {
	rate      float64 // proposals a second
	p50, p99  time.Duration
	cpu       time.Duration // a proposal
	allocated float64       // bytes a proposal
}

// cell is what is measured once in each round.
type cell struct {
	system        string
	size, clients int
}

// numbers reads a flag with numbers.
func numbers(t *testing.T, list string) []int {
	var all []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 8 && list == *sizes || n < 1 {
			t.Fatalf("a number of -sizes, -clients or -groups is %q", s)
		}
		all = append(all, n)
	}
	return all
}

func TestLibraries(t *testing.T) {
	r := report{sizes: numbers(t, *sizes), clients: numbers(t, *clients), results: make(map[cell][]figures)}
	if !*full {
		*rounds, *seconds = 1, 0.02
		r.clients, r.sizes = []int{2}, []int{128}
	}
	for _, s := range systems {
		if strings.Contains(s.String(), *only) {
			r.systems = append(r.systems, s)
		}
	}
	for round := range *rounds {
		for i, s := range r.systems {
			t.Logf("round %d of %d, %d of %d: %s", round+1, *rounds, i+1, len(r.systems), s)
			r.measureSystem(t, s)
		}
		useProcs(true)
		for _, size := range r.sizes {
			r.limits = append(r.limits, measureLimits(t, size))
		}
	}
	for _, line := range r.text() {
		t.Log(line)
	}
	if *write {
		r.writeDocs(t)
	}
}

// useProcs sets GOMAXPROCS for a measurement. A sync occupies one of Go's
// processors for some time. Three members in one process, each of which syncs, would
// otherwise keep one another from running, as members in processes of their own do
// not.
func useProcs(durable bool) {
	if durable {
		runtime.GOMAXPROCS(*procs)
	} else {
		runtime.GOMAXPROCS(runtime.NumCPU())
	}
}

func (r *report) measureSystem(t *testing.T, s system) {
	useProcs(s.durable)
	c, err := s.start(t.TempDir())
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	defer c.Close()
	awaitLeader(t, s.String(), c)
	for _, size := range r.sizes {
		for _, n := range r.clients {
			key := cell{s.String(), size, n}
			r.results[key] = append(r.results[key], measure(t, c, size, n))
		}
	}
}

func awaitLeader(t *testing.T, name string, c cluster) {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := c.Propose(make([]byte, 128))
		if err == nil {
			return
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("%s: no leader after 30 s: %v", name, err)
		}
	}
}

// measure lets clients propose for a while.
func measure(t *testing.T, c cluster, size, clients int) figures {
	return measureClients(t, size, clients, func(_ int, command []byte) error { return c.Propose(command) })
}

// measureClients lets clients propose for a while. propose has the client's number.
func measureClients(t *testing.T, size, clients int, propose func(client int, command []byte) error) figures {
	for i := range 10 {
		if err := propose(i%clients, make([]byte, size)); err != nil {
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
				if err := propose(i, make([]byte, size)); err != nil {
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

// median returns the element in the middle by a value.
func median[T any](all []T, value func(T) float64) T {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b T) int {
		switch x, y := value(a), value(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}

func printable(n float64) string {
	switch {
	case n >= 10_000:
		n = float64(int(n/1000+0.5)) * 1000
	case n >= 1000:
		n = float64(int(n/10+0.5)) * 10
	}
	return grouped(int(n + 0.5))
}

// grouped is a number with a comma before each three digits.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// micro is a time in microseconds with two or three digits.
func micro(d time.Duration) string {
	us := float64(d) / 1e3
	if us < 10 {
		return fmt.Sprintf("%.2f", us)
	}
	return printable(us)
}
