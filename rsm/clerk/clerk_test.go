package clerk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
)

// Fake is a server of a service with strings as commands and results. The test sets
// the answers.
type Fake struct {
	mu     sync.Mutex
	answer func(args *clerk.Args[string]) clerk.Reply[string]
	asked  []time.Time
}

func (f *Fake) Execute(args *clerk.Args[string], reply *clerk.Reply[string]) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	answer := f.answer
	f.mu.Unlock()
	*reply = answer(args)
}

func (f *Fake) set(code clerk.Code, result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = func(*clerk.Args[string]) clerk.Reply[string] { return clerk.Reply[string]{Code: code, Result: result} }
}

func (f *Fake) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// run calls body with three servers, none of them the leader.
func run(t *testing.T, body func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers)) {
	testkit.Run(t, func(t *testing.T) {
		net := labrpc.MakeNetworkSeed(testkit.Seed(t))
		var fakes []*Fake
		var ends []*labrpc.ClientEnd
		for i := range 3 {
			f := &Fake{}
			f.set(clerk.NotLeader, "")
			host := labrpc.MakeServer()
			host.AddService(labrpc.MakeService(f))
			net.AddServer(i, host)
			end := fmt.Sprint("end ", i)
			ends = append(ends, net.MakeEnd(end))
			net.Connect(end, i)
			net.Enable(end, true)
			fakes = append(fakes, f)
		}
		body(t, net, fakes, clerk.NewServers(ends))
		net.Cleanup()
		time.Sleep(10 * time.Millisecond) // calls end
	})
}

func ask(ctx context.Context, s *clerk.Servers) (string, bool, error) {
	return clerk.Ask[clerk.Args[string], string](ctx, s, "Fake.Execute", &clerk.Args[string]{})
}

// The search finds the leader, and the next search begins with the same server.
func TestAskRemembersTheLeader(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		fakes[2].set(clerk.Done, "from 2")
		for range 5 {
			if got, unsure, err := ask(t.Context(), s); got != "from 2" || unsure || err != nil {
				t.Fatalf("%q, unsure %v, %v", got, unsure, err)
			}
		}
		if n := len(fakes[0].times()) + len(fakes[1].times()); n != 2 {
			t.Errorf("the other servers were called %d times; want one call each", n)
		}
	})
}

// A silent server delays the search for Patience and no longer. The search reports
// that the silent server may have executed the request.
func TestAskDoesNotWaitForTheDead(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		net.LongDelays(true)
		net.DeleteServer(0)
		fakes[1].set(clerk.Done, "from 1")
		start := time.Now()
		got, unsure, err := ask(t.Context(), s)
		if took := time.Since(start); got != "from 1" || err != nil || took > 150*time.Millisecond {
			t.Fatalf("%q, unsure %v, %v, after %v", got, unsure, err, took)
		}
		if !unsure {
			t.Error("Ask is sure, but the dead server may have executed the request")
		}
		time.Sleep(10 * time.Second) // the call to the dead server ends
	})
}

// Each final code comes back as the matching error.
func TestAskErrors(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		for code, want := range map[clerk.Code]error{
			clerk.Stale:   rsm.ErrStale,
			clerk.Expired: rsm.ErrSessionExpired,
			clerk.Refused: rsm.ErrInvalid,
		} {
			fakes[1].set(code, "")
			if _, _, err := ask(t.Context(), s); !errors.Is(err, want) {
				t.Errorf("code %d is the error %v; want %v", code, err, want)
			}
		}
		fakes[1].set(99, "")
		if _, _, err := ask(t.Context(), s); err == nil {
			t.Error("an unknown code is no error")
		}
		if _, _, err := ask(t.Context(), clerk.NewServers([]clerk.Caller(nil))); !errors.Is(err, clerk.ErrNoServers) {
			t.Errorf("without servers: %v", err)
		}
	})
}

// Rounds without a final answer are paced. The pauses grow up to MaxPause.
func TestAskBacksOff(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		s.Pause, s.MaxPause = 100*time.Millisecond, 800*time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, unsure, err := ask(ctx, s); !errors.Is(err, context.DeadlineExceeded) || !unsure {
			t.Fatalf("unsure %v, %v", unsure, err)
		}
		asked := fakes[0].times()
		if n := len(asked); n < 20 || n > 60 { // every 0.4 to 0.8 s after the first calls
			t.Errorf("%d calls in 20 s; want 20 to 60", n)
		}
		if first, last := asked[1].Sub(asked[0]), asked[len(asked)-1].Sub(asked[len(asked)-2]); first > 110*time.Millisecond || last < 400*time.Millisecond {
			t.Errorf("the first pause took %v, the last pause %v", first, last)
		}
	})
}

// Ask calls a busy server again. The busy server has not executed the request.
func TestAskRetriesABusyServer(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		fakes[1].set(clerk.Busy, "")
		time.AfterFunc(time.Second, func() { fakes[1].set(clerk.Done, "from 1") })
		start := time.Now()
		got, unsure, err := ask(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, "from 1", got)
		require.False(t, unsure)
		require.InDelta(t, time.Second, time.Since(start), float64(100*time.Millisecond))
	})
}

// After a lost reply Ask reports that the command may have been executed before.
func TestAskUnsureAfterLoss(t *testing.T) {
	run(t, func(t *testing.T, net *labrpc.Network, fakes []*Fake, s *clerk.Servers) {
		for _, f := range fakes {
			f.set(clerk.Done, "done")
		}
		net.CutReplies("end 0", true)
		if got, unsure, err := ask(t.Context(), s); got != "done" || !unsure || err != nil {
			t.Errorf("%q, unsure %v, %v", got, unsure, err)
		}
	})
}

// A session numbers its commands. Do begins another session after an expired
// session if the command was surely not executed.
func TestSession(t *testing.T) {
	type sent struct{ client, seq uint64 }
	s := clerk.NewSession()
	var all []sent
	do := func(unsure bool, errs ...error) error {
		return s.Do(t.Context(), func(client, seq uint64) (bool, error) {
			all = append(all, sent{client, seq})
			err := errs[0]
			errs = errs[min(1, len(errs)-1):]
			return unsure, err
		})
	}
	for range 2 {
		require.NoError(t, do(false, nil))
	}
	if err := do(false, rsm.ErrSessionExpired, nil); err != nil {
		t.Errorf("an unsent command in an expired session: %v", err)
	}
	if err := do(true, rsm.ErrSessionExpired); !errors.Is(err, rsm.ErrSessionExpired) {
		t.Errorf("a command with an unknown outcome in an expired session: %v", err)
	}
	require.NoError(t, do(false, nil))
	a, b, c := all[0].client, all[3].client, all[5].client
	want := []sent{{a, 1}, {a, 2}, {a, 3}, {b, 1}, {b, 2}, {c, 1}}
	if !slices.Equal(all, want) || a == b || b == c || a == 0 {
		t.Errorf("sent %v; want %v", all, want)
	}
	ended := uint64(0)
	if err := s.Close(t.Context(), func(client uint64) error { ended = client; return nil }); err != nil || ended != c {
		t.Errorf("close ended %d, %v; want %d", ended, err, c)
	}
	if err := do(false, nil); !errors.Is(err, clerk.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// A second command waits until the first ends or its own context ends.
func TestSessionTakesTurns(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		s := clerk.NewSession()
		var first sync.WaitGroup
		first.Go(func() {
			_ = s.Do(t.Context(), func(uint64, uint64) (bool, error) { time.Sleep(time.Second); return false, nil })
		})
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := s.Do(ctx, func(uint64, uint64) (bool, error) { t.Error("two commands at a time"); return false, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		first.Wait()
	})
}
