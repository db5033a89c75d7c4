package shardkv_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// victims are what a crash in the middle of a move takes down.
var victims = map[string]func(s *store){
	"the old leader":    func(s *store) { s.crashLeader(0) },
	"the new leader":    func(s *store) { s.crashLeader(1) },
	"both leaders":      func(s *store) { s.crashLeader(0); s.crashLeader(1) },
	"the old group":     func(s *store) { s.crash(0) },
	"the new group":     func(s *store) { s.crash(1) },
	"both groups":       func(s *store) { s.crash(0, 1) },
	"the controllers":   func(s *store) { s.ctrl.CrashAll() },
	"everything at all": func(s *store) { s.crash(0, 1); s.ctrl.CrashAll() },
}

func (s *store) crashLeader(g int) {
	if leader := s.groups[g].Leader(); leader >= 0 {
		s.groups[g].Crash(leader)
	}
}

// TestMoveInterruptedAtEveryStep4B crashes and restarts servers, groups or
// controllers at each message of a move of shards. Nothing is lost. A plain run
// interrupts at some of the messages, which the seed chooses.
func TestMoveInterruptedAtEveryStep4B(t *testing.T) {
	for name, crash := range victims {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 100, func(t *testing.T, s *store) {
				s.join(0)
				c := s.client()
				d := c.fill(10, 10)
				steps := s.countSteps(c, d)
				stride := strideOf(steps, 30)
				for step := 1 + testkit.Rand(t).IntN(stride); step <= steps; step += stride {
					s.crashAt(step, func() { crash(s) }, func() { s.toggle() })
					time.Sleep(100 * time.Millisecond)
					s.ctrl.StartAll()
					s.restart(0, 1)
					c.grow(t, d)
				}
			})
		})
	}
}

// strideOf is the distance between two of the messages at which a move is interrupted. A
// plain run has at most eight interruptions of each kind, however many messages a move takes.
func strideOf(messages, least int) int {
	if testkit.Soak() {
		return 1
	}
	return max(least, messages/8)
}

// TestLargeMoveInterruptedAtEveryStep4B is TestMoveInterruptedAtEveryStep4B with a
// shard that is too large for one message.
func TestLargeMoveInterruptedAtEveryStep4B(t *testing.T) {
	for _, name := range []string{"the old leader", "the new leader", "the new group", "everything at all"} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 1<<20, func(t *testing.T, s *store) {
				s.join(0)
				c := s.client()
				d := make(data)
				for i := range 4 {
					key := fmt.Sprintf("9-large%d", i)
					d[key] = pad(fmt.Sprint(i), 300<<10)
					c.Put(key, d[key])
				}
				steps := s.countSteps(c, d)
				stride := strideOf(steps, 60)
				for step := 1 + testkit.Rand(t).IntN(stride); step <= steps; step += stride {
					s.crashAt(step, func() { victims[name](s) }, func() { s.toggle() })
					time.Sleep(100 * time.Millisecond)
					s.ctrl.StartAll()
					s.restart(0, 1)
					c.grow(t, d)
				}
			})
		})
	}
}

// toggle moves half of the shards from group 0 to group 1, or back.
func (s *store) toggle() {
	if slices.Contains(s.members(), 1) {
		s.leave(1)
	} else {
		s.join(1)
	}
}

// countSteps counts the messages of a move there and a move back.
func (s *store) countSteps(c *client, d data) int {
	var messages atomic.Int64
	untap := s.Net.AddTap(func(e labrpc.Event) {
		if e.Kind == labrpc.Delivered {
			messages.Add(1)
		}
	})
	defer untap()
	s.toggle()
	c.verify(s.t, d)
	s.toggle()
	c.verify(s.t, d)
	return int(messages.Load())
}

// crashAt does something, and crashes something at the step-th message from then
// on. It returns when that has happened.
func (s *store) crashAt(step int, crash, do func()) {
	var messages atomic.Int64
	over := make(chan struct{})
	untap := s.Net.AddTap(func(e labrpc.Event) {
		if e.Kind == labrpc.Delivered && messages.Add(1) == int64(step) {
			crash()
			close(over)
		}
	})
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	<-over
	untap()
	s.ctrl.StartAll() // or the change could not be made
	<-done
}

// TestRandomConfigurations4B makes random configurations under crashes of servers,
// groups and controllers, loss and partitions. Everything that was written is there
// after the faults end.
func TestRandomConfigurations4B(t *testing.T) {
	for _, fault := range []string{"none", "loss", "crashes", "groups", "partitions", "controller", "all"} {
		t.Run(fault, func(t *testing.T) {
			run(t, 4, 1000, func(t *testing.T, s *store) {
				s.Net.Reliable(fault != "loss" && fault != "all")
				s.join(0)
				l := s.begin(4, 50*time.Millisecond)
				stop := make(chan struct{})
				var mixing, breaking sync.WaitGroup
				for i := range 4 {
					c := s.client()
					mixing.Go(func() { c.mix(i, stop) })
				}
				halt := make(chan struct{})
				breaking.Go(func() { s.breakThings(fault, halt) })
				s.changeAtRandom(8 * testkit.SoakFactor())
				close(halt)
				breaking.Wait()
				close(stop)
				mixing.Wait()
				l.end(t, s.client())
			})
		})
	}
}

// changeAtRandom joins and removes groups and moves shards.
func (s *store) changeAtRandom(changes int) {
	rng := testkit.Rand(s.t)
	for range changes {
		members := s.members()
		switch g := rng.IntN(len(s.groups)); {
		case rng.IntN(3) == 0 && len(members) > 0:
			s.ctl.Move(rng.IntN(shardctrler.NShards), gid(members[rng.IntN(len(members))]))
		case !slices.Contains(members, g):
			s.join(g)
		case len(members) > 1:
			s.leave(g)
		}
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
	}
}

// breakThings breaks and mends, until halt is closed; then everything is whole.
func (s *store) breakThings(fault string, halt <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(s.t)), 4))
	does := func(what string) bool { return fault == what || fault == "all" && rng.IntN(3) == 0 }
	query := s.ctrl.Clerk(s.ctrl.Ends())
	for {
		g := s.groups[rng.IntN(len(s.groups))]
		if does("crashes") {
			g.Crash(rng.IntN(g.N()))
		}
		if does("groups") {
			g.CrashAll()
		}
		if does("partitions") {
			g.Partition(rng.IntN(2), rng.IntN(2), rng.IntN(2))
			s.ctrl.Partition(rng.IntN(2), rng.IntN(2), rng.IntN(2))
		}
		controller := does("controller")
		if controller {
			s.ctrl.CrashAll()
		}
		stopped := false
		select {
		case <-halt:
			stopped = true
		case <-s.Open.Done():
			return
		case <-time.After(time.Duration(100+rng.IntN(700)) * time.Millisecond):
		}
		g.Heal()
		s.ctrl.Heal()
		s.ctrl.StartAll()
		g.StartAll()
		if stopped {
			return
		}
		if controller {
			query.Query(-1) // the pause below is shorter than many an election
		}
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
	}
}

// TestLeaveAndComeBack4B lets a group leave and come back. The group has the writes
// from between. After all groups have left, the data waits for the next group.
func TestLeaveAndComeBack4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		d := c.fill(10, 10)
		for _, step := range []func(){
			func() { s.leave(0) },
			func() { s.join(0) },
			func() { s.leave(0); s.join(0) },
			func() { s.leave(1); s.join(2); s.leave(0); s.join(0); s.leave(2) },
		} {
			step()
			c.grow(t, d)
		}
		for _, step := range []func(){ // without a group for a while
			func() { s.leave(0); s.join(2) },
			func() { s.leave(2); time.Sleep(time.Second); s.restartAll(); s.join(2) },
			func() { s.leave(2); time.Sleep(time.Second); s.join(0, 1, 2) },
			func() { s.leave(0, 1, 2); s.join(1); s.leave(1); s.join(0) },
		} {
			step()
			clerk := s.clerk(s.ctrl)
			for key, want := range d {
				if got := clerk.Get(key); got != "" && got != want {
					t.Fatalf("key %q is %q; want %q, or nothing if the data is lost", key, got, want)
				}
			}
			time.Sleep(5 * time.Second) // the former owners have heard of their loss
			for key := range d {        // each shard has a fate of its own
				if clerk.Get(key) == "" {
					labrun.Note(t, "the data is lost when all groups have left, of which the lab's text says nothing")
					return
				}
			}
			c.grow(t, d)
		}
	})
}

// TestShardsPassThrough4B changes configurations faster than shards can move. A
// group must pass a shard on that it lost before the shard arrived.
func TestShardsPassThrough4B(t *testing.T) {
	run(t, 4, 100, func(t *testing.T, s *store) {
		s.join(0, 1, 2, 3)
		c := s.client()
		d := c.fill(20, 100)
		rng := testkit.Rand(t)
		l := s.begin(2, 10*time.Millisecond)
		for range 5 {
			for range 20 {
				s.ctl.Move(rng.IntN(shardctrler.NShards), gid(rng.IntN(4)))
			}
			c.grow(t, d)
		}
		l.end(t, c)
	})
}

// TestDeadGroupHoldsUpItsOwn4B kills a group. Only its shards wait, and the other
// groups go on with later configurations.
func TestDeadGroupHoldsUpItsOwn4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.join(0, 1, 2)
		c := s.client()
		d := c.fill(10, 10)
		time.Sleep(time.Second)
		before := s.ctl.Query(-1).Shards
		s.crash(0)
		s.leave(0)
		live := make(data)
		for key, value := range d {
			if before[shardOf(key)] != gid(0) {
				live[key] = value
			}
		}
		for range 3 { // shards of 1 and 2 change hands, while both wait for those of 0
			for _, to := range []int{1, 2} {
				for shard, owner := range before {
					if owner != gid(0) {
						s.ctl.Move(shard, gid(to))
					}
				}
				s.growsDespite(0, live)
			}
		}
		s.restart(0)
		for key, value := range live {
			d[key] = value
		}
		c.grow(t, d)
	})
}

// growsDespite expects that keys of live groups are served while a group is dead. The
// lab's text lets a group finish one configuration before the next, so an implementation
// that waits for the dead group gets a note, and the group comes back.
func (s *store) growsDespite(dead int, live data) {
	s.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); s.client().grow(s.t, live) }()
	select {
	case <-done:
		return
	case <-time.After(3 * time.Second):
	}
	labrun.Note(s.t, "a dead group holds up later configurations of the other groups")
	s.restart(dead)
	select {
	case <-done:
	case <-time.After(operationLimit):
		s.t.Fatalf("keys of live groups are not served %v after every group is up", operationLimit)
	}
}

// TestWholeGroupsRestartMidMove4B restarts everything in the middle of moves, again
// and again.
func TestWholeGroupsRestartMidMove4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		d := c.fill(10, 500)
		rng := testkit.Rand(t)
		for i := range 12 {
			s.toggleAny(rng)
			time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
			if i%2 == 0 {
				s.restartAll()
			} else {
				g := rng.IntN(3)
				s.crash(g)
				time.Sleep(200 * time.Millisecond)
				s.restart(g)
			}
			c.grow(t, d)
		}
	})
}

// toggleAny has a group join or leave, and leaves one at least.
func (s *store) toggleAny(rng *rand.Rand) {
	members := s.members()
	if g := rng.IntN(len(s.groups)); !slices.Contains(members, g) {
		s.join(g)
	} else if len(members) > 1 {
		s.leave(g)
	}
}

// TestSessionsMoveWithShards4B delivers requests twice, to any group. Each takes
// effect once, because the session moves with the shard.
func TestSessionsMoveWithShards4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.Net.SetFaults(labrpc.Faults{Duplicate: 0.5, ReplyLoss: 0.3, MaxDelay: 60 * time.Millisecond})
		s.join(0)
		l := s.begin(3, 5*time.Millisecond)
		rng := testkit.Rand(t)
		for range 12 {
			s.toggleAny(rng)
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		}
		s.Net.SetFaults(labrpc.Faults{})
		l.end(t, s.client())
	})
}

// TestControllerIsNotPolledBusily4B counts requests to the controller. A group asks
// at most ten times a second, and less often while the controller does not answer. Groups
// that do not wait for a change at the controller are not judged, and the test is skipped.
func TestControllerIsNotPolledBusily4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		var polls atomic.Int64
		s.Net.AddTap(func(e labrpc.Event) {
			if e.Kind == labrpc.Sent && !e.Message.Reply && e.Message.Method == "ShardCtrler.Await" {
				polls.Add(1)
			}
		})
		s.join(0, 1)
		c := s.client()
		d := c.fill(10, 10)
		judged, moves := polls.Load() > 0, 200
		if !judged {
			moves = 20 // each shard moves there and back
		}
		count := func(what string, span time.Duration, most int64) {
			t.Helper()
			if !judged {
				span /= 10 // nothing to count
			}
			before := polls.Load()
			time.Sleep(span)
			if n := polls.Load() - before; n > most {
				t.Errorf("%s: %d polls in %v; want at most %d", what, n, span, most)
			}
		}
		count("nothing happens", 10*time.Second, 2*10*3)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range moves {
				s.ctl.Move(i%shardctrler.NShards, gid(i/shardctrler.NShards%2))
				time.Sleep(20 * time.Millisecond)
			}
		}()
		count("50 changes a second", 4*time.Second, 2*4*10+2)
		<-done
		s.Net.Reliable(false)
		count("messages are lost", 10*time.Second, 2*10*10)
		s.Net.Reliable(true)
		s.ctrl.Crash(0)
		s.ctrl.Crash(1)
		time.Sleep(2 * time.Second)
		count("no leader", 10*time.Second, 2*10*10)
		s.ctrl.CrashAll()
		time.Sleep(2 * time.Second)
		count("no controller", 10*time.Second, 2*10*10)
		s.ctrl.StartAll()
		c.grow(t, d)
		if !judged {
			t.Skip("not applicable: the groups do not wait for a change at the controller")
		}
	})
}

// TestMovesWithinASecond4B measures moves. Within five seconds after a change the shards
// are served at the new group, with loss of messages too, unless an election falls into
// the move. A move that takes more than a second gets a note.
func TestMovesWithinASecond4B(t *testing.T) {
	for name, limits := range map[string]struct {
		reliable   bool
		mean, most time.Duration
	}{
		"reliable": {true, 250 * time.Millisecond, 500 * time.Millisecond},
		"lossy":    {false, 500 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, -1, func(t *testing.T, s *store) {
				s.join(0)
				d := s.client().fill(10, 1000)
				s.Net.Reliable(limits.reliable)
				changes := 20 * testkit.SoakFactor()
				sum, slowest, elections := time.Duration(0), time.Duration(0), 0
				for range changes {
					before := s.terms()
					s.toggle()
					took := s.timeToRead(d)
					if s.terms() > before {
						elections++
						continue
					}
					sum, slowest = sum+took, max(slowest, took)
				}
				mean := sum / time.Duration(max(1, changes-elections))
				t.Logf("%d changes, %d with an election: all shards read after %v in the mean, %v at most", changes, elections, mean, slowest)
				switch {
				case mean > 5*limits.mean || slowest > 5*limits.most || elections > changes/4:
					t.Errorf("want %v and %v, and never five times as much", limits.mean, limits.most)
				case mean > limits.mean || slowest > limits.most: // the lab has no limit
					labrun.Note(t, "shards move slowly")
				}
			})
		})
	}
}

// terms returns the sum of the terms of all groups: an election is in it.
func (s *store) terms() int {
	sum := s.ctrl.Term()
	for _, g := range s.groups {
		sum += g.Term()
	}
	return sum
}

// timeToRead returns how long it takes to read keys, each by a client of its own.
func (s *store) timeToRead(d data) time.Duration {
	begin := time.Now()
	var reading sync.WaitGroup
	for key, value := range d {
		c := s.client()
		reading.Go(func() {
			if got := c.Get(key); got != value {
				s.t.Errorf("key %q is %s; want %s", key, brief(got), brief(value))
			}
		})
	}
	reading.Wait()
	return time.Since(begin)
}
