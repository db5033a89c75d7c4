package lock_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/lock"
	tester "raftlab/y2025/tester1"
)

func TestMain(m *testing.M) { labrun.Main(m) }

// run runs a test with one server.
func run(t *testing.T, body func(t *testing.T, l *lab.Lab)) {
	t.Helper()
	lab.Run(t, func(t *testing.T, l *lab.Lab) {
		l.StartGroup(tester.GRP0, 1, kvsrv.StartKVServer)
		body(t, l)
	})
}

// handle returns a new client's handle of a lock.
func handle(l *lab.Lab, name string) (*lock.Lock, *lab.Client) {
	client := l.NewClient()
	return lock.MakeLock(l.Clerk(client, kvsrv.MakeClerk(client.Clnt, tester.ServerName(tester.GRP0, 0))), name), client
}

// contend lets clients take a lock again and again. At most one client holds the lock at
// a time, and each client gets the lock as often as it wants.
func contend(t *testing.T, clients, turns int, unreliable bool) {
	run(t, func(t *testing.T, l *lab.Lab) {
		l.Net.Reliable(!unreliable)
		var holders atomic.Int32
		var done []<-chan struct{}
		for range clients {
			lk, _ := handle(l, "l")
			done = append(done, lab.Go(func() {
				for range turns {
					lk.Acquire()
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d clients hold the lock", n)
					}
					time.Sleep(10 * time.Millisecond)
					holders.Add(-1)
					lk.Release()
				}
			}))
		}
		l.Await("the turns of all clients", 10*time.Minute, done...)
		last, _ := handle(l, "l")
		l.Await("Acquire of a lock that is free", time.Minute, lab.Go(last.Acquire))
		next, _ := handle(l, "l")
		l.Pending("Acquire returned while another client held the lock", 2*time.Second, lab.Go(next.Acquire))
	})
}

// TestOneClient2 lets one client take a lock many times.
func TestOneClient2(t *testing.T) { contend(t, 1, 20, false) }

// TestManyClients2 lets clients compete for a lock. One client at a time holds the lock.
func TestManyClients2(t *testing.T) { contend(t, 5, 8, false) }

// TestUnreliableClients2 lets clients compete for a lock on a network that loses messages.
func TestUnreliableClients2(t *testing.T) { contend(t, 4, 8, true) }

// TestOneUnreliableClient2 lets one client take a lock on a network that loses
// messages. The client also finds out that a Put with the outcome ErrMaybe was its own.
func TestOneUnreliableClient2(t *testing.T) { contend(t, 1, 30, true) }

// TestTwoLocks2 holds one lock while another client takes another lock.
func TestTwoLocks2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		a, _ := handle(l, "a")
		b, _ := handle(l, "b")
		otherA, _ := handle(l, "a")
		l.Await("Acquire", lab.OperationLimit, lab.Go(a.Acquire))
		l.Await("Acquire of another lock", lab.OperationLimit, lab.Go(b.Acquire))
		second := lab.Go(otherA.Acquire)
		l.Pending("Acquire returned while another client held the lock", 2*time.Second, second)
		l.Await("Release", lab.OperationLimit, lab.Go(b.Release))
		l.Pending("Acquire returned after the Release of another lock", time.Second, second)
		l.Await("Release", lab.OperationLimit, lab.Go(a.Release))
		l.Await("Acquire after the Release", lab.OperationLimit, second)
	})
}

// lostPut loses the reply to the first Put of a client.
func lostPut(l *lab.Lab, client *lab.Client) {
	var lost atomic.Bool
	l.Direct(client, func(m labrpc.Message) labrpc.Decision {
		if m.Reply && strings.HasSuffix(m.Method, ".Put") && lost.CompareAndSwap(false, true) {
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
}

// TestAcquireWithALostReply2 loses the reply to the Put of an Acquire. The client holds
// the lock, and Acquire must find out.
func TestAcquireWithALostReply2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		lk, client := handle(l, "l")
		other, _ := handle(l, "l")
		lostPut(l, client)
		l.Await("Acquire", lab.OperationLimit, lab.Go(lk.Acquire))
		second := lab.Go(other.Acquire)
		l.Pending("Acquire returned while another client held the lock", 2*time.Second, second)
		l.Await("Release", lab.OperationLimit, lab.Go(lk.Release))
		l.Await("Acquire after the Release", lab.OperationLimit, second)
	})
}

// TestLostRace2 loses the request of the Put of an Acquire while another client takes the
// lock. The retry of the Put has the outcome ErrMaybe, and the client does not hold the
// lock.
func TestLostRace2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		lk, client := handle(l, "l")
		other, _ := handle(l, "l")
		hold := labrpc.NewHold()
		var held atomic.Bool
		l.Direct(client, func(m labrpc.Message) labrpc.Decision {
			if !m.Reply && strings.HasSuffix(m.Method, ".Put") && held.CompareAndSwap(false, true) {
				return labrpc.HeldBy(hold)
			}
			return labrpc.Usual()
		})
		first := lab.Go(lk.Acquire)
		testkit.WaitFor(t, lab.OperationLimit, "the Put of an Acquire", held.Load)
		l.Await("Acquire of another client", lab.OperationLimit, lab.Go(other.Acquire))
		hold.Drop()
		l.Pending("two clients hold the lock", 2*time.Second, first)
		l.Await("Release", lab.OperationLimit, lab.Go(other.Release))
		l.Await("Acquire after the Release", lab.OperationLimit, first)
	})
}

// TestReleaseWithALostReply2 loses the reply to the Put of a Release. The lock is free,
// and Release must not take the lock from the next holder.
func TestReleaseWithALostReply2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		lk, client := handle(l, "l")
		other, _ := handle(l, "l")
		third, _ := handle(l, "l")
		l.Await("Acquire", lab.OperationLimit, lab.Go(lk.Acquire))
		waiting := lab.Go(other.Acquire)
		lostPut(l, client)
		release := lab.Go(lk.Release)
		l.Await("Acquire after the Release", lab.OperationLimit, waiting)
		l.Await("Release", lab.OperationLimit, release)
		l.Pending("two clients hold the lock", 2*time.Second, lab.Go(third.Acquire))
	})
}
