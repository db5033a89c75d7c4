package rsm

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"raftlab/internal/msgpack"
)

// header begins a snapshot. The body, written by the StateMachine, follows.
type header[R any] struct {
	Format   uint8
	Applied  uint64 // index of the last command that the state includes
	Sessions []Session[R]
}

// snapshotFormat is the version of the format that this file writes and reads.
const snapshotFormat = 1

const (
	// applyAhead bounds the commands that are applied while a snapshot is encoded and
	// saved, in multiples of Options.SnapshotBytes. The bound is larger if the next
	// snapshot needs more.
	applyAhead = 2
	// entryOverhead is an estimate of the bytes that a log stores with each command.
	entryOverhead = 16
	// maxFirstSnapshot bounds the memory that is set aside for a snapshot beyond twice
	// the size of the last one. Many commands may have left a small state.
	maxFirstSnapshot = 16 << 20
)

// cost returns about the bytes of a command in the log.
func cost(data []byte) int { return len(data) + entryOverhead }

// captured is a state that is to be encoded and saved.
type captured[R any] struct {
	applied  uint64
	sessions *Sessions[R]
	write    func(io.Writer) error
	expected int // likely size of the snapshot, or more

	// These are the replica's fields before the capture.
	demanded      bool
	snapshotIndex uint64
	removable     int
	snapshotSize  int
}

// due reports whether enough was applied since the last snapshot for another one.
// Commands that are in the log and not applied do not count. A snapshot would not
// remove them, and a server that is behind would take one snapshot for each
// command.
func (r *Replica[C, R]) due() bool {
	if r.opts.SnapshotBytes <= 0 {
		return false
	}
	growth := int(r.opts.SnapshotGrowth * float64(r.snapshotSize))
	return r.removable >= max(r.opts.SnapshotBytes, growth)
}

// waitForSnapshot waits while a snapshot is encoded if the commands that were
// applied meanwhile have reached the bound. It returns false after Kill.
func (r *Replica[C, R]) waitForSnapshot() bool {
	for {
		r.applying.Lock()
		saved := r.saved
		free := saved == nil || !r.due() || r.removable < applyAhead*r.opts.SnapshotBytes
		r.applying.Unlock()
		if free {
			return true
		}
		select {
		case <-saved:
		case <-r.stop:
			return false
		}
	}
}

// capture passes the current state to the goroutine of saveSnapshots, unless a
// snapshot is in progress or nothing was applied since the last one. Capturing
// takes constant time. The lock applying is held.
func (r *Replica[C, R]) capture() {
	if r.saved != nil || r.postponed {
		return
	}
	if r.applied == r.snapshotIndex {
		r.demanded = false
		return
	}
	c := captured[R]{
		applied:  r.applied,
		write:    r.machine.Snapshot(),
		expected: r.snapshotSize + min(r.removable, r.snapshotSize+maxFirstSnapshot),
		demanded: r.demanded, snapshotIndex: r.snapshotIndex, removable: r.removable, snapshotSize: r.snapshotSize,
	}
	r.demanded = false
	r.mu.Lock()
	c.sessions = r.sessions.Copy()
	r.mu.Unlock()
	r.saved = make(chan struct{})
	r.snapshotIndex, r.removable, r.snapshotSize = r.applied, 0, c.expected
	r.toSave <- c // has room: one snapshot is in progress at a time
}

// Snapshot requests a snapshot of the current state, whatever SnapshotBytes says,
// and returns without waiting. If a snapshot is in progress, another one follows.
func (r *Replica[C, R]) Snapshot() {
	r.applying.Lock()
	defer r.applying.Unlock()
	r.demanded, r.postponed = true, false
	r.capture()
}

// saveSnapshots is the goroutine that encodes and saves captured states, while the
// service goes on.
func (r *Replica[C, R]) saveSnapshots() {
	wait := time.Duration(0) // from a snapshot without room to the next attempt
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case c := <-r.toSave:
			size, err := r.log.SaveSnapshot(Snapshot{Index: c.applied, Expected: c.expected, Write: c.encode})
			switch {
			case errors.Is(err, ErrNoRoom):
				wait = min(max(2*wait, firstRetry), lastRetry)
				r.logger.Warn("the disk has no room for a snapshot; the log stays", "index", c.applied, "again in", wait, "error", err)
				r.postponeSnapshot(&c)
				retry.Reset(wait)
			case err != nil:
				r.fail(fmt.Errorf("rsm: encoding the state at index %d: %w", c.applied, err))
				return
			default:
				wait = 0
				retry.Stop()
				r.logger.Debug("snapshot", "index", c.applied, "bytes", size)
				r.endSnapshot(size)
			}
		case <-retry.C:
			r.retrySnapshot()
		case <-r.stop:
			return
		}
	}
}

// firstRetry and lastRetry are the shortest and the longest time from a snapshot without
// room to the next attempt. The time doubles with each attempt.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// postponeSnapshot takes a capture back whose snapshot found no room. The replica applies
// commands meanwhile, and the log grows.
func (r *Replica[C, R]) postponeSnapshot(c *captured[R]) {
	r.applying.Lock()
	defer r.applying.Unlock()
	close(r.saved)
	r.saved, r.postponed = nil, true
	if r.snapshotIndex == c.applied { // no snapshot of the leader has come
		r.snapshotIndex, r.snapshotSize = c.snapshotIndex, c.snapshotSize
		r.removable += c.removable
		r.demanded = r.demanded || c.demanded
	}
}

// retrySnapshot takes a postponed snapshot if one is still due.
func (r *Replica[C, R]) retrySnapshot() {
	r.applying.Lock()
	defer r.applying.Unlock()
	r.postponed = false
	if r.demanded || r.due() {
		r.capture()
	}
}

// endSnapshot makes way for the next snapshot, which may be due already.
func (r *Replica[C, R]) endSnapshot(size int) {
	r.applying.Lock()
	defer r.applying.Unlock()
	close(r.saved)
	r.saved, r.snapshotSize = nil, size
	if r.demanded || r.due() {
		r.capture()
	}
}

func (c *captured[R]) encode(w io.Writer) error {
	err := msgpack.Write(w, &header[R]{snapshotFormat, c.applied, c.sessions.Records()})
	if err == nil {
		err = c.write(yielding{w})
	}
	return err
}

// yielding is a writer that yields the processor before each write. Requests that
// take microseconds then do not wait for a snapshot that takes seconds.
type yielding struct{ w io.Writer }

func (y yielding) Write(p []byte) (int, error) {
	runtime.Gosched()
	return y.w.Write(p)
}

// restore replaces the state by a snapshot, unless the state is as new. The
// submissions in the snapshot are lost: they will not be applied here, so this
// server does not know their results. The lock applying is held, or the replica
// does not run yet.
func (r *Replica[C, R]) restore(snapshot []byte) error {
	h, body, err := decodeSnapshot[R](snapshot)
	if err != nil {
		return fmt.Errorf("rsm: decoding a snapshot of %d bytes: %w", len(snapshot), err)
	}
	if h.Applied <= r.applied {
		return nil
	}
	if err := r.machine.Restore(body); err != nil {
		return fmt.Errorf("rsm: restoring the state at index %d: %w", h.Applied, err)
	}
	sessions := NewSessions[R](r.opts.MaxSessions)
	sessions.Merge(h.Sessions)
	r.snapshotIndex, r.removable, r.snapshotSize = h.Applied, 0, len(snapshot)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions, r.applied = sessions, h.Applied
	r.submissions.settleAll(ErrLost, func(p Place) bool { return p.Term != 0 && p.Index <= h.Applied })
	return nil
}

func decodeSnapshot[R any](snapshot []byte) (h header[R], body []byte, err error) {
	body, err = msgpack.DecodeVersion(snapshot, snapshotFormat, &h)
	if err == nil && h.Applied < 1 {
		err = fmt.Errorf("the state ends at index %d; want at least 1", h.Applied)
	}
	return h, body, err
}
