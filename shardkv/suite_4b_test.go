package shardkv_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/shardlab"
	"raftlab/shardctrler"
)

// TestStaticShards4B stops one of two groups. The shards of the stopped group are
// not served, and the others are.
func TestStaticShards4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0)
		s.join(1)
		c := s.client()
		d := c.fill(10, 20)
		c.grow(t, d)
		s.crash(1)
		var served atomic.Int32
		var reading sync.WaitGroup
		for key, value := range d {
			ck := s.client()
			reading.Go(func() {
				if got := ck.Get(key); got != value {
					t.Errorf("key %q is %q; want %q", key, got, value)
				}
				served.Add(1)
			})
		}
		time.Sleep(2 * time.Second)
		if n := served.Load(); n != 5 {
			t.Errorf("%d keys of 10 are served with one group of two down; want 5", n)
		}
		s.restart(1)
		reading.Wait()
		c.verify(t, d)
	})
}

// TestWrongGroup4B gives a clerk a controller that names the wrong group for each
// shard. The clerk gets no answer, and its writes change nothing.
func TestWrongGroup4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		d := c.fill(10, 20)
		rogue := s.otherController()
		ctl := shardctrler.MakeClerk(rogue.Ends())
		ctl.Join(map[int][]string{gid(0): s.groups[0].Names()})
		ctl.Join(map[int][]string{gid(1): s.groups[1].Names()})
		right := s.ctl.Query(-1)
		for shard, owner := range right.Shards {
			ctl.Move(shard, 2*100+1-owner)
		}
		answered := make(chan string, len(d))
		for key := range d {
			ck := &client{Clerk: s.clerk(rogue), t: t, log: &history{}, open: s.Open}
			go func() { ck.Put(key, "rogue"); answered <- key }()
		}
		select {
		case key := <-answered:
			t.Fatalf("a group took a write to %q that is not its", key)
		case <-time.After(2 * time.Second):
		}
		c.verify(t, d)
		for shard, owner := range right.Shards { // so that the clerks end
			ctl.Move(shard, owner)
		}
		for range d {
			<-answered
		}
	})
}

// otherController starts a second configuration service beside the first.
func (s *store) otherController() *shardlab.Group {
	return s.Group("rogue", groupSize, controllerStarter)
}

// TestJoinLeave4B lets a group join and another leave and then crash. Every value is
// served by the group that took over.
func TestJoinLeave4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		c := s.client()
		s.join(0)
		d := c.fill(20, 5)
		s.join(1)
		c.grow(t, d)
		s.leave(0)
		c.grow(t, d)
		time.Sleep(time.Second) // the shards have moved
		s.crash(0)
		c.grow(t, d)
	})
}

// TestSnapshot4B restarts groups with snapshots. Shards and sessions survive.
func TestSnapshot4B(t *testing.T) {
	run(t, 3, 1000, func(t *testing.T, s *store) {
		c := s.client()
		s.join(0)
		d := c.fill(30, 20)
		s.join(1)
		s.join(2)
		s.leave(0)
		c.grow(t, d)
		s.leave(1)
		s.join(0)
		c.grow(t, d)
		time.Sleep(time.Second)
		s.crash(s.all()...)
		s.restart(s.all()...)
		c.grow(t, d)
		for g, group := range s.groups {
			for i := range group.N() {
				if size := group.Disk(i).RaftStateSize(); size > 8000 {
					t.Errorf("group %d, server %d: %d bytes of Raft state, snapshots from 1,000 on", g, i, size)
				}
			}
		}
	})
}

// TestMissChange4B lets servers miss changes of the configuration. The servers catch
// up with one change after the other.
func TestMissChange4B(t *testing.T) {
	run(t, 3, 1000, func(t *testing.T, s *store) {
		c := s.client()
		s.join(0)
		d := c.fill(10, 20)
		s.join(1)
		c.grow(t, d)
		for i := range s.groups {
			s.groups[i].Crash(0)
		}
		s.join(2)
		s.leave(1)
		s.leave(0)
		c.grow(t, d)
		s.join(1)
		c.grow(t, d)
		for i := range s.groups {
			s.groups[i].Start(0)
		}
		c.grow(t, d)
		time.Sleep(2 * time.Second)
		for i := range s.groups {
			s.groups[i].Crash(1)
		}
		s.join(0)
		s.leave(2)
		c.grow(t, d)
		for i := range s.groups {
			s.groups[i].Start(1)
		}
	})
}

// TestConcurrent1_4B lets groups come and go under load.
func TestConcurrent1_4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) { s.comeAndGo(30*time.Millisecond, s.restartAll) })
}

// TestConcurrent2_4B lets groups come and go while other groups are down.
func TestConcurrent2_4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, s *store) {
		s.join(1, 0, 2)
		l := s.begin(5, 40*time.Millisecond)
		for _, step := range []func(){
			func() { s.leave(0); s.leave(2) },
			func() { s.join(0, 2); s.leave(1) },
			func() { s.join(1); s.leave(0); s.leave(2) },
		} {
			step()
			time.Sleep(2 * time.Second)
		}
		s.crash(1)
		time.Sleep(time.Second)
		s.crash(2)
		time.Sleep(time.Second)
		s.restart(1, 2)
		time.Sleep(2 * time.Second)
		l.end(t, s.client())
	})
}

// TestConcurrent3_4B moves shards while every server restarts.
func TestConcurrent3_4B(t *testing.T) {
	run(t, 3, 300, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		d := c.fill(10, 1)
		l := s.begin(3, 30*time.Millisecond)
		for range 6 {
			s.join(2)
			s.join(1)
			time.Sleep(300 * time.Millisecond)
			s.restartAll()
			s.leave(1)
			s.leave(2)
			time.Sleep(300 * time.Millisecond)
		}
		l.end(t, c)
		c.verify(t, d)
	})
}

func (s *store) restartAll() {
	s.crash(s.all()...)
	time.Sleep(200 * time.Millisecond)
	s.restart(s.all()...)
}

// comeAndGo changes the configuration in a number of ways under load.
func (s *store) comeAndGo(sleep time.Duration, between func()) {
	s.t.Helper()
	s.join(0)
	c := s.client()
	d := c.fill(10, 5)
	l := s.begin(5, sleep)
	for _, step := range []func(){
		func() { s.join(1) }, func() { s.join(2) }, func() { s.leave(0) },
		between,
		func() { s.leave(1); s.join(0) }, func() { s.join(1) }, func() { s.leave(0, 2) },
	} {
		step()
		time.Sleep(700 * time.Millisecond)
	}
	l.end(s.t, c)
	c.verify(s.t, d)
}

// TestUnreliable1_4B lets groups join and leave on a network that loses and delays
// messages, with eager snapshots.
func TestUnreliable1_4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.Net.Reliable(false)
		c := s.client()
		s.join(0)
		d := c.fill(10, 5)
		s.join(1)
		s.join(2)
		s.leave(0)
		c.grow(t, d)
		c.grow(t, d)
		s.join(0)
		s.leave(1)
		c.grow(t, d)
	})
}

// TestUnreliable2_4B appends to keys while groups come and go on a network that
// loses and delays messages.
func TestUnreliable2_4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.Net.Reliable(false)
		s.comeAndGo(30*time.Millisecond, func() {})
	})
}

// TestUnreliable3_4B runs many clients on few keys, under loss and changes of the
// configuration.
func TestUnreliable3_4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.Net.Reliable(false)
		s.join(0)
		stop := make(chan struct{})
		var working sync.WaitGroup
		for i := range 5 {
			c := s.client()
			working.Go(func() { c.mix(i, stop) })
		}
		s.comeAndGo(40*time.Millisecond, s.restartAll)
		close(stop)
		working.Wait()
	})
}

// TestChallenge1Delete4B is challenge 1. A moved shard is deleted at its old group.
func TestChallenge1Delete4B(t *testing.T) {
	run(t, 3, 1, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		d := c.fill(30, 1000)
		// A record of a client may hold the value of the last Get, and each shard may have
		// records of its own. The bound has room for the values of three keys.
		few := make(data)
		for _, key := range slices.Sorted(maps.Keys(d))[:3] {
			few[key] = d[key]
		}
		for range 2 {
			s.join(1)
			s.join(2)
			time.Sleep(time.Second)
			c.verify(t, few)
			s.leave(0)
			time.Sleep(time.Second)
			s.join(0)
			s.leave(1)
			s.leave(2)
			time.Sleep(time.Second)
		}
		s.join(1)
		s.join(2)
		time.Sleep(time.Second)
		c.verify(t, few)
		sum := 0
		for _, g := range s.groups {
			sum += g.StateBytes()
		}
		if sum > 117_000 {
			t.Errorf("%d bytes of Raft state and snapshots; want at most 117,000", sum)
		}
		c.verify(t, d)
	})
}

// TestChallenge2Unaffected4B is challenge 2. Shards without a change are served all
// the time, although the source of other shards is dead.
func TestChallenge2Unaffected4B(t *testing.T) {
	run(t, 2, 100, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		d := c.fill(10, 5)
		s.join(1)
		time.Sleep(time.Second)
		c.grow(t, d)
		mine := make(data)
		owners := s.ctl.Query(-1).Shards
		for key, value := range d {
			if owners[shardOf(key)] == gid(1) {
				mine[key] = value
			}
		}
		if len(mine) != 5 {
			t.Fatalf("group 1 has %d of 10 keys", len(mine))
		}
		s.crash(0)
		s.leave(0)
		time.Sleep(time.Second)
		s.within(2*time.Second, "shards that stay are served", func() { c.grow(t, mine) })
	})
}

// TestChallenge2Partial4B is challenge 2. Shards that have arrived are served before
// the others arrive.
func TestChallenge2Partial4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.join(0, 1, 2)
		c := s.client()
		d := c.fill(10, 5)
		time.Sleep(time.Second)
		before := s.ctl.Query(-1).Shards
		s.crash(0)
		s.leave(0, 2)
		live := make(data)
		for key, value := range d {
			if before[shardOf(key)] != gid(0) {
				live[key] = value
			}
		}
		s.within(2*time.Second, "shards of live groups are served", func() { c.grow(t, live) })
	})
}

// within ends the test if something takes longer.
func (s *store) within(limit time.Duration, what string, do func()) {
	s.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
		s.t.Fatalf("waited %v in vain: %s", limit, what)
	}
}

// TestAnotherCommandAtTheIndex4B lets an old leader log commands, and its successor commit
// other commands at the same indices. The old leader then applies the other commands, and
// must not take them for the ones of its clients. Nor may
// it answer a Get from its own state.
func TestAnotherCommandAtTheIndex4B(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		s.join(0)
		g, first := s.groups[0], s.client()
		first.Put("other", "b")
		for range 6 {
			first.Put("k", "a")
			var wires []*shardlab.Client
			var clients []*client
			for range 3 {
				w := s.Client()
				c := s.clientOf(w)
				c.expect(t, "other", "b") // the client knows the leader and the configuration
				wires, clients = append(wires, w), append(clients, c)
			}
			heal := g.Strand(wires[:2], wires[2:])
			clients[2].Append("k", "n") // by the next leader
			var working sync.WaitGroup
			for _, do := range []func(){
				func() { clients[0].Append("k", "c") },
				func() { clients[1].Get("k") }, // with the n
				func() { clients[2].Append("k", "d"); clients[2].Append("k", "e") },
			} {
				working.Go(do)
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
			heal() // before the handlers of the old leader give up
			working.Wait()
			value := first.Get("k")
			for _, piece := range []string{"a", "n", "c", "d", "e"} {
				if strings.Count(value, piece) != 1 {
					t.Fatalf("the key has the value %q, and %q was written once and acknowledged", value, piece)
				}
			}
		}
	})
}
