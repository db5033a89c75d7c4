package library

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// growth measures raft/node while one size grows, and draws the results.
type growth struct {
	t        *testing.T
	pictures []picture
}

// TestGrowth measures how the rate of proposals and other figures change with the
// length of the log, the number of groups and of replicas, the size of values, and
// while a follower is down.
//
//	go test ./library -run Growth -v -full           # about three minutes
//	go test ./library -run Growth -v -full -write    # and the pictures of docs/library/speed.md
//	go test ./library -run Growth/values -v -full    # one of them
func TestGrowth(t *testing.T) {
	if !*full {
		*seconds = 0.02
	}
	g := &growth{t: t}
	t.Run("log", func(t *testing.T) { g.logs(t) })
	t.Run("groups", func(t *testing.T) { g.groups(t) })
	t.Run("clients", func(t *testing.T) { g.clients(t) })
	t.Run("replicas", func(t *testing.T) { g.replicas(t) })
	t.Run("values", func(t *testing.T) { g.values(t) })
	t.Run("follower", func(t *testing.T) { g.follower(t) })
	for _, p := range g.pictures {
		if !strings.Contains(p.svg(), p.title) { // short runs draw, too, so that a full one cannot fail at its end
			t.Errorf("%s has no title", p.file)
		}
		for _, line := range strings.Split(strings.TrimSpace(p.table()), "\n") {
			t.Log(line)
		}
	}
	if *write && *full && !t.Failed() {
		g.writeDocs(t)
	}
}

func (g *growth) writeDocs(t *testing.T) {
	if len(g.pictures) != 7 {
		t.Fatal("-write needs all parts of TestGrowth")
	}
	text := new(strings.Builder)
	for _, p := range g.pictures {
		path := filepath.Join("../../docs/pictures", p.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(p.svg()), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(text, "![%s](../pictures/%s)\n\n%s\n", p.title, p.file, p.table())
	}
	replaceSection(t, "../../docs/library/speed.md", "growth", strings.TrimSpace(text.String())+"\n")
}

// upTo returns the values of a full run, or the first few.
func upTo(few int, all ...int) []int {
	if *full {
		return all
	}
	return all[:min(few, len(all))]
}

// start starts members in memory, or durable over TCP.
func (g *growth) start(t *testing.T, durable bool, members, groups int, config node.Config) *ours {
	useProcs(durable)
	dir := ""
	if durable {
		dir = t.TempDir()
	}
	o, err := newOurs(dir, members, groups, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	for group := range groups {
		for begun := time.Now(); o.leader(group) == nil; time.Sleep(time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("group %d has no leader after a minute", group+1)
			}
		}
	}
	awaitLeader(t, "raftlab", o)
	return o
}

// bothKinds measures x values in memory and durable.
func bothKinds(p *picture, f func(durable bool, s *series)) {
	for _, durable := range []bool{false, true} {
		s := series{name: "in memory"}
		if durable {
			s.name = "durable over TCP"
		}
		f(durable, &s)
		p.series = append(p.series, s)
	}
}

// keepAll are the settings of a log that never shrinks.
var keepAll = node.Config{SnapshotEntries: -1, SnapshotBytes: -1, TrailingEntries: 10_000_000}

func (g *growth) logs(t *testing.T) {
	p := picture{file: "growth-log.svg", title: "Proposals a second by the length of the log, 256 clients", x: "entries in the log", y: "ops/s"}
	restart := picture{file: "growth-restart.svg", title: "Time to open a log and to apply it again", x: "entries in the log", y: "ms"}
	opening := series{name: "wal.Open"}
	applying := series{name: "until all is applied"}
	bothKinds(&p, func(durable bool, s *series) {
		o := g.start(t, durable, 3, 1, keepAll)
		length := 0
		for _, want := range upTo(2, 1000, 10_000, 100_000, 1_000_000) {
			length += fill(t, o, want-length)
			f := measure(t, o, 128, 256)
			length += int(f.rate * *seconds)
			s.add(float64(want), f.rate)
			t.Logf("%d entries, %s: %.0f ops/s", want, s.name, f.rate)
		}
	})
	for _, length := range upTo(2, 1000, 10_000, 100_000, 1_000_000) {
		open, apply := g.restart(t, length)
		opening.add(float64(length), ms(open))
		applying.add(float64(length), ms(apply))
		t.Logf("%d entries: opened after %v, applied after %v", length, open, apply)
	}
	restart.series = []series{opening, applying}
	g.pictures = append(g.pictures, p, restart)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// fill proposes commands, many at a time, and returns how many.
func fill(t *testing.T, o *ours, n int) int {
	var left atomic.Int64
	left.Store(int64(n))
	var running sync.WaitGroup
	for range 256 {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				if err := o.Propose(make([]byte, 128)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	return max(n, 0)
}

// restart makes a group of one member with a log of some length, and returns how
// long the member takes to open and to apply the log again.
func (g *growth) restart(t *testing.T, length int) (open, apply time.Duration) {
	dir := t.TempDir()
	o, err := newOurs(dir, 1, 1, keepAll)
	if err != nil {
		t.Fatal(err)
	}
	awaitLeader(t, "raftlab", o)
	fill(t, o, length)
	o.Close()
	begun := time.Now()
	storage, err := wal.Open(o.path(1), walOptions(1))
	if err != nil {
		t.Fatal(err)
	}
	open = time.Since(begun)
	tr, err := o.transport(1, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := o.config
	config.StateMachine = sink{}
	n, err := node.Start(node.HostConfig{Storage: storage, Transport: tr, Logger: slog.New(slog.DiscardHandler)}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for !n.IsLeader() { // the election timeout does not count
		time.Sleep(time.Millisecond)
	}
	begun = time.Now()
	if err := n.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	return open, open + time.Since(begun)
}

func (g *growth) groups(t *testing.T) {
	p := picture{file: "growth-groups.svg", title: "Proposals a second by the number of groups, 256 clients over all groups", x: "groups", y: "ops/s"}
	bothKinds(&p, func(durable bool, s *series) {
		for _, n := range upTo(2, numbers(t, *groups)...) {
			o := g.start(t, durable, 3, n, node.Config{Quiesce: true})
			fill(t, o, 2*n)
			f := measure(t, o, 128, 256)
			o.Close()
			s.add(float64(n), f.rate)
			t.Logf("%d groups, %s: %.0f ops/s, CPU %v", n, s.name, f.rate, f.cpu)
		}
	})
	g.pictures = append(g.pictures, p)
}

// clients measures many groups with the same number of clients for each group, beside
// groups without Raft.
func (g *growth) clients(t *testing.T) {
	const each = 64
	p := picture{file: "growth-clients.svg", title: fmt.Sprintf("Proposals a second by the number of groups, %d clients for each group", each), x: "groups", y: "ops/s"}
	run := func(s *series, n int, c manyGroups) {
		f := measureClients(t, 128, each*n, func(client int, command []byte) error { return c.ProposeTo(client%n, command) })
		s.add(float64(n), f.rate)
		t.Logf("%d groups, %s: %.0f ops/s, CPU %v, %.0f B/op", n, s.name, f.rate, f.cpu, f.allocated)
	}
	counts := upTo(2, numbers(t, *groups)...)
	floor := series{name: "without Raft, in memory"}
	bothKinds(&p, func(durable bool, s *series) {
		for _, n := range counts {
			o := g.start(t, durable, 3, n, node.Config{Quiesce: true})
			fill(t, o, 2*n)
			run(s, n, o)
			o.Close()
			if !durable {
				run(&floor, n, newBareGroups(n))
			}
		}
	})
	p.series = append(p.series, floor)
	g.pictures = append(g.pictures, p)
}

func (g *growth) replicas(t *testing.T) {
	p := picture{file: "growth-replicas.svg", title: "Proposals a second by the number of replicas, 256 clients", x: "replicas", y: "ops/s"}
	bothKinds(&p, func(durable bool, s *series) {
		for _, n := range upTo(1, 3, 5, 7) {
			o := g.start(t, durable, n, 1, node.Config{})
			f := measure(t, o, 128, 256)
			o.Close()
			s.add(float64(n), f.rate)
			t.Logf("%d replicas, %s: %.0f ops/s", n, s.name, f.rate)
		}
	})
	g.pictures = append(g.pictures, p)
}

func (g *growth) values(t *testing.T) {
	p := picture{file: "growth-values.svg", title: "Megabytes a second by the size of a value, 16 clients", x: "bytes", y: "MB/s"}
	bothKinds(&p, func(durable bool, s *series) {
		o := g.start(t, durable, 3, 1, node.Config{})
		for _, size := range upTo(3, 16, 128, 1024, 8<<10, 64<<10, 256<<10, 1<<20) {
			f := measure(t, o, size, 16)
			s.add(float64(size), f.rate*float64(size)/1e6)
			t.Logf("%d bytes, %s: %.0f ops/s, %.1f MB/s", size, s.name, f.rate, f.rate*float64(size)/1e6)
		}
		o.Close()
	})
	g.pictures = append(g.pictures, p)
}

// follower draws the rate over the time, while a follower is down for a minute,
// and for a third of a second without -full.
func (g *growth) follower(t *testing.T) {
	down := time.Second / 3
	if *full {
		down = time.Minute
	}
	o := g.start(t, true, 3, 1, node.Config{})
	var count atomic.Int64
	var stop atomic.Bool
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for !stop.Load() {
				if err := o.Propose(make([]byte, 128)); err != nil {
					t.Error(err)
					return
				}
				count.Add(1)
			}
		})
	}
	rate := series{name: "ops/s"}
	heap := series{name: "live heap of all members, KB"}
	step := down / 30
	elapsed := 0.0
	watch := func(steps int) {
		for range steps {
			before, begun := count.Load(), time.Now()
			time.Sleep(step)
			took := time.Since(begun)
			elapsed += took.Seconds()
			rate.add(elapsed, float64(count.Load()-before)/took.Seconds())
			heap.add(elapsed, liveHeap()/1e3)
		}
	}
	watch(5)
	follower := o.stopFollower(t)
	downAt := elapsed
	watch(30)
	upAt := elapsed
	caughtUp := make(chan time.Duration, 1)
	o.restartHost(t, follower)
	clients.Go(func() { caughtUp <- catchUp(t, o, follower) })
	watch(10)
	stop.Store(true)
	clients.Wait()
	caught := <-caughtUp
	t.Logf("a follower was down from %.1f s to %.1f s and had caught up %v after the return", downAt, upAt, caught)
	g.pictures = append(g.pictures, picture{file: "growth-follower.svg", timeline: true, marks: []float64{downAt, upAt},
		title: fmt.Sprintf("A follower is down from %.0f s to %.0f s, 16 clients, durable", downAt, upAt), x: "seconds", y: "ops/s and KB", series: []series{rate, heap}})
}

// liveHeap is what a garbage collection leaves.
func liveHeap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// stopFollower closes the host of a follower.
func (o *ours) stopFollower(t *testing.T) core.NodeID {
	for i, h := range o.hosts {
		if !h.Group(1).IsLeader() {
			o.hosts[i] = nil
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			return core.NodeID(i + 1)
		}
	}
	t.Fatal("there is no follower")
	return 0
}

func (o *ours) restartHost(t *testing.T, id core.NodeID) {
	tr, err := o.transport(id, o.addresses[id-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := o.startHost(id, tr); err != nil {
		t.Fatal(err)
	}
}

// catchUp returns how long a follower takes to apply what the leader has committed
// by now.
func catchUp(t *testing.T, o *ours, id core.NodeID) time.Duration {
	begun := time.Now()
	leader, err := o.leaders[0].Status(t.Context())
	if err != nil {
		t.Error(err)
		return 0
	}
	for o.hosts[id-1].Group(1).Applied() < leader.CommitIndex {
		if time.Since(begun) > 2*time.Minute {
			t.Errorf("the follower has not applied %d entries after two minutes", leader.CommitIndex)
			return 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}
