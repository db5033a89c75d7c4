package rsm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/rsm"
)

func TestSessionRules(t *testing.T) {
	s := rsm.NewSessions[string](2)
	steps := []struct {
		client, seq uint64
		result      string
		err         error
		executes    bool
	}{
		{1, 1, "a", nil, true},
		{1, 1, "a", nil, false},
		{1, 2, "b", nil, true},
		{1, 1, "", rsm.ErrStale, false},
		{1, 2, "b", nil, false},
		{2, 5, "", rsm.ErrSessionExpired, false}, // nobody began it
		{2, 1, "c", nil, true},
		{1, 4, "d", nil, true}, // 3 was given up
		{1, 3, "", rsm.ErrStale, false},
		{3, 1, "e", nil, true}, // the third client: 2 has been unused the longest
		{2, 2, "", rsm.ErrSessionExpired, false},
		{1, 4, "d", nil, false},
		{0, 0, "f", nil, true}, // no session
		{0, 0, "g", nil, true},
		{2, 1, "h", nil, true}, // begins anew; 1 was used before 3: asking again is no use
		{3, 1, "e", nil, false},
		{1, 5, "", rsm.ErrSessionExpired, false},
	}
	for i, step := range steps {
		executed := false
		result, err := s.Do(step.client, step.seq, func() string { executed = true; return step.result })
		if result != step.result || !errors.Is(err, step.err) || executed != step.executes {
			t.Fatalf("step %d: Do(%d, %d) = %q, %v, executed: %v; want %q, %v, %v",
				i+1, step.client, step.seq, result, err, executed, step.result, step.err, step.executes)
		}
		if s.Len() > 2 {
			t.Fatalf("step %d: %d sessions", i+1, s.Len())
		}
	}
	s.End(3)
	s.End(3)
	s.End(99)
	// Also the first command: one that comes late, from a network that kept a
	// copy, is not the beginning of another session.
	for seq := uint64(1); seq <= 2; seq++ {
		_, err := s.Do(3, seq, func() string { t.Errorf("command %d of an ended session was executed", seq); return "" })
		if !errors.Is(err, rsm.ErrSessionExpired) || s.Len() != 2 {
			t.Fatalf("after End(3): %v, %d sessions", err, s.Len())
		}
	}
	for client := uint64(10); client < 12; client++ {
		s.Record(client, 1, "")
	}
	for _, rec := range s.Records() {
		if rec.Client == 3 {
			t.Fatalf("an ended session is still remembered after as many others as there is room for")
		}
	}
}

func TestSessionsMerge(t *testing.T) {
	from, to := rsm.NewSessions[string](10), rsm.NewSessions[string](3)
	from.Record(1, 5, "from")
	from.Record(2, 5, "from")
	from.Record(3, 5, "from")
	from.Record(1, 6, "from")
	to.Record(2, 4, "to")
	to.Record(3, 7, "to")
	to.Merge(from.Records())
	want := []rsm.Session[string]{{3, 7, "to"}, {2, 5, "from"}, {1, 6, "from"}}
	if got := to.Records(); !slices.Equal(got, want) {
		t.Fatalf("merged: %v, want %v", got, want)
	}
	to.Merge(from.Records())
	if got := to.Records(); !slices.Equal(got, want) {
		t.Fatalf("merged twice: %v, want %v", got, want)
	}
	to.Record(9, 1, "new")
	if got := to.Records(); got[0].Client != 2 || len(got) != 3 {
		t.Fatalf("after one more: %v", got)
	}
}

func TestSessionsCopyStays(t *testing.T) {
	s := rsm.NewSessions[int](4)
	for c := range uint64(4) {
		s.Record(c+1, 1, 0)
	}
	was := s.Records()
	stays := s.Copy()
	for c := range uint64(100) {
		s.Record(c+1, 2, 1)
	}
	if got := stays.Records(); !slices.Equal(got, was) {
		t.Fatalf("the copy is %v, was %v", got, was)
	}
}

// Whatever a client retries, on a table that is saved and loaded at any time, a
// command is executed once as long as the table has room.
func TestSessionsAgainstAModel(t *testing.T) {
	rng := testkit.Rand(t)
	s := rsm.NewSessions[uint64](8)
	var executed [9]uint64 // the last command of each client
	for range 20_000 {
		client := 1 + rng.Uint64N(8)
		seq := max(1, executed[client]+rng.Uint64N(3)-1)
		result, err := s.Do(client, seq, func() uint64 {
			if seq <= executed[client] {
				t.Fatalf("client %d: command %d is executed after %d", client, seq, executed[client])
			}
			executed[client] = seq
			return seq * client
		})
		if seq < executed[client] != errors.Is(err, rsm.ErrStale) || err == nil && result != seq*client {
			t.Fatalf("client %d, command %d of %d: %d, %v", client, seq, executed[client], result, err)
		}
		if rng.IntN(10) == 0 {
			records := s.Records()
			s = rsm.NewSessions[uint64](8)
			s.Merge(records)
		}
	}
}

func TestDuplicateInTheLogTakesEffectOnce(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &account{}
		r, f := start(t, machine, nil, rsm.Options{})
		one, two := commandOf(t, 1, 1, 5), commandOf(t, 1, 1, 5)
		f.apply(1, one)
		f.apply(2, two) // another submission of the same command
		f.apply(3, commandOf(t, 1, 2, 7))
		f.apply(4, two)
		f.apply(5, commandOf(t, 9, 3, 100)) // of a session that is not known
		testkit.WaitFor(t, time.Second, "application", func() bool { return appliedBy(r) == 5 })
		stop(r)
		if machine.state != (sum{12, 2}) {
			t.Fatalf("the state is %+v", machine.state)
		}
	})
}

func TestSubmitTellsOfStaleAndExpired(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, _ := busy(t, &account{}, nil, rsm.Options{MaxSessions: 1})
		want(t, submit(t, r, 1, 1, 1), 1, nil)
		want(t, submit(t, r, 1, 2, 1), 2, nil)
		want(t, submit(t, r, 1, 1, 1), 0, rsm.ErrStale)
		want(t, submit(t, r, 2, 1, 1), 3, nil)
		want(t, submit(t, r, 1, 3, 1), 0, rsm.ErrSessionExpired)
		if r.Sessions() != 1 {
			t.Fatalf("%d sessions", r.Sessions())
		}
		require.NoError(t, r.EndSession(t.Context(), 2))
		want(t, submit(t, r, 2, 2, 1), 0, rsm.ErrSessionExpired)
		want(t, submit(t, r, 2, 1, 1), 0, rsm.ErrSessionExpired) // a late copy of its first
		if r.Sessions() != 1 {
			t.Fatalf("%d sessions; one that has ended is remembered until others take its place", r.Sessions())
		}
	})
}

// vault is an account whose parts keep their own sessions.
type vault struct {
	account
	sessions *rsm.Sessions[sum]
	closed   bool // as a shard that has moved away
	ended    []uint64
}

var errClosed = errors.New("vault: closed")

func (v *vault) ApplyFor(client, seq uint64, c add) (sum, error) {
	if v.closed {
		return sum{}, errClosed
	}
	return v.sessions.Do(client, seq, func() sum { return v.Apply(c) })
}

func (v *vault) EndSession(client uint64) {
	v.ended = append(v.ended, client)
	v.sessions.End(client)
}

func (v *vault) Snapshot() func(io.Writer) error {
	state, sessions := v.state, v.sessions.Copy()
	return func(w io.Writer) error {
		out := []int64{int64(state.Total), int64(state.Adds)}
		for _, rec := range sessions.Records() {
			out = append(out, int64(rec.Client), int64(rec.Seq), int64(rec.Result.Total), int64(rec.Result.Adds))
		}
		return binary.Write(w, binary.BigEndian, out)
	}
}

func (v *vault) Restore(snapshot []byte) error {
	words := make([]uint64, len(snapshot)/8)
	for i := range words {
		words[i] = binary.BigEndian.Uint64(snapshot[8*i:])
	}
	v.state = sum{int(words[0]), int(words[1])}
	v.sessions = rsm.NewSessions[sum](10)
	for rec := range slices.Chunk(words[2:], 4) {
		v.sessions.Record(rec[0], rec[1], sum{int(rec[2]), int(rec[3])})
	}
	return nil
}

func TestSessionKeeper(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &vault{sessions: rsm.NewSessions[sum](10)}
		r, f := busy(t, machine, nil, rsm.Options{SnapshotBytes: 1})
		want(t, submit(t, r, 1, 1, 5), 5, nil)
		want(t, submit(t, r, 1, 1, 5), 5, nil)
		want(t, submit(t, r, 1, 2, 7), 12, nil)
		want(t, submit(t, r, 1, 1, 5), 0, rsm.ErrStale)
		var image []byte
		testkit.WaitFor(t, time.Second, "a snapshot", func() bool {
			_, index, last := f.snapshots()
			image = last
			return index == appliedBy(r)
		})
		require.NoError(t, r.EndSession(t.Context(), 1))
		want(t, submit(t, r, 1, 3, 7), 0, rsm.ErrSessionExpired)
		stop(r)
		machine.closed = true
		if !slices.Equal(machine.ended, []uint64{1}) || r.Sessions() != 0 {
			t.Fatalf("sessions %v were ended, the replica keeps %d", machine.ended, r.Sessions())
		}

		r, _ = busy(t, &vault{}, image, rsm.Options{})
		want(t, submit(t, r, 1, 2, 7), 12, nil)
		want(t, submit(t, r, 1, 3, 1), 13, nil)
	})
}

// A keeper may number commands for each of its parts, so the same numbers do not
// mean the same command, and its errors reach Submit.
func TestSessionKeepersCommandsDoNotJoin(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		machine := &vault{closed: true}
		r, f := start(t, machine, nil, rsm.Options{})
		first := f.lead(t, 1)
		one := submit(t, r, 1, 1, 5)
		f.waitLength(t, first+1)
		two := submit(t, r, 1, 1, 7)
		f.waitLength(t, first+2)
		f.commit(first + 1)
		want(t, one, 0, errClosed)
		f.commit(first + 2)
		want(t, two, 0, errClosed)
	})
}

// Replicas that apply one log are equal, whichever of them were restored from
// whose snapshot on the way.
func TestReplicasStayEqual(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rng := testkit.Rand(t)
		log := randomLog(t, rng, 300)
		images := make([]string, 3)
		for i := range images {
			images[i] = applyAll(t, rng, log)
		}
		if images[0] != images[1] || images[0] != images[2] {
			t.Fatalf("the replicas differ:\n%q\n%q\n%q", images[0], images[1], images[2])
		}
	})
}

// randomLog is what a leader's replica proposes for clients that retry and end.
func randomLog(t *testing.T, rng *rand.Rand, n int) []any {
	r, f := start(t, &account{}, nil, rsm.Options{})
	f.lead(t, 1)
	for f.length() < n {
		length := f.length()
		client := 1 + rng.Uint64N(6)
		if rng.IntN(10) == 0 {
			go r.EndSession(t.Context(), client)
		} else {
			submit(t, r, client, 1+rng.Uint64N(4), rng.IntN(100))
		}
		if rng.IntN(3) == 0 {
			f.set(1, false) // releases what waits, so that it does not join
			f.set(2+length, true)
		}
		time.Sleep(time.Millisecond)
	}
	return f.log[:n]
}

// applyAll applies a log, now and then on a new replica that is restored from
// the last one's snapshot, and returns a picture of the last state.
func applyAll(t *testing.T, rng *rand.Rand, log []any) string {
	machine := &account{}
	opts := rsm.Options{SnapshotBytes: 1, MaxSessions: 4}
	r, f := start(t, machine, nil, opts)
	var image []byte
	for i, command := range log {
		f.apply(i+1, command)
		if rng.IntN(20) != 0 && i+1 < len(log) {
			continue
		}
		testkit.WaitFor(t, time.Second, "a snapshot", func() bool {
			_, index, last := f.snapshots()
			image = last
			return index == i+1
		})
		stop(r)
		machine = &account{}
		r, f = start(t, machine, image, opts)
	}
	return fmt.Sprintf("%+v %d sessions %x", machine.state, r.Sessions(), image)
}
