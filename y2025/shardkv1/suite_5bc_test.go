package shardkv_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardctrler"
	tester "raftlab/y2025/tester1"
)

// A controller is a controller that a test can cut off.
type controller struct {
	*shardctrler.ShardCtrler
	client *lab.Client
}

// fresh returns a controller that has done nothing yet.
func (s *store) fresh() *controller {
	client := s.NewClient()
	return &controller{shardctrler.MakeShardCtrler(client.Clnt), client}
}

// controller returns a controller that may change the configuration.
func (s *store) controller() *controller {
	s.t.Helper()
	c := s.fresh()
	s.Await("InitController", lab.ChangeLimit, lab.Go(c.InitController))
	return c
}

// A moment reports whether a message of a controller is the one at which the test cuts the
// controller off.
type moment func(labrpc.Message) bool

// after is the moment after so many messages.
func after(messages int64) moment {
	var count atomic.Int64
	return func(labrpc.Message) bool { return count.Add(1) == messages }
}

// moved is the moment at which a controller turns from the groups to the configurations, for
// the last step of a change.
func moved() moment {
	var groups atomic.Bool
	return func(m labrpc.Message) bool {
		if m.Server != tester.ServerName(tester.GRP0, 0) {
			groups.Store(true)
			return false
		}
		return !m.Reply && groups.Load()
	}
}

// dieAt cuts a controller off at a moment. The returned channel is closed then.
func (s *store) dieAt(c *controller, at moment) (dead <-chan struct{}) {
	cut := make(chan struct{})
	var once sync.Once
	s.Direct(c.client, func(m labrpc.Message) labrpc.Decision {
		if at(m) {
			once.Do(func() {
				c.client.Cut(true)
				close(cut)
			})
		}
		return labrpc.Usual()
	})
	return cut
}

// interrupted lets a controller begin a change, and cuts it off at a moment or at the end of
// the change. The returned channel is closed when the call of the controller returns, for
// which somebody must connect the controller again.
func (s *store) interrupted(c *controller, at moment, change func()) (done <-chan struct{}) {
	s.t.Helper()
	dead := s.dieAt(c, at)
	done = lab.Go(change)
	select {
	case <-dead:
	case <-done:
	case <-time.After(lab.ChangeLimit):
		s.t.Fatal("a change made no progress")
	}
	c.client.Cut(true)
	s.Direct(c.client, nil)
	return done
}

// messages draws a moment of a change, in messages of the controller. The moment is
// early more often than late.
func messages(rng *rand.Rand) moment { return after(1 + rng.Int64N(1+rng.Int64N(160))) }

// recovered lets a new controller complete what another one has begun, and ends the test
// unless the configuration is then the one before or the next one. The new controller
// becomes the test's.
func (s *store) recovered(before, next *shardcfg.ShardConfig) *shardcfg.ShardConfig {
	s.t.Helper()
	s.sck = s.controller().ShardCtrler
	now := s.query()
	if got := now.String(); got != before.String() && got != next.String() {
		s.t.Fatalf("after the crash of a controller the configuration is %v; want %v or %v", now, before, next)
	}
	return now
}

// afterCrash lets a new controller recover, and ends the test unless every key is served
// then. If the change was not completed, afterCrash makes it.
func (s *store) afterCrash(k *lab.Clerk, d data, before, next *shardcfg.ShardConfig) {
	s.t.Helper()
	now := s.recovered(before, next)
	s.grow(k, d)
	if now.Num == before.Num {
		s.change(next)
		s.grow(k, d)
	}
}

// TestControllerCrashes5B cuts a controller off in the middle of a change, at many
// moments. The next controller completes the change, or nothing of the change is seen.
// Every key is there, and the next change works.
func TestControllerCrashes5B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		rng := testkit.Rand(t)
		k := s.clerk()
		d := s.fill(k, 24, 10)
		for i := range 12 {
			before := s.query()
			next := s.toggled(before, tester.Tgid(2+i%2))
			c := s.controller()
			s.interrupted(c, messages(rng), func() { c.ChangeConfigTo(next) })
			s.afterCrash(k, d, before, next)
		}
	})
}

// TestEachMomentOfACrash5B cuts a controller off after one of its first messages, after
// two, and so on, while it announces the change and begins to move shards.
func TestEachMomentOfACrash5B(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		k := s.clerk()
		d := s.fill(k, 24, 10)
		for n := range int64(16) {
			before := s.query()
			next := s.toggled(before, 2)
			c := s.controller()
			s.interrupted(c, after(n+1), func() { c.ChangeConfigTo(next) })
			s.afterCrash(k, d, before, next)
		}
	})
}

// TestRecoveryIsInterrupted5B cuts the controller off that completes the change of
// another one, and the one after.
func TestRecoveryIsInterrupted5B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		rng := testkit.Rand(t)
		k := s.clerk()
		d := s.fill(k, 24, 10)
		for i := range 6 {
			before := s.query()
			next := s.toggled(before, tester.Tgid(2+i%2))
			c := s.controller()
			s.interrupted(c, messages(rng), func() { c.ChangeConfigTo(next) })
			for range 2 {
				c := s.fresh()
				s.interrupted(c, messages(rng), c.InitController)
			}
			s.afterCrash(k, d, before, next)
		}
	})
}

// TestCrashesUnderLoad5B cuts controllers off while clerks read and write. The history is
// linearizable.
func TestCrashesUnderLoad5B(t *testing.T) {
	run(t, 2, 1000, func(t *testing.T, s *store) {
		rng := testkit.Rand(t)
		w := s.begin(4)
		for i := range 6 {
			before := s.query()
			next := s.toggled(before, tester.Tgid(2+i%2))
			c := s.controller()
			s.interrupted(c, messages(rng), func() { c.ChangeConfigTo(next) })
			time.Sleep(100 * time.Millisecond)
			s.recovered(before, next)
		}
		w.Stop()
	})
}

// TestOldControllerReturns5C cuts a controller off in the middle of a change. Another
// controller completes the change and moves the shards back. Then the old controller
// reaches the servers again, and goes on where it was. It must not disturb anything.
func TestOldControllerReturns5C(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		rng := testkit.Rand(t)
		k := s.clerk()
		d := s.fill(k, 24, 10)
		for round := range 8 {
			before := s.query()
			next := s.toggled(before, 2)
			old := s.controller()
			at := messages(rng)
			if round%2 == 1 {
				at = moved()
			}
			done := s.interrupted(old, at, func() { old.ChangeConfigTo(next) })
			s.recovered(before, next)
			s.grow(k, d)
			for _, gid := range []tester.Tgid{2, 3, 3}[:1+rng.IntN(3)] {
				s.toggle(gid)
			}
			s.grow(k, d)
			last := s.query()
			old.client.Cut(false)
			s.Await("ChangeConfigTo of the old controller", lab.ChangeLimit, done)
			if now := s.query(); now.String() != last.String() {
				t.Fatalf("the old controller changed the configuration from %v to %v", last, now)
			}
			s.grow(k, d)
			s.grow(s.clerk(), d)
		}
	})
}

// compete lets controllers change the configuration at the same time while clerks work.
// Each group joins or leaves through one of the controllers.
func compete(t *testing.T, controllers int, unreliable bool, maxraftstate int) {
	run(t, controllers, maxraftstate, func(t *testing.T, s *store) {
		s.Net.Reliable(!unreliable)
		w := s.begin(3)
		var done []<-chan struct{}
		var highest atomic.Int64
		for i := range controllers {
			c, gid := s.fresh(), tester.Tgid(2+i)
			done = append(done, lab.Go(func() {
				c.InitController()
				for range 4 {
					s.insistOn(c, gid, &highest)
				}
			}))
		}
		s.Await("the changes of all controllers", 5*time.Minute, done...)
		w.Stop()
		if now := s.query(); len(now.Groups) != 1 || !now.IsMember(shardcfg.Gid1) {
			t.Errorf("each group has joined and left twice, and the configuration is %v", now)
		}
	})
}

// insistOn makes a group join or leave. Another controller may win with a change of the
// same number, and then the controller begins again. The numbers of configurations never
// fall.
func (s *store) insistOn(c *controller, gid tester.Tgid, highest *atomic.Int64) {
	config := c.Query()
	member := config.IsMember(gid)
	for config.IsMember(gid) == member {
		c.ChangeConfigTo(s.toggled(config, gid))
		before := highest.Load()
		if config = c.Query(); int64(config.Num) < before {
			s.t.Errorf("a controller sees configuration %d after configuration %d", config.Num, before)
			return
		}
		for n := before; int64(config.Num) > n && !highest.CompareAndSwap(n, int64(config.Num)); {
			n = highest.Load()
		}
	}
}

// TestTwoControllers5C lets two controllers change the configuration at the same time.
// One wins each number, and the other one completes the winner's change.
func TestTwoControllers5C(t *testing.T) { compete(t, 2, false, -1) }

// TestThreeControllersUnreliable5C adds a controller, loss of messages, and snapshots.
func TestThreeControllersUnreliable5C(t *testing.T) { compete(t, 3, true, 1000) }

// TestOldControllersUnderLoad5C cuts controllers off in the middle of changes, lets others
// complete the changes, and connects the old ones again later, while clerks read and
// write.
func TestOldControllersUnderLoad5C(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		rng := testkit.Rand(t)
		w := s.begin(4)
		for i := range 6 {
			before := s.query()
			next := s.toggled(before, tester.Tgid(2+i%2))
			old := s.controller()
			done := s.interrupted(old, messages(rng), func() { old.ChangeConfigTo(next) })
			s.recovered(before, next)
			back := lab.Go(func() {
				time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
				old.client.Cut(false)
			})
			s.toggle(tester.Tgid(2 + i%2))
			s.Await("ChangeConfigTo of the old controller", lab.ChangeLimit, back, done)
		}
		w.Stop()
	})
}
