package rsm

import (
	"bytes"
	"fmt"
	"io"
	"runtime"

	"raftlab/internal/msgpack"
	"raftlab/raft"
)

// imageHead begins a saved snapshot; what the StateMachine wrote follows it.
type imageHead[R any] struct {
	Format   uint8
	Applied  int // index of the last command that the state includes
	Sessions []Session[R]
}

// imageFormat is the encoding that this file writes and reads.
const imageFormat = 1

// applyAhead bounds what is applied while a snapshot is encoded and saved, in
// multiples of Options.SnapshotBytes, unless more is needed for the next snapshot.
const applyAhead = 2

// maxFirstImage bounds the memory that is set aside for a snapshot, beyond twice the
// last one, in bytes. Many commands may have left a small state.
const maxFirstImage = 16 << 20

// entryOverhead is about what a Raft stores with each command, in bytes.
const entryOverhead = 16

// cost is about what a command takes in Raft's state, in bytes.
func cost(data []byte) int { return len(data) + entryOverhead }

// snapshotAfter returns the size of the applied commands from which on a snapshot
// is taken; 0: never.
func (r *Replica[C, R]) snapshotAfter() int {
	if r.opts.SnapshotBytes <= 0 {
		return 0
	}
	return max(r.opts.SnapshotBytes, int(r.opts.SnapshotGrowth*float64(r.imageSize)))
}

// maybeSnapshot begins a snapshot if enough was applied since the last one.
// Commands that are in the log and not applied do not count: a snapshot would
// not remove them, and a server that is behind would take one for each command.
func (r *Replica[C, R]) maybeSnapshot() {
	if r.encoding && r.due() && r.removable >= applyAhead*r.opts.SnapshotBytes {
		select {
		case size := <-r.encoded:
			r.endSnapshot(size)
		case <-r.stop:
		}
	}
	if !r.encoding && r.due() {
		r.beginSnapshot()
	}
}

// due says whether enough was applied since the last snapshot for another.
func (r *Replica[C, R]) due() bool {
	limit := r.snapshotAfter()
	return limit > 0 && r.removable >= limit
}

// beginSnapshot captures the state, which is quick. It is encoded and saved by a
// goroutine beside, one at a time, so the service goes on meanwhile.
func (r *Replica[C, R]) beginSnapshot() {
	if r.applied == r.snapshotAt {
		return
	}
	expected := r.imageSize + min(r.removable, r.imageSize+maxFirstImage)
	r.encoding, r.snapshotAt, r.removable, r.imageSize = true, r.applied, 0, expected
	r.mu.Lock()
	sessions := r.sessions.Copy()
	r.mu.Unlock()
	applied, write := r.applied, r.machine.Snapshot()
	r.running.Go(func() { r.encoded <- r.saveSnapshot(applied, expected, sessions, write) })
}

// endSnapshot notes that the snapshot under way is saved.
func (r *Replica[C, R]) endSnapshot(size int) { r.encoding, r.imageSize = false, size }

// saveSnapshot encodes a captured state and hands it to Raft. It returns the
// snapshot's size, which is likely the expected one or less.
func (r *Replica[C, R]) saveSnapshot(applied, expected int, sessions *Sessions[R], write func(io.Writer) error) int {
	var image bytes.Buffer
	image.Grow(expected) // growing later would double the memory
	err := msgpack.Write(&image, &imageHead[R]{imageFormat, applied, sessions.Records()})
	if err == nil {
		err = write(considerate{&image})
	}
	if err != nil {
		r.fail(fmt.Errorf("rsm: encoding the state at index %d: %w", applied, err))
		return 0
	}
	r.rf.Snapshot(applied, image.Bytes())
	r.log.Debug("snapshot", "index", applied, "bytes", image.Len())
	return image.Len()
}

// considerate is a writer that lets others run before each write, so that a
// long snapshot does not keep a processor from requests that take microseconds.
type considerate struct{ w io.Writer }

func (c considerate) Write(p []byte) (int, error) {
	runtime.Gosched()
	return c.w.Write(p)
}

// install switches to a snapshot that came from the leader. Where Raft is to be
// asked first (the lab until 2021), it is.
func (r *Replica[C, R]) install(msg raft.ApplyMsg) error {
	conditional, ok := r.rf.(interface {
		CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool
	})
	if ok && !conditional.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
		return nil
	}
	return r.restore(msg.Snapshot)
}

// restore puts a saved image in the place of the state. One that is not newer
// than the state is ignored. Whoever waits for a command in it will not see it
// applied, and cannot know its result from here.
func (r *Replica[C, R]) restore(image []byte) error {
	head, state, err := decodeImage[R](image)
	if err != nil {
		return fmt.Errorf("rsm: decoding a snapshot of %d bytes: %w", len(image), err)
	}
	if head.Applied <= r.applied {
		return nil
	}
	if err := r.machine.Restore(state); err != nil {
		return fmt.Errorf("rsm: restoring the state at index %d: %w", head.Applied, err)
	}
	sessions := NewSessions[R](r.opts.MaxSessions)
	sessions.Merge(head.Sessions)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = sessions
	r.applied, r.snapshotAt, r.removable, r.imageSize = head.Applied, head.Applied, 0, len(image)
	r.waiters.release(ErrLost, func(at place) bool { return at.term != 0 && at.index <= head.Applied })
	return nil
}

func decodeImage[R any](image []byte) (head imageHead[R], state []byte, err error) {
	state, err = msgpack.DecodeVersion(image, imageFormat, &head)
	if err != nil {
		return head, nil, err
	}
	if head.Applied < 1 {
		return head, nil, fmt.Errorf("it ends at index %d", head.Applied)
	}
	return head, state, nil
}
