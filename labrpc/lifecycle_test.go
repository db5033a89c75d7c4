package labrpc_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// TestInterruptedCalls ends calls while their handler blocks. The calls return
// false at once, and nobody receives the handler's answer.
func TestInterruptedCalls(t *testing.T) {
	for name, interrupt := range map[string]func(*labrpc.Network){
		"DeleteServer":     func(rn *labrpc.Network) { rn.DeleteServer("server") },
		"AddServer anew":   func(rn *labrpc.Network) { rn.AddServer("server", labrpc.MakeServer()) },
		"Enable(false)":    func(rn *labrpc.Network) { rn.Enable("end", false) },
		"off and on again": func(rn *labrpc.Network) { rn.Enable("end", false); rn.Enable("end", true) },
		"DeleteEnd":        func(rn *labrpc.Network) { rn.DeleteEnd("end") },
		"Cleanup":          func(rn *labrpc.Network) { rn.Cleanup() },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
				defer rn.Cleanup()
				trace := labrpc.Record(rn)
				js, ends := connect(rn, "end")
				var ended time.Time
				time.AfterFunc(time.Second, func() {
					ended = time.Now()
					interrupt(rn)
				})
				reply := 0
				if ends[0].Call("JunkServer.Block", 5, &reply) {
					t.Fatal("the call returned true")
				}
				if took := time.Since(ended); took > 0 && !testkit.RealTime() || took > 100*time.Millisecond {
					t.Errorf("the call returned %v late", took)
				}
				sent := rn.GetTotalBytes()
				close(js.gate)
				testkit.WaitFor(t, time.Second, "the reply to be sent and dropped", func() bool { return len(trace.Events()) == 4 })
				checkTrace(t, trace.Events())
				if reply != 0 || rn.GetTotalBytes() != sent {
					t.Errorf("the reply came through: %d", reply)
				}
			})
		})
	}
}

// TestInterruptedOnTheWay ends calls while the request or the reply is on its
// way.
func TestInterruptedOnTheWay(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		for _, replies := range []bool{false, true} {
			rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
			js, ends := connect(rn, "end")
			rn.SetScheduler(func(m labrpc.Message) labrpc.Decision {
				if m.Reply == replies {
					return labrpc.After(10 * time.Second)
				}
				return labrpc.Now()
			})
			start := time.Now()
			time.AfterFunc(time.Second, func() { rn.DeleteServer("server") })
			require.False(t, echo(ends[0], 1), "the call returned true")
			if took := time.Since(start); took > 1100*time.Millisecond {
				t.Errorf("returned after %v", took)
			}
			if served := len(js.calls()) == 1; served != replies {
				t.Errorf("delayed reply %v: served %v", replies, served)
			}
			rn.Cleanup()
		}
	})
}

func TestBlockedHandlersBlockNobodyElse(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		js, ends := connect(rn, 0)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				var reply int
				if ends[0].Call("JunkServer.Block", i, &reply) {
					t.Errorf("call %d returned true", i)
				}
			})
		}
		testkit.WaitFor(t, time.Second, "50 blocked handlers", func() bool { return rn.GetCount("server") == 50 })
		require.True(t, echo(ends[0], 1), "a call behind blocked handlers failed")
		rn.Cleanup() // must not wait for them
		rn.Cleanup()
		wg.Wait()
		require.False(t, echo(ends[0], 2), "a call after Cleanup returned true")
		close(js.gate) // the bubble ends only if every goroutine does
	})
}

// TestNoGoroutineStays is the same question on the real clock.
func TestNoGoroutineStays(t *testing.T) {
	testkit.NoLeaks(t)
	rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
	_, ends := connect(rn, 0, 1)
	rn.SetFaults(labrpc.Faults{Duplicate: 1, MaxDelay: time.Hour})
	rn.SetLinkFaults(1, labrpc.Faults{Duplicate: 1})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { echo(ends[i%2], i) })
	}
	testkit.WaitFor(t, 10*time.Second, "all calls to begin", func() bool { return rn.GetTotalCount() == 100 })
	rn.Cleanup()
	wg.Wait()
}

func TestCounts(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, 0, 1)
		big := strings.Repeat("x", 1000)
		var reply JunkReply
		for i := range 10 {
			ends[i%2].Call("JunkServer.Text", JunkReply{big}, &reply)
			reply = JunkReply{}
		}
		if n := rn.GetCount("server"); n != 10 || rn.GetCount("nobody") != 0 {
			t.Errorf("%d RPCs handed over, 10 expected; %d to nobody", n, rn.GetCount("nobody"))
		}
		both := rn.GetTotalBytes()
		if both < 20_000 || both > 22_000 {
			t.Errorf("%d bytes for 10 times 1,000 there and back", both)
		}
		rn.CutReplies(0, true)
		rn.CutReplies(1, true)
		for i := range 10 {
			ends[i%2].Call("JunkServer.Text", JunkReply{big}, &reply)
		}
		if n := rn.GetTotalBytes() - both; n != both/2 {
			t.Errorf("%d bytes for requests alone, %d expected", n, both/2)
		}
	})
}

// Text returns its arguments.
func (js *JunkServer) Text(args JunkReply, reply *JunkReply) { *reply = args }

// Share returns the memory of its arguments.
func (js *JunkServer) Share(args *[]int, reply *[]int) {
	(*args)[0] = 99
	*reply = *args
}

func TestEndsShareNoMemory(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, 0)
		sent := []int{1, 2}
		var got []int
		if !ends[0].Call("JunkServer.Share", sent, &got) || sent[0] != 1 || got[0] != 99 {
			t.Fatalf("sent %v, got %v", sent, got)
		}
	})
}

func TestNamesAreAnyComparableValues(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		type pair struct{ a, b int }
		_, ends := connect(rn, 1, "1", 1.5, pair{1, 2}, [2]string{"a"}, int64(1))
		for i, e := range ends {
			require.True(t, echo(e, i), "end %d failed", i)
		}
		for want, f := range map[string]func(){
			"already":        func() { rn.MakeEnd("1") },
			"not comparable": func() { rn.MakeEnd([]int{1}) },
			"server name":    func() { rn.Connect("1", map[int]int{}) },
		} {
			if text := panicOf(f); !strings.Contains(text, want) {
				t.Errorf("panic %q, want one about %q", text, want)
			}
		}
		rn.DeleteEnd("1")
		rn.Enable("no such end", true) // ignored, as harnesses do it
		connect(rn, "1")
	})
}

// TestMistakesNameWhatExists makes the mistakes of students.
func TestMistakesNameWhatExists(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, 0)
		var text string
		var junk JunkReply
		call := func(method string, args, reply any) string {
			return panicOf(func() { ends[0].Call(method, args, reply) })
		}
		for name, c := range map[string]struct{ got, want string }{
			"no dot":         {call("Echo", JunkArgs{}, &junk), `"Echo" is not of the form Service.Method`},
			"service":        {call("Junk.Echo", JunkArgs{}, &junk), `no service "Junk" (called as Junk.Echo); services here: JunkServer`},
			"method":         {call("JunkServer.Ecko", JunkArgs{}, &junk), `handlers: Block, ByValue, Echo, Share, Text`},
			"shape":          {call("JunkServer.NotAHandler", 1, &junk), `NotAHandler is a func(int, int)`},
			"arguments":      {call("JunkServer.Echo", "text", &junk), `JunkServer.Echo takes a labrpc_test.JunkArgs`},
			"reply":          {call("JunkServer.ByValue", 1, &junk), `reply does not fit a *labrpc_test.JunkReply`},
			"reply by value": {call("JunkServer.Echo", JunkArgs{}, junk), `reply is a labrpc_test.JunkReply`},
			"nil reply":      {call("JunkServer.Echo", JunkArgs{}, nil), `reply is a <nil>`},
			"nil arguments":  {call("JunkServer.Echo", nil, &junk), `cannot encode arguments`},
			"nil pointer":    {call("JunkServer.Echo", (*JunkArgs)(nil), &junk), `Call("JunkServer.Echo"): arguments are a nil *labrpc_test.JunkArgs`},
			"channel":        {call("JunkServer.Echo", make(chan int), &junk), `cannot encode arguments, a chan int`},
			"unreachable":    {fmt.Sprint(ends[0].Call("JunkServer.ByValue", 1, &text)), "true"},
		} {
			require.Contains(t, c.got, c.want, name)
		}
	})
}

// TestConcurrentChanges changes everything while calls run, for the race
// detector and for deadlocks.
func TestConcurrentChanges(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		trace := labrpc.Record(rn)
		js, ends := connect(rn, 0, 1, 2, 3)
		close(js.gate)
		rn.SetFaults(labrpc.Faults{Duplicate: 0.3})
		rn.Reliable(false)
		var wg sync.WaitGroup
		over := time.Now().Add(500 * time.Millisecond)
		for i, e := range ends {
			wg.Go(func() {
				for time.Now().Before(over) {
					echo(e, i)
				}
			})
		}
		rs := labrpc.MakeServer()
		rs.AddService(labrpc.MakeService(js))
		rng := testkit.Rand(t)
		for time.Now().Before(over) {
			end := rng.IntN(4)
			switch rng.IntN(5) {
			case 0:
				rn.Enable(end, rng.IntN(2) == 0)
			case 1:
				rn.DeleteServer("server")
			case 2:
				rn.AddServer("server", rs)
			case 3:
				rn.CutReplies(end, rng.IntN(2) == 0)
			case 4:
				rn.LongReordering(rng.IntN(4) == 0)
			}
			time.Sleep(time.Millisecond)
		}
		rn.Cleanup()
		wg.Wait()
		time.Sleep(time.Second) // for handlers that outlive their calls
		checkTrace(t, trace.Events())
	})
}

// checkTrace expects every message to be sent once and then delivered or
// dropped once.
func checkTrace(t *testing.T, events []labrpc.Event) {
	t.Helper()
	type id struct {
		link, number, copy int
		reply              bool
	}
	sent, ended := make(map[id]int), make(map[id]int)
	for _, e := range events {
		m := id{e.Message.Link, e.Message.Number, e.Message.Copy, e.Message.Reply}
		if e.Kind == labrpc.Sent {
			sent[m]++
		} else {
			ended[m]++
		}
		if sent[m] != 1 || ended[m] > 1 {
			t.Errorf("%v: sent %d times, ended %d times", e, sent[m], ended[m])
		}
	}
	if len(sent) != len(ended) || len(sent) == 0 {
		t.Errorf("%d messages sent, %d delivered or dropped", len(sent), len(ended))
	}
}

// Outside of a bubble idle workers serve later requests, beside blocked handlers,
// and Cleanup ends the workers.
func TestWorkers(t *testing.T) {
	before := runtime.NumGoroutine()
	rn := labrpc.MakeNetwork()
	js, ends := connect(rn, 1, 2)
	var blocked sync.WaitGroup
	for range 100 {
		blocked.Go(func() {
			reply := 0
			ends[1].Call("JunkServer.Block", 5, &reply)
		})
	}
	for i := range 100 {
		require.True(t, echo(ends[0], i))
	}
	require.Less(t, runtime.NumGoroutine(), before+300, "each call has left a goroutine")
	close(js.gate)
	blocked.Wait()
	require.True(t, echo(ends[0], 1))
	rn.Cleanup()
	testkit.WaitFor(t, 10*time.Second, "the end of the workers", func() bool { return runtime.NumGoroutine() <= before })
}
