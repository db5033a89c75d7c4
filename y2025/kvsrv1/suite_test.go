package kvsrv_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	tester "raftlab/y2025/tester1"
)

// The suite uses what the course gives to students and nothing more, so another
// implementation can take the place of package kvsrv.

func TestMain(m *testing.M) { labrun.Main(m) }

var server = tester.ServerName(tester.GRP0, 0)

// run runs a test with one server.
func run(t *testing.T, body func(t *testing.T, l *lab.Lab)) {
	t.Helper()
	lab.Run(t, func(t *testing.T, l *lab.Lab) {
		l.StartGroup(tester.GRP0, 1, kvsrv.StartKVServer)
		body(t, l)
	})
}

// clerk returns a clerk with connections of its own.
func clerk(l *lab.Lab) (*lab.Clerk, *lab.Client) {
	client := l.NewClient()
	return l.Clerk(client, kvsrv.MakeClerk(client.Clnt, server)), client
}

// TestVersions2 makes Puts with right and wrong versions. A Put with another version
// changes nothing, and version 0 stands for a missing key.
func TestVersions2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, _ := clerk(l)
		other, _ := clerk(l)
		if value, version, err := k.Get("a"); err != rpc.ErrNoKey {
			t.Fatalf("Get of a missing key is %q, version %d, %q; want %q", value, version, err, rpc.ErrNoKey)
		}
		k.WantPut("a", "x", 3, rpc.ErrNoKey)
		k.Want("a", "", 0)
		k.WantPut("a", "x", 0, rpc.OK)
		other.Want("a", "x", 1)
		for _, wrong := range []rpc.Tversion{0, 2, 1 << 40} {
			other.WantPut("a", "y", wrong, rpc.ErrVersion)
			k.Want("a", "x", 1)
		}
		other.WantPut("a", "y", 1, rpc.OK)
		k.Want("a", "y", 2)
		k.WantPut("a", "", 2, rpc.OK)
		other.Want("a", "", 3)
		k.WantPut("", "the empty key", 0, rpc.OK)
		other.Want("", "the empty key", 1)
		long := strings.Repeat("0123456789", 10_000)
		k.WantPut("long", long, 0, rpc.OK)
		other.Want("long", long, 1)
		other.Want("b", "", 0)
	})
}

// TestOneWinner2 lets many clerks write each version of a key at the same time. One
// clerk succeeds, the others learn that the version is wrong, and no outcome is open.
func TestOneWinner2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		const clerks, rounds = 10, 20
		var done []<-chan struct{}
		var won [rounds]atomic.Int32
		for range clerks {
			k, _ := clerk(l)
			done = append(done, lab.Go(func() {
				for version := range rounds {
					switch err := k.Put("k", fmt.Sprint(version), rpc.Tversion(version)); err {
					case rpc.OK:
						won[version].Add(1)
					case rpc.ErrVersion:
					default:
						t.Errorf("Put with version %d is %q; want %q or %q", version, err, rpc.OK, rpc.ErrVersion)
					}
				}
			}))
		}
		l.Await("the Puts", lab.OperationLimit, done...)
		for version := range won {
			if n := won[version].Load(); n != 1 {
				t.Errorf("%d Puts with version %d succeeded; want 1", n, version)
			}
		}
		k, _ := clerk(l)
		k.Want("k", fmt.Sprint(rounds-1), rounds)
	})
}

// firstIs decides the fate of a client's first request or first reply of a method.
// Later messages travel as usual.
func firstIs(method string, reply bool, fate labrpc.Decision) func(labrpc.Message) labrpc.Decision {
	var met atomic.Bool
	return func(m labrpc.Message) labrpc.Decision {
		if strings.HasSuffix(m.Method, "."+method) && m.Reply == reply && met.CompareAndSwap(false, true) {
			return fate
		}
		return labrpc.Usual()
	}
}

// TestLostReply2 loses the reply to a Put. The retry finds the version that the Put
// itself has raised, so the clerk cannot know the outcome, which is ErrMaybe.
func TestLostReply2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, client := clerk(l)
		k.WantPut("k", "a", 0, rpc.OK)
		l.Direct(client, firstIs("Put", true, labrpc.Never()))
		k.WantPut("k", "b", 1, rpc.ErrMaybe)
		l.Direct(client, nil)
		k.Want("k", "b", 2)
		k.WantPut("k", "c", 2, rpc.OK)
	})
}

// TestLostRequest2 loses the request of a Put. The retry succeeds, and the outcome is
// not open.
func TestLostRequest2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, client := clerk(l)
		l.Direct(client, firstIs("Put", false, labrpc.Never()))
		k.WantPut("k", "a", 0, rpc.OK)
		l.Direct(client, nil)
		k.Want("k", "a", 1)
		k.WantPut("k", "b", 0, rpc.ErrVersion)
	})
}

// TestEachPutBeginsAnew2 makes a Put with the outcome ErrMaybe, and then Puts on a good
// network, whose outcomes are not open.
func TestEachPutBeginsAnew2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, client := clerk(l)
		l.Direct(client, firstIs("Put", true, labrpc.Never()))
		k.WantPut("k", "a", 0, rpc.ErrMaybe)
		l.Direct(client, nil)
		k.WantPut("k", "b", 0, rpc.ErrVersion)
		k.WantPut("other", "b", 7, rpc.ErrNoKey)
	})
}

// TestGetsAreRetried2 loses requests and replies of Gets. A Get ends with the value.
func TestGetsAreRetried2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, client := clerk(l)
		k.WantPut("k", "a", 0, rpc.OK)
		var messages atomic.Int32
		l.Direct(client, func(labrpc.Message) labrpc.Decision {
			switch messages.Add(1) % 6 {
			case 1, 2, 4: // two requests, and the reply to the third
				return labrpc.Never()
			}
			return labrpc.Usual()
		})
		get := lab.Go(func() { k.Want("k", "a", 1); k.Want("missing", "", 0) })
		l.Await("two Gets", time.Minute, get)
	})
}

// TestDuplicatedRequests2 delivers each request twice. The second delivery has no
// effect.
func TestDuplicatedRequests2(t *testing.T) {
	run(t, func(t *testing.T, l *lab.Lab) {
		k, client := clerk(l)
		l.Direct(client, func(labrpc.Message) labrpc.Decision { return labrpc.Twice() })
		for version := range rpc.Tversion(20) {
			if err := k.Put("k", fmt.Sprint(version), version); err != rpc.OK && err != rpc.ErrVersion && err != rpc.ErrMaybe {
				t.Fatalf("Put with version %d is %q", version, err)
			}
			k.Want("k", fmt.Sprint(version), version+1)
		}
	})
}

// load runs clerks for a while.
func load(t *testing.T, unreliable bool, span time.Duration) {
	run(t, func(t *testing.T, l *lab.Lab) {
		l.Net.Reliable(!unreliable)
		w := l.Start(lab.Load{Clerks: 5, Pause: 20 * time.Millisecond, Certain: !unreliable, Clerk: func(client *lab.Client) kvtest.IKVClerk {
			return kvsrv.MakeClerk(client.Clnt, server)
		}})
		time.Sleep(span)
		w.Stop()
	})
}

// TestManyClerks2 runs five clerks on a good network. No outcome is open, and the history
// is linearizable.
func TestManyClerks2(t *testing.T) { load(t, false, time.Second) }

// TestUnreliable2 runs five clerks on a network that loses and delays messages. The
// history is linearizable, with ErrMaybe where a clerk cannot know.
func TestUnreliable2(t *testing.T) { load(t, true, 4*time.Second) }
