package shardctrler_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// The suite 4A uses what every edition of the lab has and nothing more, so another
// implementation can be put in the place of package shardctrler.

func TestMain(m *testing.M) { labrun.Main(m) }

// service is a controller of three servers under test.
type service struct {
	*shardlab.Group
	t   *testing.T
	lab *shardlab.Lab
	ck  shardlab.Clerk
}

// run has a body act on a service, as package labrun runs tests.
func run(t *testing.T, body func(t *testing.T, s *service)) {
	t.Helper()
	t.Parallel()
	labrun.Run(t, func(t *testing.T) {
		lab := shardlab.New(t)
		defer lab.Close()
		s := &service{Group: lab.Controller(3), t: t, lab: lab}
		s.ck = s.clerk()
		body(t, s)
	})
}

func (s *service) clerk() shardlab.Clerk {
	ends := s.Ends()
	rng := testkit.Rand(s.t)
	rng.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	return s.Clerk(ends)
}

// servers are the names of a group's servers, as a join has them.
func servers(gid int) []string {
	return []string{fmt.Sprintf("%d-a", gid), fmt.Sprintf("%d-b", gid), fmt.Sprintf("%d-c", gid)}
}

func groups(gids ...int) map[int][]string {
	g := make(map[int][]string)
	for _, gid := range gids {
		g[gid] = servers(gid)
	}
	return g
}

// expect checks that a configuration is well formed, balanced, and has these
// groups.
func (s *service) expect(c shardctrler.Config, gids ...int) {
	s.t.Helper()
	if got := slices.Sorted(maps.Keys(c.Groups)); !slices.Equal(got, slices.Sorted(slices.Values(gids))) {
		s.t.Fatalf("configuration %d has the groups %v; want %v", c.Num, got, gids)
	}
	for gid, names := range c.Groups {
		if !slices.Equal(names, servers(gid)) {
			s.t.Fatalf("group %d has the servers %v", gid, names)
		}
	}
	if len(gids) == 0 {
		if c.Shards != [shardctrler.NShards]int{} {
			s.t.Fatalf("without groups the shards are %v", c.Shards)
		}
		return
	}
	for shard, gid := range c.Shards {
		if !slices.Contains(gids, gid) {
			s.t.Fatalf("shard %d is group %d's, which is no member: %+v", shard, gid, c)
		}
	}
	if n := spread(c.Shards[:], gids); n > 1 {
		s.t.Fatalf("the numbers of shards are %d apart: %v", n, c.Shards)
	}
}

// TestBasic4A lets groups join and leave. Each change makes the next configuration,
// shards are spread evenly, and old configurations stay as they were.
func TestBasic4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		seen := []shardctrler.Config{s.ck.Query(-1)}
		s.expect(seen[0])
		if seen[0].Num != 0 {
			t.Fatalf("the first configuration is number %d", seen[0].Num)
		}
		step := func(change func(), gids ...int) {
			t.Helper()
			change()
			c := s.ck.Query(-1)
			s.expect(c, gids...)
			if c.Num != len(seen) {
				t.Fatalf("change %d made configuration %d", len(seen), c.Num)
			}
			seen = append(seen, c)
		}
		step(func() { s.ck.Join(groups(1)) }, 1)
		step(func() { s.ck.Join(groups(2)) }, 1, 2)
		step(func() { s.ck.Join(groups(7, 5, 3)) }, 1, 2, 3, 5, 7)
		step(func() { s.ck.Leave([]int{1}) }, 2, 3, 5, 7)
		step(func() { s.ck.Leave([]int{7, 2}) }, 3, 5)
		step(func() { s.ck.Join(groups(1)) }, 1, 3, 5)
		step(func() { s.ck.Leave([]int{5, 3, 1}) })
		step(func() { s.ck.Join(groups(9)) }, 9)
		s.expectHistory(seen)
		for i := range s.N() { // whoever leads, the history is the same
			s.Crash(i)
			s.expectHistory(seen)
			s.Start(i)
		}
	})
}

// expectHistory checks each configuration by its number, and the newest.
func (s *service) expectHistory(want []shardctrler.Config) {
	s.t.Helper()
	for _, w := range want {
		if got := s.ck.Query(w.Num); !same(got, w) {
			s.t.Fatalf("configuration %d is %+v; it was %+v", w.Num, got, w)
		}
	}
	newest := want[len(want)-1]
	for _, num := range []int{-1, newest.Num + 1, newest.Num + 1000} {
		if got := s.ck.Query(num); !same(got, newest) {
			s.t.Fatalf("Query(%d) is %+v; the newest is %+v", num, got, newest)
		}
	}
}

func same(a, b shardctrler.Config) bool {
	return a.Num == b.Num && a.Shards == b.Shards &&
		maps.EqualFunc(a.Groups, b.Groups, slices.Equal)
}

// TestMove4A moves single shards. Nothing else changes, and the next Join spreads
// the shards evenly again.
func TestMove4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		s.ck.Join(groups(1, 2))
		for shard := range shardctrler.NShards {
			before := s.ck.Query(-1)
			gid := 3 - before.Shards[shard]
			s.ck.Move(shard, gid)
			want := before
			want.Num++
			want.Shards[shard] = gid
			if got := s.ck.Query(-1); !same(got, want) {
				t.Fatalf("Move(%d, %d) of %+v made %+v", shard, gid, before, got)
			}
		}
		s.ck.Move(0, 1)
		s.ck.Move(1, 1)
		s.ck.Join(groups(3))
		s.expect(s.ck.Query(-1), 1, 2, 3)
	})
}

// TestMinimalMoves4A lets groups join and leave at random. As few shards move as
// possible, and none moves between groups that stay.
func TestMinimalMoves4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		rng := testkit.Rand(t)
		var gids []int
		before := s.ck.Query(-1)
		for range 60 {
			next := joinOrLeave(rng, gids)
			s.changeTo(gids, next)
			after := s.ck.Query(-1)
			s.expect(after, next...)
			if got, want := moved(before.Shards[:], after.Shards[:]), bound(before.Shards[:], next); got != want {
				t.Fatalf("%v with groups %v became %v: %d moves, the bound is %d", before.Shards, next, after.Shards, got, want)
			}
			before, gids = after, next
		}
	})
}

// changeTo joins and leaves what differs between two sets of groups.
func (s *service) changeTo(from, to []int) {
	for _, gid := range to {
		if !slices.Contains(from, gid) {
			s.ck.Join(groups(gid))
		}
	}
	for _, gid := range from {
		if !slices.Contains(to, gid) {
			s.ck.Leave([]int{gid})
		}
	}
}

// TestConcurrentUnreliable4A lets clerks change the configuration at the same time,
// under loss and crashes. Each change makes exactly one configuration.
func TestConcurrentUnreliable4A(t *testing.T) {
	for _, fault := range []string{"none", "loss", "crashes", "partitions", "all"} {
		t.Run(fault, func(t *testing.T) { run(t, func(t *testing.T, s *service) { s.concurrent(fault) }) })
	}
}

func (s *service) concurrent(fault string) {
	const clients, rounds = 8, 6
	s.lab.Net.Reliable(fault != "loss" && fault != "all")
	stop := make(chan struct{})
	var trouble, work sync.WaitGroup
	trouble.Go(func() { s.trouble(fault, stop) })
	for client := range clients {
		ck := s.clerk()
		work.Go(func() {
			for i := range rounds {
				mine, other := 100*client+2*i+1, 100*client+2*i+2
				ck.Join(groups(mine))
				ck.Join(groups(other))
				ck.Leave([]int{mine})
			}
		})
	}
	work.Wait()
	close(stop)
	trouble.Wait()
	s.Heal()
	s.StartAll()
	var want []int
	for client := range clients {
		for i := range rounds {
			want = append(want, 100*client+2*i+2)
		}
	}
	newest := s.ck.Query(-1)
	s.expect(newest, want...)
	if newest.Num != clients*rounds*3 {
		s.t.Fatalf("%d changes made %d configurations", clients*rounds*3, newest.Num)
	}
	s.expectSteps(newest.Num)
}

// expectSteps checks that each configuration differs from the one before by one
// change that moves no more than it must.
func (s *service) expectSteps(newest int) {
	before := s.ck.Query(0)
	for num := 1; num <= newest; num++ {
		c := s.ck.Query(num)
		gids := slices.Sorted(maps.Keys(c.Groups))
		s.expect(c, gids...)
		if diff := len(c.Groups) - len(before.Groups); c.Num != num || diff != 1 && diff != -1 {
			s.t.Fatalf("configuration %d is number %d; groups %d, before it %d", num, c.Num, len(c.Groups), len(before.Groups))
		}
		if got, want := moved(before.Shards[:], c.Shards[:]), bound(before.Shards[:], gids); got != want {
			s.t.Fatalf("configuration %d moves %d shards; the bound is %d", num, got, want)
		}
		before = c
	}
}

// trouble breaks and mends the service until stop is closed.
func (s *service) trouble(fault string, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(s.t)), 1))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(200+rng.IntN(400)) * time.Millisecond):
		}
		victim := rng.IntN(s.N())
		if fault == "crashes" || fault == "all" {
			s.Crash(victim)
		}
		if fault == "partitions" || fault == "all" {
			s.Partition(rng.IntN(2), rng.IntN(2), rng.IntN(2))
		}
		time.Sleep(time.Duration(200+rng.IntN(600)) * time.Millisecond)
		s.Start(victim)
		s.Heal()
	}
}

// TestSnapshot4A makes a long history of configurations. The history survives
// restarts. The lab asks for no snapshots, and a controller without snapshots gets a
// note.
func TestSnapshot4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		const n = 300
		for i := range n {
			s.ck.Join(map[int][]string{i + 1: {strings.Repeat("x", 1000)}})
		}
		s.CrashAll()
		for i := range s.N() {
			// At about three times 64 KiB, our service waits for the snapshot under way.
			if size := s.Disk(i).RaftStateSize(); size > 270_000 || s.Disk(i).SnapshotSize() == 0 {
				labrun.Note(t, "the log of the controller grows for ever")
				t.Logf("server %d: %d bytes of Raft state after %d changes of 1,000 bytes", i, size, n)
				break
			}
		}
		s.StartAll()
		for _, num := range []int{0, 1, 2, n / 2, n - 1, n} {
			if c := s.ck.Query(num); c.Num != num || len(c.Groups) != num {
				t.Fatalf("configuration %d is number %d with %d groups", num, c.Num, len(c.Groups))
			}
		}
	})
}

// TestExactlyOnceUnderDuplication4A delivers requests again, however late. A
// duplicate must change nothing.
func TestExactlyOnceUnderDuplication4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		s.lab.Net.SetFaults(labrpc.Faults{Duplicate: 0.5})
		for i := range 30 {
			s.ck.Join(groups(i + 1))
			s.ck.Move(i%shardctrler.NShards, i+1)
			s.ck.Move(i%shardctrler.NShards, 1)
			s.ck.Join(groups(100 + i))
			s.ck.Leave([]int{100 + i})
		}
		c := s.ck.Query(-1)
		if len(c.Groups) != 30 {
			t.Fatalf("%d groups", len(c.Groups))
		}
		if again := s.clerk().Query(c.Num); !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v, then %+v", c, again)
		}
	})
}

// TestAnotherCommandAtTheIndex4A lets an old leader log changes, and its successor commit
// another change at one of their indices. The old leader then applies the other change, and
// must not take it for the one of its client.
func TestAnotherCommandAtTheIndex4A(t *testing.T) {
	run(t, func(t *testing.T, s *service) {
		var want []int
		for round := range 3 {
			gids := []int{10*round + 1, 10*round + 2, 10*round + 3}
			s.replaceEntries(gids)
			want = append(want, gids...)
			c := s.ck.Query(-1)
			s.expect(c, want...)
			if c.Num != len(want) {
				t.Fatalf("%d changes made %d configurations", len(want), c.Num)
			}
		}
	})
}

// replaceEntries joins three groups. The clerks of the first two reach the old leader alone,
// while the other servers elect another leader and join the third group.
func (s *service) replaceEntries(gids []int) {
	var lost, next []*shardlab.Client
	clerk := func(list *[]*shardlab.Client) *shardctrler.Clerk {
		client := s.lab.Client()
		*list = append(*list, client)
		return shardctrler.MakeClerk(client.Ends(s.Group))
	}
	clerks := []*shardctrler.Clerk{clerk(&lost), clerk(&lost), clerk(&next)}
	for _, ck := range clerks {
		ck.Query(-1) // the clerks know the leader
	}
	heal := s.Strand(lost, next)
	clerks[2].Query(0) // by the next leader
	var changes sync.WaitGroup
	for i, ck := range clerks {
		changes.Go(func() { ck.Join(groups(gids[i])) })
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	heal() // before the handlers of the old leader give up
	changes.Wait()
}
