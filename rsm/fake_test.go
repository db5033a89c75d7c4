package rsm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// fakeRaft is a Raft whose every move is the test's.
type fakeRaft struct {
	applyCh chan raft.ApplyMsg
	stop    chan struct{} // closed by Kill

	mu        sync.Mutex
	term      int
	leads     bool
	log       []any // as proposed; log[i] is at index i+1
	changed   chan struct{}
	killed    int
	installed [][]byte                  // snapshots that the replica gave
	indexes   []int                     // and their indexes
	onStart   func(f *fakeRaft, at int) // called in Start, after the command has its place
	proposed  chan struct{}             // capacity 1: the log has grown
}

func newFake() *fakeRaft {
	return &fakeRaft{
		applyCh:  make(chan raft.ApplyMsg),
		stop:     make(chan struct{}),
		changed:  make(chan struct{}),
		proposed: make(chan struct{}, 1),
	}
}

func (f *fakeRaft) Start(command any) (int, int, bool) {
	f.mu.Lock()
	if !f.leads {
		defer f.mu.Unlock()
		return -1, f.term, false
	}
	f.log = append(f.log, command)
	at, term, hook := len(f.log), f.term, f.onStart
	f.mu.Unlock()
	select {
	case f.proposed <- struct{}{}:
	default:
	}
	if hook != nil {
		hook(f, at)
	}
	return at, term, true
}

func (f *fakeRaft) GetState() (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.term, f.leads
}

func (f *fakeRaft) Snapshot(index int, snapshot []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installed = append(f.installed, snapshot)
	f.indexes = append(f.indexes, index)
}

func (f *fakeRaft) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.killed++; f.killed == 1 {
		close(f.stop)
	}
}

// waitKilled waits until the server was killed, once.
func (f *fakeRaft) waitKilled(t *testing.T) {
	t.Helper()
	testkit.WaitFor(t, time.Second, "Raft's end", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.killed == 1
	})
}

func (f *fakeRaft) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// set changes term and leadership.
func (f *fakeRaft) set(term int, leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.term, f.leads = term, leads
	close(f.changed)
	f.changed = make(chan struct{})
}

// lead makes the server the leader of a term and commits the command that the
// replica begins it with. It returns that command's index.
func (f *fakeRaft) lead(t *testing.T, term int) int {
	t.Helper()
	before := f.length()
	f.set(term, true)
	f.waitLength(t, before+1)
	f.commit(before + 1)
	return before + 1
}

func (f *fakeRaft) length() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

func (f *fakeRaft) waitLength(t *testing.T, n int) {
	t.Helper()
	testkit.WaitFor(t, 5*time.Second, fmt.Sprintf("%d commands in the log", n), func() bool { return f.length() >= n })
}

// at returns the command at an index.
func (f *fakeRaft) at(index int) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log[index-1]
}

// commit puts the command at an index on applyCh.
func (f *fakeRaft) commit(index int) { f.apply(index, f.at(index)) }

// apply puts any command on applyCh.
func (f *fakeRaft) apply(index int, command any) {
	f.send(raft.ApplyMsg{CommandValid: true, Command: command, CommandIndex: index})
}

func (f *fakeRaft) send(msg raft.ApplyMsg) {
	select {
	case f.applyCh <- msg:
	case <-f.stop:
	}
}

// install puts a snapshot on applyCh.
func (f *fakeRaft) install(index int, snapshot []byte) {
	f.send(raft.ApplyMsg{SnapshotValid: true, Snapshot: snapshot, SnapshotIndex: index, SnapshotTerm: 1})
}

// snapshots returns how many the replica has given, and the last one with its index.
func (f *fakeRaft) snapshots() (n, index int, last []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = len(f.installed); n > 0 {
		index, last = f.indexes[n-1], f.installed[n-1]
	}
	return n, index, last
}

// commitAll makes the server the leader of term 1 with a log that goes on after
// index, and commits what is proposed.
func (f *fakeRaft) commitAll(index int) {
	f.mu.Lock()
	f.log = make([]any, index)
	f.mu.Unlock()
	go func() {
		for next := index + 1; ; {
			select {
			case <-f.proposed:
			case <-f.stop:
				return
			}
			for ; next <= f.length(); next++ {
				f.commit(next)
			}
		}
	}()
	f.set(1, true)
}

// silent hides Changed.
type silent struct{ labraft.Raft }

// add is the command of an account, sum its result.
type (
	add struct{ Amount int }
	sum struct{ Total, Adds int }
)

// account is a StateMachine that adds.
type account struct {
	state   sum
	gate    chan struct{} // if not nil, writing a snapshot waits for a token
	fail    error         // of writing a snapshot
	padding int           // bytes of a snapshot beyond what there is to write
}

func (a *account) Apply(c add) sum {
	a.state.Total += c.Amount
	a.state.Adds++
	return a.state
}

func (a *account) Snapshot() func(io.Writer) error {
	state := a.state
	return func(w io.Writer) error {
		if a.gate != nil {
			<-a.gate
		}
		if a.fail != nil {
			return a.fail
		}
		if err := binary.Write(w, binary.BigEndian, []int64{int64(state.Total), int64(state.Adds)}); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, a.padding))
		return err
	}
}

var errBadState = errors.New("account: bad state")

func (a *account) Restore(snapshot []byte) error {
	if len(snapshot) != 16+a.padding {
		return fmt.Errorf("%w: %d bytes", errBadState, len(snapshot))
	}
	a.state = sum{int(binary.BigEndian.Uint64(snapshot)), int(binary.BigEndian.Uint64(snapshot[8:]))}
	return nil
}

type replica = rsm.Replica[add, sum]

// start runs a replica of machine over a fake Raft until the test ends.
func start(t *testing.T, machine rsm.StateMachine[add, sum], snapshot []byte, opts rsm.Options) (*replica, *fakeRaft) {
	t.Helper()
	r, err := rsm.New(machine, snapshot, opts)
	require.NoError(t, err)
	f := newFake()
	r.Run(labraft.New(f, f.applyCh))
	t.Cleanup(func() { stop(r) })
	return r, f
}

func stop(r *replica) {
	r.Kill()
	r.Wait()
}

// reply is what came of a Submit in a goroutine.
type reply struct {
	sum sum
	err error
}

// submit submits in a goroutine.
func submit(t *testing.T, r *replica, client, seq uint64, amount int) <-chan reply {
	ch := make(chan reply, 1)
	go func() {
		s, err := r.Submit(t.Context(), client, seq, add{amount})
		ch <- reply{s, err}
	}()
	return ch
}

// want waits for a reply and compares it.
func want(t *testing.T, ch <-chan reply, total int, err error) {
	t.Helper()
	select {
	case got := <-ch:
		if !errors.Is(got.err, err) || err == nil && got.sum.Total != total {
			t.Fatalf("Submit returned %+v, %v; want a total of %d, error %v", got.sum, got.err, total, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("Submit did not return; want a total of %d, error %v", total, err)
	}
}

// still fails if there is a reply.
func still(t *testing.T, ch <-chan reply) {
	t.Helper()
	select {
	case got := <-ch:
		t.Fatalf("Submit returned %+v, %v too early", got.sum, got.err)
	case <-time.After(200 * time.Millisecond):
	}
}

// appliedBy returns a replica's index of the last command in the state.
func appliedBy(r *replica) int { return int(r.Applied()) }
