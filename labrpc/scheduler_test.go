package labrpc_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// TestDecisions gives each decision to a request and to a reply.
func TestDecisions(t *testing.T) {
	for _, c := range []struct {
		name    string
		request labrpc.Decision
		reply   labrpc.Decision
		ok      bool
		served  int
		took    time.Duration // beyond the latency of messages that are not delayed
	}{
		{"now", labrpc.Now(), labrpc.Now(), true, 1, 0},
		{"request later", labrpc.After(time.Second), labrpc.Now(), true, 1, time.Second},
		{"reply later", labrpc.Now(), labrpc.After(time.Second), true, 1, time.Second},
		{"request never", labrpc.Never(), labrpc.Now(), false, 0, 0},
		{"reply never", labrpc.Now(), labrpc.Never(), false, 1, 0},
		{"twice", labrpc.Twice(), labrpc.Twice(), true, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
				defer rn.Cleanup()
				rn.SetFaults(labrpc.Faults{RequestLoss: 1, ReplyLoss: 1}) // which the scheduler overrules
				js, ends := connect(rn, 0)
				rn.SetScheduler(func(m labrpc.Message) labrpc.Decision {
					if m.Reply {
						return c.reply
					}
					return c.request
				})
				start := time.Now()
				ok := echo(ends[0], 1)
				took := time.Since(start)
				time.Sleep(10 * time.Millisecond)
				if ok != c.ok || len(js.calls()) != c.served || took < c.took+rn.Latency() || took > c.took+200*time.Millisecond {
					t.Errorf("%v after %v, served %d times", ok, took, len(js.calls()))
				}
			})
		})
	}
}

// TestUsualLeavesTheFaults expects a scheduler without decisions to change
// nothing.
func TestUsualLeavesTheFaults(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		run := func(s labrpc.Scheduler) []outcome {
			rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
			defer rn.Cleanup()
			rn.SetFaults(allFaults)
			rn.SetScheduler(s)
			return outcomes(rn, 100, 0)
		}
		usual := func(labrpc.Message) labrpc.Decision { return labrpc.Usual() }
		require.Equal(t, run(nil), run(usual), "Usual moved the faults")
	})
}

func TestHold(t *testing.T) {
	for _, release := range []bool{true, false} {
		t.Run(fmt.Sprint("release=", release), func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
				defer rn.Cleanup()
				js, ends := connect(rn, 0)
				hold := labrpc.NewHold()
				rn.SetScheduler(func(m labrpc.Message) labrpc.Decision {
					var args struct{ X, Unsent int }
					if !m.Reply && m.Decode(&args) == nil && args.X < 5 {
						return labrpc.HeldBy(hold)
					}
					return labrpc.Now()
				})
				got := make([]bool, 10)
				var wg sync.WaitGroup
				for i := range got {
					wg.Go(func() { got[i] = echo(ends[0], i) })
				}
				testkit.WaitFor(t, time.Second, "5 calls served and 5 held", func() bool { return len(js.calls()) == 5 && hold.Waiting() == 5 })
				time.Sleep(200 * time.Millisecond)
				if seen := js.calls(); slices.Min(seen) != 5 {
					t.Fatalf("served while held: %v", seen)
				}
				if release {
					hold.Release()
				} else {
					hold.Drop()
				}
				wg.Wait()
				for i, ok := range got {
					if want := i >= 5 || release; ok != want {
						t.Errorf("call %d: %v", i, ok)
					}
				}
				if hold.Waiting() != 0 {
					t.Errorf("%d held at the end", hold.Waiting())
				}
				if late := echo(ends[0], 0); late != release {
					t.Errorf("a message that came to the hold after its end: %v", late)
				}
			})
		})
	}
}

// TestCleanupEndsHolds expects Cleanup to work without a Release.
func TestCleanupEndsHolds(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		_, ends := connect(rn, 0)
		hold := labrpc.NewHold()
		rn.SetScheduler(func(labrpc.Message) labrpc.Decision { return labrpc.HeldBy(hold) })
		time.AfterFunc(time.Second, rn.Cleanup)
		require.False(t, echo(ends[0], 1), "a held call returned true")
	})
}

// TestSchedulerActsBetweenMessages cuts the link at the third call's reply, and
// deletes the server at the fifth call's request.
func TestSchedulerActsBetweenMessages(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		js, ends := connect(rn, "end")
		rn.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			switch {
			case m.End != "end" || m.Server != "server" || m.Method != "JunkServer.Echo" || m.Link != 0:
				t.Errorf("message %v", m)
			case m.Number == 2 && m.Reply:
				rn.Enable("end", false)
			case m.Number == 4 && !m.Reply:
				rn.DeleteServer("server")
			}
			return labrpc.Usual()
		})
		var got []bool
		for i := range 6 {
			got = append(got, echo(ends[0], i))
			rn.Enable("end", true)
		}
		if want := []bool{true, true, false, true, false, false}; !slices.Equal(got, want) || !slices.Equal(js.calls(), []int{0, 1, 2, 3}) {
			t.Errorf("results %v, served %v", got, js.calls())
		}
	})
}

// size matches the size of a message in a trace. The size depends on gob's
// numbers for types.
var size = regexp.MustCompile(`\(\d+ bytes\)`)

func TestTraceTellsEachStep(t *testing.T) {
	testkit.VirtualOnly(t) // a copy may overtake its original where there is no latency
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		trace := labrpc.Record(rn)
		_, ends := connect(rn, "c", "d")
		rn.SetFaults(labrpc.Faults{Duplicate: 1})
		echo(ends[0], 1)
		time.Sleep(100 * time.Millisecond)
		rn.SetFaults(labrpc.Faults{RequestLoss: 1})
		echo(ends[0], 2)
		rn.Enable("d", false)
		echo(ends[1], 3)
		checkTrace(t, trace.Events())
		var text strings.Builder
		_, err := trace.WriteTo(&text)
		require.NoError(t, err)
		for _, want := range []string{
			"sent      request 0#0 JunkServer.Echo c->server",
			"delivered request 0#0 again JunkServer.Echo c->server",
			"delivered reply 0#0 JunkServer.Echo c<-server",
			"dropped   reply 0#0 again JunkServer.Echo c<-server (#): nobody waits for it",
			"dropped   request 0#1 JunkServer.Echo c->server (#): lost",
			"dropped   request 1#0 JunkServer.Echo d->server (#): no connection",
		} {
			require.Contains(t, size.ReplaceAllString(text.String(), "(#)"), want)
		}
		trace.Stop()
		n := len(trace.Events())
		if echo(ends[0], 4); len(trace.Events()) != n {
			t.Error("the tap is still on")
		}
	})
}
