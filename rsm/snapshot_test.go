package rsm_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/rsm"
)

// sized are options whose state size is the test's to set.
func sized(limit int) (rsm.Options, *atomic.Int64) {
	size := new(atomic.Int64)
	return rsm.Options{MaxRaftState: limit, StateSize: func() int { return int(size.Load()) }}, size
}

// busy starts a replica that leads and commits what is proposed.
func busy(t *testing.T, machine rsm.StateMachine[add, sum], snapshot []byte, opts rsm.Options) (*replica, *fakeRaft) {
	t.Helper()
	r, f := start(t, machine, snapshot, opts)
	before := r.Applied()
	f.commitAll(before)
	testkit.WaitFor(t, time.Second, "the begin of the term", func() bool { return r.Applied() == before+1 })
	return r, f
}

func waitSnapshot(t *testing.T, f *fakeRaft, at int) []byte {
	t.Helper()
	testkit.WaitFor(t, 5*time.Second, "a snapshot", func() bool { _, index, _ := f.snapshots(); return index == at })
	_, _, image := f.snapshots()
	return image
}

func TestSnapshotAtTheBound(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		r, f := busy(t, &account{}, nil, opts)
		size.Store(99)
		want(t, submit(t, r, 1, 1, 5), 5, nil)
		time.Sleep(100 * time.Millisecond)
		if n, _, _ := f.snapshots(); n != 0 {
			t.Fatal("a snapshot was taken below the bound")
		}
		size.Store(100)
		want(t, submit(t, r, 1, 2, 5), 10, nil)
		image := waitSnapshot(t, f, r.Applied())

		restored, _ := busy(t, &account{}, image, opts)
		if restored.Applied() != 4 || restored.Sessions() != 1 {
			t.Fatalf("restored %d commands, %d sessions", restored.Applied(), restored.Sessions())
		}
		want(t, submit(t, restored, 1, 2, 5), 10, nil) // known: executed once
		want(t, submit(t, restored, 1, 3, 5), 15, nil)
	})
}

func TestNoSnapshotWithoutABound(t *testing.T) {
	for _, limit := range []int{0, -1} {
		testkit.Run(t, func(t *testing.T) {
			opts, size := sized(limit)
			r, f := busy(t, &account{}, nil, opts)
			size.Store(1 << 40)
			want(t, submit(t, r, 1, 1, 5), 5, nil)
			time.Sleep(100 * time.Millisecond)
			if n, _, _ := f.snapshots(); n != 0 {
				t.Fatal("a snapshot was taken")
			}
		})
	}
}

func TestServiceGoesOnWhileASnapshotIsEncoded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		machine := &account{gate: make(chan struct{})}
		size.Store(100)
		r, f := busy(t, machine, nil, opts)
		t.Cleanup(func() { close(machine.gate) })
		for seq := uint64(1); seq <= 10; seq++ {
			want(t, submit(t, r, 1, seq, 1), int(seq), nil)
		}
		if n, _, _ := f.snapshots(); n != 0 {
			t.Fatal("the gate is shut, and a snapshot came through")
		}
		size.Store(0)
		captured := 1 // the command that began the term
		machine.gate <- struct{}{}
		image := waitSnapshot(t, f, captured)
		restored, _ := start(t, &account{}, image, opts)
		if restored.Applied() != captured {
			t.Fatalf("restored %d commands, want %d", restored.Applied(), captured)
		}
	})
}

// What is applied while a snapshot is encoded, and nothing after it, must not
// stay in the log for good.
func TestSnapshotAfterTheOneUnderWay(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, opts)
		t.Cleanup(func() { close(machine.gate) })
		size.Store(100)
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		want(t, submit(t, r, 1, 2, 1), 2, nil)
		machine.gate <- struct{}{}
		machine.gate <- struct{}{}
		waitSnapshot(t, f, r.Applied())
	})
}

func TestApplyingWaitsAtFourTimesTheBound(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, opts)
		t.Cleanup(func() { close(machine.gate) })
		size.Store(399)
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		want(t, submit(t, r, 1, 2, 1), 2, nil)
		time.Sleep(10 * time.Millisecond) // the applier has looked at the size
		size.Store(400)
		want(t, submit(t, r, 1, 3, 1), 3, nil) // is applied; then applying waits
		waiting := submit(t, r, 1, 4, 1)
		still(t, waiting)
		size.Store(0)
		machine.gate <- struct{}{}
		want(t, waiting, 4, nil)
		if n, _, _ := f.snapshots(); n == 0 {
			t.Fatal("no snapshot was taken")
		}
	})
}

func TestKillWhileASnapshotIsEncoded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		machine := &account{gate: make(chan struct{})}
		size.Store(400)
		r, _ := busy(t, machine, nil, opts)
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		waiting := submit(t, r, 1, 2, 1)
		still(t, waiting)
		r.Kill()
		want(t, waiting, 0, rsm.ErrStopped)
		close(machine.gate)
		r.Wait()
	})
}

func TestFailureToEncodeStopsTheReplica(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		opts, size := sized(100)
		size.Store(100)
		machine := &account{fail: errors.New("no paper")}
		r, f := busy(t, machine, nil, opts)
		testkit.WaitFor(t, time.Second, "the failure", func() bool { return r.Err() != nil })
		if !errors.Is(r.Err(), machine.fail) {
			t.Fatal(r.Err())
		}
		f.waitKilled(t)
		if n, _, _ := f.snapshots(); n != 0 {
			t.Fatal("a snapshot was given to Raft")
		}
	})
}

// imageAfter returns a snapshot after n commands of client 7, of 1 each, and
// the first command of the term.
func imageAfter(t *testing.T, n int) (image []byte, applied int) {
	opts, size := sized(100)
	r, f := busy(t, &account{}, nil, opts)
	for seq := 1; seq <= n; seq++ {
		if seq == n {
			size.Store(100)
		}
		want(t, submit(t, r, 7, uint64(seq), 1), seq, nil)
	}
	return waitSnapshot(t, f, r.Applied()), r.Applied()
}

func TestInstall(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		image, applied := imageAfter(t, 10)
		machine := &account{}
		r, f := start(t, machine, nil, rsm.Options{})
		first := f.lead(t, 1)
		included := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		f.install(applied, image)
		want(t, included, 0, rsm.ErrLost) // its place is in the snapshot, whoever had it
		if r.Applied() != applied || r.Sessions() != 1 {
			t.Fatalf("after InstallSnapshot: %d applied, %d sessions", r.Applied(), r.Sessions())
		}
		f.apply(applied, commandOf(t, 2, 1, 1000)) // included: not applied again
		f.apply(applied+1, commandOf(t, 7, 10, 1)) // a duplicate of what is included
		f.apply(applied+2, commandOf(t, 7, 11, 1))
		testkit.WaitFor(t, time.Second, "application", func() bool { return r.Applied() == applied+2 })
		stop(r)
		if machine.state != (sum{11, 11}) {
			t.Fatalf("the state is %+v", machine.state)
		}
	})
}

func TestOlderSnapshotIsIgnored(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		older, at := imageAfter(t, 3)
		image, applied := imageAfter(t, 10)
		machine := &account{}
		r, f := start(t, machine, image, rsm.Options{})
		f.install(applied, image)
		f.install(at, older)
		f.apply(applied+1, commandOf(t, 7, 10, 1))
		testkit.WaitFor(t, time.Second, "application", func() bool { return r.Applied() == applied+1 })
		stop(r)
		if machine.state != (sum{10, 10}) {
			t.Fatalf("the state is %+v", machine.state)
		}
	})
}

// conditional is a Raft that is asked before a snapshot is installed, as the lab
// was until 2021.
type conditional struct {
	*fakeRaft
	answer bool
}

func (c *conditional) CondInstallSnapshot(int, int, []byte) bool { return c.answer }

func TestCondInstallSnapshot(t *testing.T) {
	for _, answer := range []bool{true, false} {
		testkit.Run(t, func(t *testing.T) {
			image, applied := imageAfter(t, 10)
			r, err := rsm.New(&account{}, nil, rsm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			f := newFake()
			r.Run(&conditional{f, answer}, f.applyCh)
			defer stop(r)
			f.install(applied, image)
			f.install(applied, image) // taken when the first one is done with
			if installed := r.Applied() == applied; installed != answer {
				t.Fatalf("Raft said %v, and the snapshot was installed: %v", answer, installed)
			}
		})
	}
}

func TestBadSnapshots(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		image, applied := imageAfter(t, 3)
		bad := map[string][]byte{
			"cut in the head":  image[:3],
			"cut in the state": image[:len(image)-1],
			"another format":   append([]byte{image[0], 99}, image[2:]...),
			"not an image":     []byte("hello"),
			"index 0":          {0x93, 1, 0, 0xc0},
		}
		for name, image := range bad {
			machine := &account{}
			if _, err := rsm.New(machine, image, rsm.Options{}); err == nil {
				t.Errorf("%s: New took it", name)
			}
			r, f := start(t, machine, nil, rsm.Options{})
			f.install(applied, image)
			testkit.WaitFor(t, time.Second, "the failure", func() bool { return r.Err() != nil })
			stop(r)
			if machine.state != (sum{}) || r.Applied() != 0 {
				t.Errorf("%s: the state is %+v after %d", name, machine.state, r.Applied())
			}
		}
	})
}
