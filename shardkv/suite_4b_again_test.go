package shardkv_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// A wire decides about messages of a store, beside the usual faults. Between two groups
// pass either all messages or none or those that hand shards over.
type wire struct {
	old, next []string // servers of the two groups

	mu      sync.Mutex
	cut     bool            // no message passes between the groups
	handing bool            // no other message passes than those that hand shards over
	asks    map[string]bool // methods that hand shards over
	slow    []string        // servers of a group that acknowledge slowly

	late *labrpc.Hold    // of the first message of each kind
	from []string        // senders of late messages
	to   string          // receiver of late messages
	held map[string]bool // methods of late messages
	lone string          // a server that its group does not reach, the sender of the newest late message
}

// acknowledge is the time of a slow acknowledgement. The time is shorter than an election
// timeout.
const acknowledge = 120 * time.Millisecond

func (s *store) wire(old, next int) *wire {
	w := &wire{old: s.groups[old].Names(), next: s.groups[next].Names(), asks: make(map[string]bool), held: make(map[string]bool)}
	s.Net.SetScheduler(w.decide)
	return w
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *wire) decide(m labrpc.Message) labrpc.Decision {
	id, _ := m.End.(string)
	from, to, _ := strings.Cut(id, ">")
	to, _, _ = strings.Cut(to, "#")
	fetch := slices.Contains(w.next, from) && slices.Contains(w.old, to)
	push := slices.Contains(w.old, from) && slices.Contains(w.next, to)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case (fetch || push) && !m.Reply && slices.Contains(w.from, from) && to == w.to && !w.held[m.Method]:
		w.held[m.Method], w.lone = true, from
		return labrpc.HeldBy(w.late)
	case !fetch && !push && (from == w.lone) != (to == w.lone) && slices.Contains(w.from, from) && slices.Contains(w.from, to):
		return labrpc.Never()
	case !fetch && !push:
		if m.Reply && slices.Contains(w.slow, from) && slices.Contains(w.slow, to) {
			return labrpc.After(acknowledge)
		}
	case w.cut:
		w.asks[m.Method] = true
		return labrpc.Never()
	case w.handing && (!w.asks[m.Method] || push && m.Reply):
		return labrpc.Never()
	}
	return labrpc.Usual()
}

// compact appends to a key until each server of its group has a new snapshot.
func (s *store) compact(c *client, d data, g int, key string) {
	group := s.groups[g]
	highest, compacted := make([]int, group.N()), make(map[int]bool)
	for i := 0; len(compacted) < group.N() && i < 40; i++ {
		more := pad("-", 100)
		c.Append(key, more)
		d[key] += more
		time.Sleep(20 * time.Millisecond)
		for server := range highest {
			size := group.Disk(server).RaftStateSize()
			if size < highest[server] {
				compacted[server] = true
			}
			highest[server] = max(highest[server], size)
		}
	}
}

// restartSlowly restarts a group whose servers then acknowledge slowly, so a new leader has
// entries in the log, and only later does it know that they are committed.
func (s *store) restartSlowly(w *wire, g int) {
	s.crash(g)
	w.set(func() { w.slow = s.groups[g].Names() })
	s.restart(g)
	s.leader(g)
}

// leader waits for a leader of a group.
func (s *store) leader(g int) (leader int) {
	testkit.WaitFor(s.t, 10*time.Second, "a leader", func() bool { leader = s.groups[g].Leader(); return leader >= 0 })
	return leader
}

// twoShards makes two groups, and returns a key of each.
func (s *store) twoShards(c *client) (keys [2]string, d data) {
	s.join(0, 1)
	config := s.ctl.Query(-1)
	for i := range shardctrler.NShards {
		key := fmt.Sprint(i)
		keys[config.Shards[shardOf(key)]-gid(0)] = key
	}
	d = data{keys[0]: "a", keys[1]: "b"}
	c.Put(keys[0], "a")
	c.Put(keys[1], "b")
	return keys, d
}

// handOver moves the shard of a key from group 0 to group 1, and appends at group 1. While
// no message passes between the groups, begun is called. No confirmation of the next owner
// reaches the old one.
func (s *store) handOver(w *wire, c *client, d data, key string, begun func()) {
	w.set(func() { w.cut = true })
	s.ctl.Move(shardOf(key), gid(1))
	time.Sleep(500 * time.Millisecond) // both groups come to the configuration
	s.applicable(w, "the next owner serves nothing before the shard has come", begun)
	w.set(func() { w.cut, w.handing = false, true })
	s.applicable(w, "the next owner serves a shard only when the old one has learned of the arrival", func() { c.Append(key, "n") })
	d[key] += "n"
}

// applicable skips the test if an operation has to wait for messages that the test withholds.
func (s *store) applicable(w *wire, why string, operation func()) {
	done := make(chan struct{})
	go func() { defer close(done); operation() }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		w.set(func() { w.cut, w.handing = false, false })
		<-done
		s.t.Skip("not applicable: " + why)
	}
}

// TestShardIsTakenOnce4B restarts the next owner of a shard after a write. The new leader does
// not know yet that the shard has arrived, and gets it again from the old owner.
func TestShardIsTakenOnce4B(t *testing.T) {
	run(t, 2, 1000, func(t *testing.T, s *store) {
		c := s.client()
		keys, d := s.twoShards(c)
		w := s.wire(0, 1)
		s.handOver(w, c, d, keys[0], func() { s.compact(c, d, 1, keys[1]) }) // a snapshot without the shard
		s.restartSlowly(w, 1)
		time.Sleep(time.Second)
		w.set(func() { w.handing, w.slow = false, nil })
		c.verify(t, d)
	})
}

// TestArrivalIsCommitted4B cuts the leader of a shard's next owner off from its group when the
// shard arrives, and then crashes the leader. The old owner keeps the shard until the next
// owner has committed the arrival.
func TestArrivalIsCommitted4B(t *testing.T) {
	run(t, 2, 1000, func(t *testing.T, s *store) {
		c := s.client()
		keys, d := s.twoShards(c)
		w := s.wire(0, 1)
		for i, shard := range []string{keys[0], keys[1], keys[0]} {
			w.set(func() { w.cut = true })
			s.ctl.Move(shardOf(shard), gid(1-i%2))
			next := s.groups[1-i%2]
			time.Sleep(500 * time.Millisecond) // both groups come to the configuration
			leader := s.leader(1 - i%2)
			w.set(func() { w.cut, w.from, w.lone = false, next.Names(), next.Names()[leader] })
			time.Sleep(2 * time.Second) // the others elect a leader
			next.Crash(leader)
			w.set(func() { w.from = nil })
			next.Start(leader)
			c.grow(t, d)
		}
	})
}

// TestRestartAfterAMove4B restarts the next owner of a shard after writes. The log has the
// move, and the old owner has forgotten the shard. No client helps the new leader to commit.
func TestRestartAfterAMove4B(t *testing.T) {
	run(t, 2, 1000, func(t *testing.T, s *store) {
		c := s.client()
		keys, d := s.twoShards(c)
		w := s.wire(0, 1)
		s.handOver(w, c, d, keys[0], func() { s.compact(c, d, 1, keys[1]) })
		c.grow(t, d)
		w.set(func() { w.handing = false })
		time.Sleep(time.Second)
		s.crash(1)
		s.restart(1)
		c.expect(t, keys[0], d[keys[0]])
		c.verify(t, d)
	})
}

// TestCommandBehindAMove4B restarts the old owner of a shard. The new leader does not know yet
// that the move is committed, and logs a command for the shard behind the move.
func TestCommandBehindAMove4B(t *testing.T) {
	run(t, 2, 1000, func(t *testing.T, s *store) {
		c := s.client()
		keys, d := s.twoShards(c)
		s.compact(c, d, 0, keys[0]) // a snapshot with the shard
		late := s.client()
		late.expect(t, keys[0], d[keys[0]]) // the client knows the configuration before the move
		w := s.wire(0, 1)
		s.handOver(w, c, d, keys[0], func() {})
		s.restartSlowly(w, 0)
		late.Append(keys[0], "o")
		d[keys[0]] += "o"
		w.set(func() { w.handing, w.slow = false, nil })
		c.verify(t, d)
	})
}

// TestLateMessages4B holds the first message of each kind between two groups in a move, and
// cuts the sender off from its group, whose next leader completes the move. The messages
// arrive in a later move of the same shard.
func TestLateMessages4B(t *testing.T) {
	for _, sender := range []int{0, 1} {
		t.Run(fmt.Sprintf("from group %d", sender), func(t *testing.T) {
			run(t, 2, -1, func(t *testing.T, s *store) {
				c := s.client()
				keys, d := s.twoShards(c)
				key, w := keys[0], s.wire(0, 1)
				to := s.groups[1-sender].Names()[s.leader(1-sender)]
				w.set(func() { w.late, w.from, w.to = labrpc.NewHold(), s.groups[sender].Names(), to })
				s.ctl.Move(shardOf(key), gid(1))
				c.Append(key, "n")
				d[key] += "n"
				time.Sleep(3 * time.Second) // for what follows the move
				w.set(func() { w.from = nil })
				c.grow(t, d)
				s.ctl.Move(shardOf(key), gid(0))
				time.Sleep(time.Second)
				c.grow(t, d)
				w.set(func() { w.cut = true })
				s.ctl.Move(shardOf(key), gid(1))
				time.Sleep(500 * time.Millisecond)
				w.late.Release()
				time.Sleep(200 * time.Millisecond)
				w.set(func() { w.cut = false })
				c.verify(t, d)
			})
		})
	}
}
