package rsm_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// The suite uses what the course gives to students and nothing more, so another
// implementation can take the place of package rsm.

func TestMain(m *testing.M) { labrun.Main(m) }

// Note is a request to the journal. Pad makes the request large.
type Note struct {
	ID  int
	Pad string
}

// Noted is the result: the request, and the number of notes before.
type Noted struct{ ID, Before int }

func init() {
	labgob.Register(rsm.Op{}) // a student's command in the log
	labgob.Register(Note{})
	labgob.Register(Noted{})
}

// A journal is a state machine that keeps the requests in their order.
type journal struct {
	*rsm.RSM
	t *testing.T

	mu       sync.Mutex
	notes    []int
	restored int // calls of Restore
}

func (j *journal) DoOp(req any) any {
	note, ok := req.(Note)
	if !ok {
		j.t.Errorf("DoOp has a %T; want the %T that was submitted", req, note)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.notes = append(j.notes, note.ID)
	return Noted{note.ID, len(j.notes) - 1}
}

func (j *journal) Snapshot() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	var buf bytes.Buffer
	if err := labgob.NewEncoder(&buf).Encode(j.notes); err != nil {
		j.t.Error(err)
	}
	return buf.Bytes()
}

func (j *journal) Restore(data []byte) {
	var notes []int
	if err := labgob.NewDecoder(bytes.NewReader(data)).Decode(&notes); err != nil {
		j.t.Errorf("Restore has %d bytes that Snapshot did not return: %v", len(data), err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.notes = notes
	j.restored++
}

// Kill kills an RSM that has a method Kill. The course's interface has none, and there the
// RSM ends with the Raft server.
func (j *journal) Kill() {
	if killer, ok := any(j.RSM).(interface{ Kill() }); ok {
		killer.Kill()
	}
}

// all returns the notes so far.
func (j *journal) all() []int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.notes)
}

// A cluster is a group of servers with a journal each.
type cluster struct {
	*shardlab.Group
	l *lab.Lab

	mu       sync.Mutex
	journals []*journal // of the newest incarnations
	next     int        // ID of the next note
}

// run runs a test with a group of n servers.
func run(t *testing.T, n, maxraftstate int, body func(t *testing.T, c *cluster)) {
	t.Helper()
	lab.Run(t, func(t *testing.T, l *lab.Lab) {
		c := &cluster{l: l, journals: make([]*journal, n)}
		c.Group = l.StartGroup(tester.GRP0, n, func(ends []*labrpc.ClientEnd, _ tester.Tgid, me int, persister *tester.Persister) []tester.IService {
			j := &journal{t: t}
			j.RSM = rsm.MakeRSM(ends, me, persister, maxraftstate, j)
			c.mu.Lock()
			c.journals[me] = j
			c.mu.Unlock()
			return []tester.IService{j, j.Raft()}
		})
		body(t, c)
	})
}

func (c *cluster) journal(i int) *journal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journals[i]
}

// note returns the next request.
func (c *cluster) note() Note {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return Note{ID: c.next}
}

// submit submits a note at server i. A result must belong to the note.
func (c *cluster) submit(i int, note Note) (Noted, rpc.Err) {
	err, result := c.journal(i).Submit(note)
	switch err {
	case rpc.OK:
		noted, ok := result.(Noted)
		if !ok || noted.ID != note.ID {
			c.l.T.Errorf("Submit(%v) on server %d returned the result %v", note, i, result)
		}
		return noted, err
	case rpc.ErrWrongLeader:
	default:
		c.l.T.Errorf("Submit on server %d returned the error %q; want %q or %q", i, err, rpc.OK, rpc.ErrWrongLeader)
	}
	return Noted{}, err
}

// one submits new notes at leaders until one succeeds, and returns the note.
func (c *cluster) one() Note {
	c.l.T.Helper()
	var note Note
	done := lab.Go(func() {
		for c.l.Open.Err() == nil {
			if leader := c.Leader(); leader >= 0 {
				note = c.note()
				if _, err := c.submit(leader, note); err == rpc.OK {
					return
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	c.l.Await("a Submit that succeeds", lab.OperationLimit, done)
	return note
}

// agree waits until the servers ids have applied the notes, and ends the test unless all
// have applied equal notes, each once and in one order.
func (c *cluster) agree(ids []int, notes ...Note) {
	c.l.T.Helper()
	has := func(i int) bool {
		all := c.journal(i).all()
		for _, note := range notes {
			if !slices.Contains(all, note.ID) {
				return false
			}
		}
		return true
	}
	for _, i := range ids {
		testkit.WaitFor(c.l.T, lab.OperationLimit, fmt.Sprintf("server %d to apply what was submitted", i), func() bool { return has(i) })
	}
	longest := c.journal(ids[0]).all()
	for _, i := range ids[1:] {
		if all := c.journal(i).all(); len(all) > len(longest) {
			longest = all
		}
	}
	for _, i := range ids {
		if all := c.journal(i).all(); !slices.Equal(all, longest[:len(all)]) {
			c.l.T.Fatalf("server %d applied %v, and another one %v", i, all, longest)
		}
	}
	sorted := slices.Sorted(slices.Values(longest))
	if len(slices.Compact(slices.Clone(sorted))) != len(sorted) {
		c.l.T.Fatalf("a request was applied twice: %v", longest)
	}
}

func (c *cluster) everyone() []int {
	ids := make([]int, c.N())
	for i := range ids {
		ids[i] = i
	}
	return ids
}

func (c *cluster) others(but ...int) []int {
	return slices.DeleteFunc(c.everyone(), func(i int) bool { return slices.Contains(but, i) })
}

// TestSubmit4A submits requests at a leader and at followers. The leader returns the
// result of each request. A follower returns ErrWrongLeader soon, and the request has no
// effect.
func TestSubmit4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		first := c.one()
		leader, term := c.l.AwaitLeader(c.Group), c.Term()
		for _, i := range c.others(leader) {
			start := time.Now()
			if _, err := c.submit(i, c.note()); err == rpc.OK && c.Term() == term {
				t.Fatalf("Submit succeeded on follower %d", i)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("Submit on follower %d took %v", i, took)
			}
		}
		last := first
		for range 10 {
			last = c.one()
		}
		c.agree(c.everyone(), first, last)
		if n := len(c.journal(leader).all()); n != 11 && c.Term() == term {
			t.Fatalf("%d requests were applied; want the 11 that succeeded", n)
		}
	})
}

// TestConcurrent4A submits many requests at the same time. Each result belongs to the
// request of the Submit, each request is applied once, and the order is the same on all
// servers.
func TestConcurrent4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		c.one()
		leader := c.l.AwaitLeader(c.Group)
		const n = 50
		var mu sync.Mutex
		var notes []Note
		var before []int
		var done []<-chan struct{}
		for range n {
			done = append(done, lab.Go(func() {
				note := c.note()
				noted, err := c.submit(leader, note)
				mu.Lock()
				defer mu.Unlock()
				if err == rpc.OK {
					notes, before = append(notes, note), append(before, noted.Before)
				}
			}))
		}
		c.l.Await("the Submits", lab.OperationLimit, done...)
		if len(notes) < n/2 {
			t.Fatalf("%d of %d Submits succeeded, and the leader did not change", len(notes), n)
		}
		slices.Sort(before)
		if len(slices.Compact(slices.Clone(before))) != len(notes) {
			t.Fatalf("two requests have the same place in the order: %v", before)
		}
		c.agree(c.everyone(), notes...)
	})
}

// TestLeaderIsCutOff4A cuts the leader off from the others while requests are in
// progress on it. The requests do not succeed, the others elect a leader and go on, and
// after the reunion each of the Submits has ended with ErrWrongLeader, and all servers
// agree.
func TestLeaderIsCutOff4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		for range 4 { // a server may look at an outcome at another moment
			c.one()
			leader, term := c.l.AwaitLeader(c.Group), c.Term()
			for _, i := range c.others(leader) { // each server has now numbered one request
				c.submit(i, c.note())
			}
			lab.Isolate(c.Group, leader)
			const requests = 12
			var lost []<-chan struct{}
			for range requests {
				time.Sleep(time.Millisecond) // some of them look at the outcome at the right moment
				lost = append(lost, lab.Go(func() {
					if _, err := c.submit(leader, c.note()); err == rpc.OK {
						t.Errorf("Submit succeeded on a leader without a majority")
					}
				}))
			}
			c.l.NewLeader(c.Group, leader, term)
			var notes []Note
			for range requests { // at the same indexes
				notes = append(notes, c.oneAmong(c.others(leader)...))
			}
			c.Heal()
			c.l.Await("the Submits on the old leader, after the partition", lab.OperationLimit, lost...)
			c.agree(c.everyone(), append(notes, c.one())...)
		}
	})
}

// oneAmong is one with the newest leader among the servers ids.
func (c *cluster) oneAmong(ids ...int) Note {
	c.l.T.Helper()
	var note Note
	done := lab.Go(func() {
		for c.l.Open.Err() == nil {
			for _, i := range ids {
				note = c.note()
				if _, err := c.submit(i, note); err == rpc.OK {
					return
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	c.l.Await("a Submit that succeeds", lab.OperationLimit, done)
	return note
}

// TestTermMoves4A cuts the leader off while a request is in progress on it, and submits
// nothing at the next leader. No other request takes the place in the log, so the old
// leader must notice the new term.
func TestTermMoves4A(t *testing.T) {
	run(t, 5, -1, func(t *testing.T, c *cluster) {
		c.one()
		leader, term := c.l.AwaitLeader(c.Group), c.Term()
		friend := c.others(leader)[0]
		lab.Isolate(c.Group, leader, friend)
		lost := lab.Go(func() {
			if _, err := c.submit(leader, c.note()); err == rpc.OK {
				t.Errorf("Submit succeeded on a leader without a majority")
			}
		})
		c.l.NewLeader(c.Group, leader, term)
		c.Heal()
		c.l.Await("the Submit on the old leader, after the partition", lab.OperationLimit, lost)
	})
}

// TestOldLeaderOfManyTerms4A cuts the leader off, and elects several leaders among the
// others before the reunion. The Submit on the first leader ends.
func TestOldLeaderOfManyTerms4A(t *testing.T) {
	run(t, 5, -1, func(t *testing.T, c *cluster) {
		c.one()
		first, term := c.l.AwaitLeader(c.Group), c.Term()
		lab.Isolate(c.Group, first)
		lost := lab.Go(func() {
			if _, err := c.submit(first, c.note()); err == rpc.OK {
				t.Errorf("Submit succeeded on a leader without a majority")
			}
		})
		second := c.l.NewLeader(c.Group, first, term)
		term = c.Term()
		lab.Isolate(c.Group, first, second)
		c.l.NewLeader(c.Group, second, term)
		note := c.oneAmong(c.others(first, second)...)
		c.Heal()
		c.l.Await("the Submit on the first leader", lab.OperationLimit, lost)
		c.agree(c.everyone(), note, c.one())
	})
}

// TestLeaderCrashes4A crashes the leader in the middle of many requests, again and
// again. Every Submit ends, and each request that succeeded is applied once everywhere.
func TestLeaderCrashes4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		rng := testkit.Rand(t)
		var mu sync.Mutex
		var notes []Note
		for range 3 {
			c.one()
			leader := c.l.AwaitLeader(c.Group)
			var done []<-chan struct{}
			for range 20 {
				done = append(done, lab.Go(func() {
					note := c.note()
					if _, err := c.submit(leader, note); err == rpc.OK {
						mu.Lock()
						notes = append(notes, note)
						mu.Unlock()
					}
				}))
			}
			time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
			c.Crash(leader)
			c.l.Await("the Submits on a killed server", lab.OperationLimit, done...)
			mu.Lock()
			notes = append(notes, c.one())
			mu.Unlock()
			c.Start(leader)
		}
		c.agree(c.everyone(), notes...)
	})
}

// TestShutdown4A kills all servers while requests are in progress. Every Submit returns
// ErrWrongLeader, and so does a Submit after the kill.
func TestShutdown4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		c.one()
		leader := c.l.AwaitLeader(c.Group)
		c.Crash(c.others(leader)[0])
		c.Crash(c.others(leader)[1])
		var done []<-chan struct{}
		for range 10 {
			done = append(done, lab.Go(func() {
				if _, err := c.submit(leader, c.note()); err == rpc.OK {
					t.Error("Submit succeeded without a majority")
				}
			}))
		}
		time.Sleep(100 * time.Millisecond)
		c.Crash(leader)
		done = append(done, lab.Go(func() {
			if _, err := c.submit(leader, c.note()); err == rpc.OK {
				t.Error("Submit succeeded on a killed server")
			}
		}))
		c.l.Await("the Submits on killed servers", lab.OperationLimit, done...)
	})
}

// TestRestart4A restarts all servers. Each replays the same requests in the same order,
// and new requests follow.
func TestRestart4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		var notes []Note
		for range 3 {
			for range 10 {
				notes = append(notes, c.one())
			}
			c.CrashAll()
			c.StartAll()
			notes = append(notes, c.one())
			c.agree(c.everyone(), notes...)
		}
	})
}

// TestUnreliable4A submits requests at whichever server leads, on a network that loses
// messages, while partitions come and go.
func TestUnreliable4A(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		c.l.Net.Reliable(false)
		var mu sync.Mutex
		var notes []Note
		stop := make(chan struct{})
		var done []<-chan struct{}
		for i := range c.N() {
			done = append(done, lab.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					note := c.note()
					if _, err := c.submit(i, note); err == rpc.OK {
						mu.Lock()
						notes = append(notes, note)
						mu.Unlock()
					}
				}
			}))
		}
		succeeded := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(notes)
		}
		rng := testkit.Rand(t)
		for round := 0; round < 4 || succeeded() < 10 && round < 30; round++ { // elections may be slow
			lab.Isolate(c.Group, rng.IntN(c.N()))
			time.Sleep(time.Duration(500+rng.IntN(1000)) * time.Millisecond)
			c.Heal()
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		}
		close(stop)
		c.l.Await("the Submits, after the partitions", lab.OperationLimit, done...)
		c.l.Net.Reliable(true)
		c.agree(c.everyone(), append(notes, c.one())...)
		if len(notes) < 10 {
			t.Errorf("only %d requests succeeded", len(notes))
		}
	})
}

// stateBound is a course's bound for the Raft state, in multiples of maxraftstate.
const stateBound = 8

// checkSize ends the test if a server's Raft state is beyond the bound.
func (c *cluster) checkSize(maxraftstate int) {
	c.l.T.Helper()
	for i := range c.N() {
		if size := c.Disk(i).RaftStateSize(); size > stateBound*maxraftstate {
			c.l.T.Fatalf("the Raft state of server %d has %d bytes with maxraftstate %d", i, size, maxraftstate)
		}
	}
}

// TestSnapshots4C submits many requests with a small maxraftstate. The Raft state stays
// small. After a restart each server has the state of the snapshot and the rest of the
// log, and nothing is applied again.
func TestSnapshots4C(t *testing.T) {
	const maxraftstate = 1000
	run(t, 3, maxraftstate, func(t *testing.T, c *cluster) {
		var notes []Note
		for range 3 {
			for range 60 {
				notes = append(notes, c.one())
			}
			c.agree(c.everyone(), notes...)
			time.Sleep(time.Second) // for the snapshots in progress
			c.checkSize(maxraftstate)
			c.CrashAll()
			if c.Disk(0).SnapshotSize() == 0 {
				t.Fatal("no snapshot was taken")
			}
			c.StartAll()
			notes = append(notes, c.one())
			c.agree(c.everyone(), notes...)
		}
	})
}

// TestLeaderSendsItsSnapshot4C cuts a follower off until the log that the follower lacks is
// gone. The snapshot of the leader replaces the state.
func TestLeaderSendsItsSnapshot4C(t *testing.T) {
	const maxraftstate = 1000
	run(t, 3, maxraftstate, func(t *testing.T, c *cluster) {
		notes := []Note{c.one()}
		leader := c.l.AwaitLeader(c.Group)
		slow := c.others(leader)[0]
		lab.Isolate(c.Group, slow)
		for range 80 {
			notes = append(notes, c.oneAmong(c.others(slow)...))
		}
		time.Sleep(time.Second)
		c.checkSize(maxraftstate)
		c.Heal()
		notes = append(notes, c.one())
		c.agree(c.everyone(), notes...)
		if c.journal(slow).restores() == 0 {
			t.Errorf("server %d did not restore the snapshot of the leader", slow)
		}
	})
}

func (j *journal) restores() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.restored
}

// TestNoSnapshots4C sets maxraftstate to -1. No snapshot is taken, and a restart replays
// the whole log.
func TestNoSnapshots4C(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, c *cluster) {
		var notes []Note
		for range 60 {
			notes = append(notes, c.one())
		}
		for i := range c.N() {
			if size := c.Disk(i).SnapshotSize(); size > 0 {
				t.Fatalf("server %d has a snapshot of %d bytes with maxraftstate -1", i, size)
			}
		}
		c.CrashAll()
		c.StartAll()
		notes = append(notes, c.one())
		c.agree(c.everyone(), notes...)
	})
}

// TestLargeRequest4C submits a request that is larger than maxraftstate.
func TestLargeRequest4C(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, c *cluster) {
		c.one()
		leader := c.l.AwaitLeader(c.Group)
		large := c.note()
		large.Pad = tester.Randstring(20_000)
		submit := lab.Go(func() { c.submit(leader, large) })
		c.l.Await("the Submit of a large request", lab.OperationLimit, submit)
		note := c.one()
		c.CrashAll()
		c.StartAll()
		c.agree(c.everyone(), note, c.one())
	})
}
