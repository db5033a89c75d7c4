package labrpc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// outcome is the result of a call for the caller and for the server.
type outcome struct {
	ok     bool
	took   time.Duration
	served int
}

// outcomes makes n calls through one end after the other.
func outcomes(rn *labrpc.Network, n int, names ...any) []outcome {
	js, ends := connect(rn, names...)
	var all []outcome
	for _, e := range ends {
		for i := range n {
			start, before := time.Now(), len(js.calls())
			ok := echo(e, i)
			took := time.Since(start)
			time.Sleep(30 * time.Millisecond) // for a copy
			all = append(all, outcome{ok, took, len(js.calls()) - before})
		}
	}
	return all
}

// withFaults returns the outcomes of n calls through each of two ends.
func withFaults(seed int64, f labrpc.Faults) []outcome {
	rn := labrpc.MakeNetworkSeed(seed)
	defer rn.Cleanup()
	rn.SetFaults(f)
	return outcomes(rn, 200, "a", "b")
}

var allFaults = labrpc.Faults{
	RequestLoss: 0.2, ReplyLoss: 0.2, Duplicate: 0.3, MaxDelay: 20 * time.Millisecond,
	Reorder: 0.3, ReorderMin: 100 * time.Millisecond, ReorderMax: time.Second,
}

func TestFateIsAFunctionOfSeedLinkAndNumber(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		seed := testkit.Seed(t)
		first := withFaults(seed, allFaults)
		require.Equal(t, first, withFaults(seed, allFaults), "the same seed gave another fate")
		require.NotEqual(t, first, withFaults(seed+1, allFaults), "another seed gave the same fate")
		require.False(t, slices.Equal(first[:200], first[200:]), "two links have the same fate")
	})
}

// TestFaultsDoNotMoveEachOther turns off one fault and looks at the others.
func TestFaultsDoNotMoveEachOther(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		seed := testkit.Seed(t)
		all := withFaults(seed, allFaults)
		calm := allFaults
		calm.RequestLoss, calm.Reorder = 0, 0
		for i, o := range withFaults(seed, calm) {
			was := all[i]
			switch {
			case was.served > 0 && was.ok != o.ok:
				t.Fatalf("call %d: loss of replies moved", i)
			case was.served > 0 && was.served != o.served:
				t.Fatalf("call %d: duplicates moved", i)
			case was.took < 100*time.Millisecond && was.served > 0 && was.took != o.took:
				t.Fatalf("call %d: delays moved from %v to %v", i, was.took, o.took)
			}
		}
	})
}

// TestUnreliable checks the numbers of the course's unreliable network.
func TestUnreliable(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		rn.Reliable(false)
		require.False(t, rn.IsReliable(), "IsReliable after Reliable(false)")
		const n = 2000
		var ok, unserved int
		var longest time.Duration
		for _, o := range outcomes(rn, n, 0) {
			if o.ok {
				ok++
			}
			if o.served == 0 {
				unserved++
			}
			longest = max(longest, o.took)
		}
		if ok < n*77/100 || ok > n*85/100 || unserved < n*7/100 || unserved > n*13/100 {
			t.Errorf("of %d calls %d answered (81 %% expected), %d requests lost (10 %%)", n, ok, unserved)
		}
		if longest < 24*time.Millisecond || longest > 26*time.Millisecond+2*rn.Latency() {
			t.Errorf("the longest call took %v, 26ms expected", longest)
		}
	})
}

func TestLongReordering(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		rn.LongReordering(true)
		const n = 300
		late, reordered := 0, 0
		var before time.Duration
		for i, o := range outcomes(rn, n, 0) {
			if !o.ok || o.took > 2300*time.Millisecond {
				t.Fatalf("call %d: %+v", i, o)
			}
			if o.took >= 200*time.Millisecond {
				late++
			}
			if o.took < before {
				reordered++
			}
			before = o.took
		}
		if late < n*56/100 || late > n*77/100 || reordered == 0 {
			t.Errorf("%d of %d replies late, two thirds expected; %d overtaken", late, n, reordered)
		}
	})
}

func TestCallsToNowhere(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		for _, long := range []bool{false, true} {
			rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
			rn.LongDelays(long)
			limit := 100 * time.Millisecond
			if long {
				limit = 7 * time.Second
			}
			_, ends := connect(rn, "disabled", "unconnected", "gone", "cut")
			rn.Enable("disabled", false)
			rn.Connect("unconnected", nil)
			rn.Connect("gone", "another server")
			rn.CutRequests("cut", true)
			for i, e := range ends {
				var longest time.Duration
				for range 40 {
					start := time.Now()
					require.False(t, echo(e, 1), "end %d reached a server", i)
					longest = max(longest, time.Since(start))
				}
				if longest < limit/2 || longest >= limit+time.Millisecond {
					t.Errorf("end %d: longest wait %v, up to %v expected", i, longest, limit)
				}
			}
			rn.Cleanup()
		}
	})
}

func TestOneDirectionPartitions(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		js, ends := connect(rn, 0)
		rn.CutReplies(0, true)
		if echo(ends[0], 1) || len(js.calls()) != 1 {
			t.Fatalf("replies cut: served %v", js.calls())
		}
		rn.CutReplies(0, false)
		rn.CutRequests(0, true)
		if echo(ends[0], 2) || len(js.calls()) != 1 {
			t.Fatalf("requests cut: served %v", js.calls())
		}
		rn.CutRequests(0, false)
		require.True(t, echo(ends[0], 3), "restored: call failed")
	})
}

// TestDeliveredRepliesSurviveARequestCut cuts requests while one is being
// served.
func TestDeliveredRepliesSurviveARequestCut(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		js, ends := connect(rn, 0)
		time.AfterFunc(50*time.Millisecond, func() {
			rn.CutRequests(0, true)
			close(js.gate)
		})
		var reply int
		if !ends[0].Call("JunkServer.Block", 5, &reply) || reply != 5 {
			t.Fatalf("the reply %d was cut too", reply)
		}
	})
}

func TestDuplicates(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		rn.SetFaults(labrpc.Faults{Duplicate: 1})
		for i, o := range outcomes(rn, 20, 0) {
			if !o.ok || o.served != 2 {
				t.Fatalf("call %d: %+v", i, o)
			}
		}
		require.Equal(t, 40, rn.GetCount("server"))
		require.Equal(t, 20, rn.GetTotalCount())
	})
}

func TestLinkFaults(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, "good", "bad")
		rn.SetFaults(labrpc.Faults{RequestLoss: 1})
		rn.SetLinkFaults("good", labrpc.Faults{})
		if !echo(ends[0], 1) || echo(ends[1], 1) {
			t.Fatal("the faults of one link did not stay on it")
		}
		rn.ClearLinkFaults("good")
		require.False(t, echo(ends[0], 1), "the link does not follow the network again")
	})
}

func TestFaultsOutOfRange(t *testing.T) {
	rn := labrpc.MakeNetwork()
	defer rn.Cleanup()
	for _, f := range []labrpc.Faults{{RequestLoss: 1.5}, {Duplicate: -0.1}, {MaxDelay: -1}} {
		if text := panicOf(func() { rn.SetFaults(f) }); text == "" {
			t.Errorf("%+v was accepted", f)
		}
	}
}

// TestClosedLoopLetsTimePass makes calls that block only on latency, while
// another goroutine waits for a timer.
func TestClosedLoopLetsTimePass(t *testing.T) {
	testkit.VirtualOnly(t)
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		_, ends := connect(rn, 0)
		for range 2 { // on a reliable network, and after Cleanup
			over := time.Now().Add(20 * time.Millisecond)
			for time.Now().Before(over) {
				echo(ends[0], 1)
			}
			rn.Cleanup()
		}
	})
}

// panicOf returns the panic of f as text, empty if f does not panic.
func panicOf(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}
