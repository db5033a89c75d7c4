package rsm_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// busy starts a replica that leads and commits what is proposed.
func busy(t *testing.T, machine rsm.StateMachine[add, sum], snapshot []byte, opts rsm.Options) (*replica, *fakeRaft) {
	t.Helper()
	r, f := start(t, machine, snapshot, opts)
	before := appliedBy(r)
	f.commitAll(before)
	testkit.WaitFor(t, time.Second, "the no-op of the term", func() bool { return appliedBy(r) == before+1 })
	return r, f
}

func waitSnapshot(t *testing.T, f *fakeRaft, at int) []byte {
	t.Helper()
	testkit.WaitFor(t, 5*time.Second, "a snapshot", func() bool { _, index, _ := f.snapshots(); return index == at })
	_, _, image := f.snapshots()
	return image
}

// noSnapshot fails if a snapshot was taken.
func noSnapshot(t *testing.T, f *fakeRaft) {
	t.Helper()
	time.Sleep(100 * time.Millisecond)
	if n, index, _ := f.snapshots(); n != 0 {
		t.Fatalf("%d snapshots were taken, the last one at index %d", n, index)
	}
}

// costs returns what the no-op of a term and each command of an account that
// follows count towards a snapshot, in bytes.
func costs(t *testing.T) (noop, command int) {
	t.Helper()
	const overhead = 16
	return len(commandAt(t, 1)) + overhead, len(commandAt(t, 2)) + overhead
}

// commandAt returns the bytes that a replica proposes first, for the no-op, or then.
func commandAt(t *testing.T, index int) []byte {
	t.Helper()
	r, f := busy(t, &account{}, nil, rsm.Options{})
	want(t, submit(t, r, 1, 1, 1), 1, nil)
	return f.at(index).([]byte)
}

func TestSnapshotAtTheBound(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		opts := rsm.Options{SnapshotBytes: noop + 2*command}
		r, f := busy(t, &account{}, nil, opts)
		want(t, submit(t, r, 1, 1, 5), 5, nil)
		noSnapshot(t, f)
		want(t, submit(t, r, 1, 2, 5), 10, nil)
		image := waitSnapshot(t, f, appliedBy(r))

		restored, _ := busy(t, &account{}, image, opts)
		if appliedBy(restored) != 4 || restored.Sessions() != 1 {
			t.Fatalf("restored %d commands, %d sessions", appliedBy(restored), restored.Sessions())
		}
		want(t, submit(t, restored, 1, 2, 5), 10, nil) // known: executed once
		want(t, submit(t, restored, 1, 3, 5), 15, nil)
	})
}

func TestNoSnapshotWithoutABound(t *testing.T) {
	for _, limit := range []int{0, -1} {
		testkit.Run(t, func(t *testing.T) {
			r, f := busy(t, &account{}, nil, rsm.Options{SnapshotBytes: limit})
			for seq := uint64(1); seq <= 50; seq++ {
				want(t, submit(t, r, 1, seq, 1), int(seq), nil)
			}
			noSnapshot(t, f)
		})
	}
}

// A server that is far behind the log's end applies many commands for each
// snapshot: what is in the log and not applied calls for none.
func TestBacklogCallsForNoSnapshot(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		r, f := start(t, &account{}, nil, rsm.Options{SnapshotBytes: 10 * command})
		f.set(1, true)
		f.waitLength(t, 1)
		var replies []<-chan reply
		for client := uint64(1); client <= 35; client++ {
			replies = append(replies, submit(t, r, client, 1, 1))
		}
		f.waitLength(t, 36) // all of them are in the log
		for index := 1; index <= 36; index++ {
			f.commit(index)
			time.Sleep(time.Millisecond)
		}
		for _, ch := range replies {
			if got := <-ch; got.err != nil {
				t.Fatal(got.err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		if n, _, _ := f.snapshots(); n != (noop+35*command)/(10*command) {
			t.Fatalf("%d snapshots of %d bytes of commands, with one due after %d", n, noop+35*command, 10*command)
		}
	})
}

// With SnapshotGrowth a snapshot waits until as much was applied as the last one
// holds, which a restart remembers.
func TestSnapshotGrowth(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		opts := rsm.Options{SnapshotBytes: 1, SnapshotGrowth: 3}
		machine := &account{padding: 20 * command}
		r, f := busy(t, machine, nil, opts) // the no-op was enough for the first one
		image := waitSnapshot(t, f, 1)
		after := (3*len(image) + command - 1) / command // commands until the next one
		for seq := 1; seq <= after; seq++ {
			if n, index, _ := f.snapshots(); n != 1 {
				t.Fatalf("a snapshot at index %d, after %d of %d commands", index, seq-1, after)
			}
			want(t, submit(t, r, 1, uint64(seq), 1), seq, nil)
			time.Sleep(time.Millisecond)
		}
		image = waitSnapshot(t, f, 1+after)

		restored, g := busy(t, &account{padding: 20 * command}, image, opts)
		after = (3*len(image) - noop + command - 1) / command
		for seq := 1; seq < after; seq++ {
			want(t, submit(t, restored, 2, uint64(seq), 1), appliedBy(r)-1+seq, nil)
		}
		noSnapshot(t, g)
		want(t, submit(t, restored, 2, uint64(after), 1), appliedBy(r)-1+after, nil)
		waitSnapshot(t, g, appliedBy(restored))
	})
}

// A snapshot that applying had to wait for may be so large that the next one is no
// longer due.
func TestSnapshotGrowthAfterWaiting(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		_, command := costs(t)
		machine := &account{gate: make(chan struct{}), padding: 20 * command}
		r, f := busy(t, machine, nil, rsm.Options{SnapshotBytes: 3 * command, SnapshotGrowth: 1})
		t.Cleanup(func() { close(machine.gate) })
		seq := 0
		for waits := false; !waits; {
			seq++
			ch := submit(t, r, 1, uint64(seq), 1)
			select {
			case <-ch:
			case <-time.After(time.Second):
				waits = true
			}
		}
		machine.gate <- struct{}{}
		for range 8 {
			seq++
			want(t, submit(t, r, 1, uint64(seq), 1), seq, nil)
		}
		select {
		case machine.gate <- struct{}{}:
			t.Fatal("another snapshot is encoded")
		case <-time.After(time.Second):
		}
		if n, _, _ := f.snapshots(); n != 1 {
			t.Fatalf("%d snapshots", n)
		}
	})
}

func TestSnapshotOnDemand(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, rsm.Options{})
		t.Cleanup(func() { close(machine.gate) })
		r.Snapshot()
		time.Sleep(time.Millisecond)
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		r.Snapshot() // comes after the one under way
		r.Snapshot()
		machine.gate <- struct{}{}
		waitSnapshot(t, f, 1)
		machine.gate <- struct{}{}
		waitSnapshot(t, f, 2)
		r.Snapshot() // nothing has been applied since
		time.Sleep(time.Second)
		if n, _, _ := f.snapshots(); n != 2 {
			t.Fatalf("%d snapshots, want 2", n)
		}
	})
}

func TestServiceGoesOnWhileASnapshotIsEncoded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, rsm.Options{})
		t.Cleanup(func() { close(machine.gate) })
		captured := appliedBy(r)
		r.Snapshot()
		time.Sleep(time.Millisecond)
		for seq := uint64(1); seq <= 10; seq++ {
			want(t, submit(t, r, 1, seq, 1), int(seq), nil)
		}
		noSnapshot(t, f) // the gate is shut
		machine.gate <- struct{}{}
		image := waitSnapshot(t, f, captured)
		restored, _ := start(t, &account{}, image, rsm.Options{})
		if appliedBy(restored) != captured {
			t.Fatalf("restored %d commands, want %d", appliedBy(restored), captured)
		}
	})
}

// What is applied while a snapshot is encoded, and nothing after it, must not
// stay in the log for good.
func TestSnapshotAfterTheOneUnderWay(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, rsm.Options{SnapshotBytes: min(noop, command)})
		t.Cleanup(func() { close(machine.gate) })
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		machine.gate <- struct{}{}
		machine.gate <- struct{}{}
		waitSnapshot(t, f, appliedBy(r))
	})
}

// At most twice as much is applied as calls for a snapshot while one is encoded.
func TestApplyingWaitsForASnapshot(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		machine := &account{gate: make(chan struct{})}
		r, f := busy(t, machine, nil, rsm.Options{SnapshotBytes: noop + 2*command})
		t.Cleanup(func() { close(machine.gate) })
		ahead := (2*(noop+2*command) + command - 1) / command
		for seq := 1; seq <= 2+ahead; seq++ { // two for the snapshot, the others beside it
			want(t, submit(t, r, 1, uint64(seq), 1), seq, nil)
		}
		waiting := submit(t, r, 1, uint64(2+ahead+1), 1)
		still(t, waiting)
		machine.gate <- struct{}{}
		want(t, waiting, 2+ahead+1, nil)
		waitSnapshot(t, f, 3)
	})
}

func TestKillWhileASnapshotIsEncoded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &account{gate: make(chan struct{})}
		r, _ := busy(t, machine, nil, rsm.Options{SnapshotBytes: 1})
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
		machine := &account{fail: errors.New("no paper")}
		r, f := busy(t, machine, nil, rsm.Options{SnapshotBytes: 1})
		testkit.WaitFor(t, time.Second, "the failure", func() bool { return r.Err() != nil })
		if !errors.Is(r.Err(), machine.fail) {
			t.Fatal(r.Err())
		}
		f.waitKilled(t)
		noSnapshot(t, f)
	})
}

// imageAfter returns a snapshot after n commands of client 7, of 1 each, and
// the first command of the term.
func imageAfter(t *testing.T, n int) (image []byte, applied int) {
	r, f := busy(t, &account{}, nil, rsm.Options{})
	for seq := 1; seq <= n; seq++ {
		want(t, submit(t, r, 7, uint64(seq), 1), seq, nil)
	}
	r.Snapshot()
	return waitSnapshot(t, f, appliedBy(r)), appliedBy(r)
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
		if appliedBy(r) != applied || r.Sessions() != 1 {
			t.Fatalf("after InstallSnapshot: %d applied, %d sessions", appliedBy(r), r.Sessions())
		}
		f.apply(applied, commandOf(t, 2, 1, 1000)) // included: not applied again
		f.apply(applied+1, commandOf(t, 7, 10, 1)) // a duplicate of what is included
		f.apply(applied+2, commandOf(t, 7, 11, 1))
		testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == applied+2 })
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
		testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == applied+1 })
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
			require.NoError(t, err)
			f := newFake()
			r.Run(labraft.New(&conditional{f, answer}, f.applyCh))
			defer stop(r)
			f.install(applied, image)
			f.install(applied, image) // taken when the first one is done with
			if installed := appliedBy(r) == applied; installed != answer {
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
			if machine.state != (sum{}) || appliedBy(r) != 0 {
				t.Errorf("%s: the state is %+v after %d", name, machine.state, appliedBy(r))
			}
		}
	})
}

// fullLog is a log whose disk has no room for snapshots while full is set.
type fullLog struct {
	rsm.Log
	full     atomic.Bool
	attempts atomic.Int64
}

func (l *fullLog) SaveSnapshot(s rsm.Snapshot) (int, error) {
	l.attempts.Add(1)
	if l.full.Load() {
		return 0, fmt.Errorf("the disk: %w", rsm.ErrNoRoom)
	}
	return l.Log.SaveSnapshot(s)
}

// onFullDisk starts a replica on a full disk that leads and commits what is proposed.
func onFullDisk(t *testing.T, opts rsm.Options) (*replica, *fakeRaft, *fullLog) {
	t.Helper()
	r, err := rsm.New(&account{}, nil, opts)
	require.NoError(t, err)
	f := newFake()
	log := &fullLog{Log: labraft.New(f, f.applyCh)}
	log.full.Store(true)
	r.Run(log)
	t.Cleanup(func() { stop(r) })
	f.commitAll(0)
	testkit.WaitFor(t, time.Second, "the no-op of the term", func() bool { return appliedBy(r) == 1 })
	return r, f, log
}

// A full disk does not stop the replica. Commands are applied without a bound, and the
// snapshot is tried again after longer and longer times.
func TestSnapshotWithoutRoom(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		noop, command := costs(t)
		r, f, log := onFullDisk(t, rsm.Options{SnapshotBytes: noop + 2*command})
		for seq := 1; seq <= 50; seq++ {
			want(t, submit(t, r, 1, uint64(seq), 1), seq, nil)
		}
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 15, log.attempts.Load(), 3, "attempts in ten minutes")
		want(t, submit(t, r, 1, 51, 1), 51, nil)
		noSnapshot(t, f)

		log.full.Store(false)
		time.Sleep(2 * time.Minute)
		waitSnapshot(t, f, 52)
		attempts := log.attempts.Load()
		want(t, submit(t, r, 1, 52, 1), 52, nil)
		time.Sleep(2 * time.Minute)
		require.Equal(t, attempts, log.attempts.Load(), "no snapshot is due")
		for seq := 53; seq <= 55; seq++ {
			want(t, submit(t, r, 1, uint64(seq), 1), seq, nil)
		}
		testkit.WaitFor(t, time.Second, "the next snapshot", func() bool { return log.attempts.Load() > attempts })
	})
}

// A snapshot that a service asked for is tried again too, and a second request is tried
// at once.
func TestSnapshotOnDemandWithoutRoom(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f, log := onFullDisk(t, rsm.Options{})
		r.Snapshot()
		time.Sleep(time.Minute)
		before := log.attempts.Load()
		require.Greater(t, before, int64(3))
		r.Snapshot()
		time.Sleep(time.Millisecond)
		require.Equal(t, before+1, log.attempts.Load())
		log.full.Store(false)
		time.Sleep(2 * time.Minute)
		waitSnapshot(t, f, 1)
	})
}
