package rsm_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

func TestSubmitReturnsItsOwnResult(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		one := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		two := submit(t, r, 2, 1, 7)
		f.waitLength(t, first+2)
		still(t, one)
		f.commit(first + 1)
		want(t, one, 5, nil)
		still(t, two)
		f.commit(first + 2)
		want(t, two, 12, nil)
		if got := appliedBy(r); got != first+2 {
			t.Fatalf("Applied() = %d, want %d", got, first+2)
		}
	})
}

func TestSubmitElsewhereIsRefused(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		want(t, submit(t, r, 1, 1, 5), 0, rsm.ErrNotLeader)
		if f.length() != 0 {
			t.Fatalf("%d commands were proposed", f.length())
		}
		want(t, submit(t, r, 1, 0, 5), 0, rsm.ErrInvalid)
	})
}

func TestAppliedBeforeStartReturns(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		f.onStart = func(f *fakeRaft, at int) {
			f.commit(at)
			testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == at })
		}
		if s, err := r.Submit(t.Context(), 1, 1, add{5}); err != nil || s.Total != 5 || appliedBy(r) != first+1 {
			t.Fatalf("Submit returned %+v, %v with %d applied", s, err, appliedBy(r))
		}
	})
}

// A waiter that is known by its index alone would take another's result.
func TestPlaceGoesToAnotherCommand(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		lost := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		elsewhere := commandOf(t, 2, 1, 100)
		f.apply(first+1, elsewhere)
		want(t, lost, 0, rsm.ErrLost)
	})
}

// commandOf returns a command as a replica puts it into the log.
func commandOf(t *testing.T, client, seq uint64, amount int) any {
	t.Helper()
	r, f := start(t, &account{}, nil, rsm.Options{})
	first := f.lead(t, 1)
	submit(t, r, client, seq, amount)
	f.waitLength(t, first+1)
	return f.at(first + 1)
}

func TestPlaceTakenBeforeStartReturns(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		f.lead(t, 1)
		other := commandOf(t, 2, 1, 100)
		f.onStart = func(f *fakeRaft, at int) {
			f.apply(at, other)
			testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == at })
		}
		want(t, submit(t, r, 1, 1, 5), 0, rsm.ErrLost)
	})
}

// A place that is given again, in a later term, is not the first one's any more.
func TestPlaceGivenTwice(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, err := rsm.New(&account{}, nil, rsm.Options{})
		require.NoError(t, err)
		f := newFake()
		r.Run(labraft.New(silent{f}, f.applyCh)) // does not tell of the change
		t.Cleanup(func() { stop(r) })
		first := f.lead(t, 1)
		old := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		f.mu.Lock()
		f.term, f.log = 2, f.log[:first]
		f.mu.Unlock()
		again := submit(t, r, 2, 1, 7)
		f.waitLength(t, first+1)
		want(t, old, 0, rsm.ErrLost)
		f.commit(first + 1)
		want(t, again, 7, nil)
	})
}

func TestChangesReleaseWaiters(t *testing.T) {
	changes := []struct {
		name string
		to   func(f *fakeRaft)
	}{
		{"leadership is lost within the term", func(f *fakeRaft) { f.set(1, false) }},
		{"another leads the next term", func(f *fakeRaft) { f.set(2, false) }},
		{"it leads a later term itself", func(f *fakeRaft) { f.set(3, true) }},
	}
	for _, change := range changes {
		for _, notifies := range []bool{true, false} {
			name := change.name + ", told of it"
			if !notifies {
				name = change.name + ", has to look"
			}
			t.Run(name, func(t *testing.T) {
				testkit.Run(t, func(t *testing.T) { testRelease(t, notifies, change.to) })
			})
		}
	}
}

func testRelease(t *testing.T, notifies bool, change func(f *fakeRaft)) {
	r, err := rsm.New(&account{}, nil, rsm.Options{})
	require.NoError(t, err)
	f := newFake()
	if notifies {
		r.Run(labraft.New(f, f.applyCh))
	} else {
		r.Run(labraft.New(silent{f}, f.applyCh))
	}
	defer stop(r)
	first := f.lead(t, 1)
	waiting := submit(t, r, 1, 1, 5)
	read := submit(t, r, 0, 0, 0)
	f.waitLength(t, first+2)
	still(t, waiting)
	begin := time.Now()
	change(f)
	want(t, waiting, 0, rsm.ErrLost)
	want(t, read, 0, rsm.ErrLost)
	if took := time.Since(begin); notifies && took > 10*time.Millisecond {
		t.Fatalf("released after %v, though told at once", took)
	}
}

func TestChangeWhileStartRuns(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		f.lead(t, 1)
		f.onStart = func(f *fakeRaft, at int) {
			f.set(2, false)
			time.Sleep(100 * time.Millisecond) // the watcher looks meanwhile
		}
		want(t, submit(t, r, 1, 1, 5), 0, rsm.ErrLost)
	})
}

func TestKill(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		waiting := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		r.Kill()
		r.Kill()
		want(t, waiting, 0, rsm.ErrStopped)
		want(t, submit(t, r, 1, 1, 5), 0, rsm.ErrStopped)
		r.Wait()
		f.waitKilled(t)
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	})
}

func TestKillBeforeRun(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, err := rsm.New(&account{}, nil, rsm.Options{})
		require.NoError(t, err)
		r.Kill()
		f := newFake()
		r.Run(labraft.New(f, f.applyCh))
		r.Wait()
		f.waitKilled(t)
	})
}

func TestContextEnds(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Submit(ctx, 1, 1, add{5}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Submit returned %v", err)
		}
		again := submit(t, r, 1, 1, 5) // joins what is still under way
		still(t, again)
		if f.length() != first+1 {
			t.Fatalf("the command was proposed %d times", f.length()-first)
		}
		f.commit(first + 1)
		want(t, again, 5, nil)
	})
}

func TestRetryJoinsTheFirst(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		one := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		two := submit(t, r, 1, 1, 5)
		still(t, two)
		f.commit(first + 1)
		want(t, one, 5, nil)
		want(t, two, 5, nil)
		want(t, submit(t, r, 1, 1, 5), 5, nil) // and what is known needs no log
		f.set(2, false)
		want(t, submit(t, r, 1, 1, 5), 5, nil) // nor a leader: it has committed
		if f.length() != first+1 {
			t.Fatalf("the command was proposed %d times", f.length()-first)
		}
	})
}

func TestReadsDoNotJoin(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		first := f.lead(t, 1)
		one, two := submit(t, r, 0, 0, 1), submit(t, r, 0, 0, 1)
		f.waitLength(t, first+2)
		f.commit(first + 1)
		f.commit(first + 2)
		if a, b := <-one, <-two; a.sum.Total+b.sum.Total != 3 {
			t.Fatalf("the totals are %+v and %+v, want 1 and 2", a, b)
		}
	})
}

// Section 8: what predecessors left is committed by a command of the new term.
func TestEachTermBeginsWithACommand(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &account{}
		r, f := start(t, machine, nil, rsm.Options{})
		for term := 1; term <= 3; term++ {
			at := f.lead(t, term)
			testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == at })
			f.set(term, false)
		}
		f.set(5, false)
		testkit.Never(t, 300*time.Millisecond, "a follower proposed a command", func() bool { return f.length() != 3 })
		stop(r)
		if machine.state.Adds != 0 {
			t.Fatalf("the machine saw %d commands", machine.state.Adds)
		}
	})
}

func TestForeignCommandStopsTheReplica(t *testing.T) {
	for name, command := range map[string]any{
		"of another type": "x",
		"garbage":         []byte{0xc1},
		"empty":           []byte{},
		"too long":        []byte{0x95, 1, 0, 0, 0, 0x91, 0, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) {
				r, f := start(t, &account{}, nil, rsm.Options{})
				first := f.lead(t, 1)
				waiting := submit(t, r, 1, 1, 5)
				f.waitLength(t, first+1)
				f.apply(first+1, command)
				want(t, waiting, 0, rsm.ErrStopped)
				f.waitKilled(t)
				if r.Err() == nil {
					t.Fatal("Err is nil")
				}
			})
		})
	}
}

func TestMessagesOfNoKindAreIgnored(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := start(t, &account{}, nil, rsm.Options{})
		f.applyCh <- raft.ApplyMsg{}
		first := f.lead(t, 1)
		testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == first })
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opts := range []rsm.Options{{MaxSessions: -1}, {SnapshotGrowth: -1}, {MaxInFlightBytes: -1}, {MaxInFlight: -1}} {
		if _, err := rsm.New(&account{}, nil, opts); err == nil {
			t.Errorf("New took %+v", opts)
		}
	}
}
