package rsm

import (
	"fmt"

	"raftlab/raft"
)

// applyAll is the goroutine that executes what Raft has committed, in order.
func (r *Replica[C, R]) applyAll(applyCh <-chan raft.ApplyMsg) {
	for {
		select {
		case <-r.stop:
			return
		case msg := <-applyCh:
			if err := r.applyOne(msg); err != nil {
				r.fail(err)
				return
			}
		}
	}
}

func (r *Replica[C, R]) applyOne(msg raft.ApplyMsg) error {
	switch {
	case msg.CommandValid:
		if err := r.execute(msg); err != nil {
			return err
		}
		r.maybeSnapshot()
	case msg.SnapshotValid:
		return r.install(msg)
	}
	return nil
}

// execute applies a command and tells whoever waits for its place in the log.
func (r *Replica[C, R]) execute(msg raft.ApplyMsg) error {
	data, ok := msg.Command.([]byte)
	if !ok {
		return fmt.Errorf("rsm: the command at index %d is a %T, not one of this package's", msg.CommandIndex, msg.Command)
	}
	var req Request[C]
	if err := unmarshal(data, &req); err != nil {
		return fmt.Errorf("rsm: decoding the command at index %d: %w", msg.CommandIndex, err)
	}
	if msg.CommandIndex <= r.Applied() {
		return nil // the snapshot that was restored includes it
	}
	out := r.perform(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied = msg.CommandIndex
	if w := r.waiting[req.ID]; w != nil {
		w.finish(out)
	}
	if w := r.placedAt[msg.CommandIndex]; w != nil {
		w.finish(outcome[R]{err: ErrLost}) // another command took its place
	}
	return nil
}

// perform executes a request once, whatever number of times it was submitted.
func (r *Replica[C, R]) perform(req Request[C]) (out outcome[R]) {
	switch {
	case req.Kind == beginTerm:
		return out
	case req.Kind == endSession:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions.End(req.Client)
		return out
	case req.Client == 0:
		out.result = r.machine.Apply(req.Command)
		return out
	}
	r.mu.Lock()
	result, verdict := r.sessions.Lookup(req.Client, req.Seq)
	r.mu.Unlock()
	switch verdict {
	case Fresh:
		out.result = r.machine.Apply(req.Command)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions.Record(req.Client, req.Seq, out.result)
	case Duplicate:
		out.result = result
	case Stale:
		out.err = ErrStale
	case Expired:
		out.err = ErrSessionExpired
	}
	return out
}

// image is a snapshot as it is saved.
type image[R any] struct {
	Applied  int
	Used     uint64
	Sessions []last[R]
	State    []byte
}

// maybeSnapshot begins a snapshot if Raft's state has grown to the bound. The
// state is captured here; it is encoded and saved by a goroutine beside, one at
// a time, so the service goes on meanwhile.
func (r *Replica[C, R]) maybeSnapshot() {
	if r.opts.MaxRaftState <= 0 || r.opts.StateSize() < r.opts.MaxRaftState {
		return
	}
	applied, sessions, ok := r.beginSnapshot()
	if !ok {
		return
	}
	encodeState := r.machine.Snapshot()
	r.running.Go(func() {
		defer r.endSnapshot()
		data, err := encodeImage(applied, sessions, encodeState)
		if err != nil {
			r.fail(fmt.Errorf("rsm: encoding the state at index %d: %w", applied, err))
			return
		}
		r.rf.Snapshot(applied, data)
		r.log.Debug("snapshot", "index", applied, "bytes", len(data))
	})
}

// beginSnapshot says false if a snapshot is under way, or would be the last one again.
func (r *Replica[C, R]) beginSnapshot() (applied int, sessions *Sessions[R], ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.encoding || r.applied == r.snapshotAt {
		return 0, nil, false
	}
	r.encoding, r.snapshotAt = true, r.applied
	return r.applied, r.sessions.Copy(), true
}

func (r *Replica[C, R]) endSnapshot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.encoding = false
}

func encodeImage[R any](applied int, sessions *Sessions[R], encodeState func() ([]byte, error)) ([]byte, error) {
	state, err := encodeState()
	if err != nil {
		return nil, err
	}
	return marshal(&image[R]{Applied: applied, Used: sessions.used, Sessions: sessions.records(), State: state})
}

// install switches to a snapshot that came from the leader.
func (r *Replica[C, R]) install(msg raft.ApplyMsg) error {
	if conditional, ok := r.rf.(interface {
		CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool
	}); ok && !conditional.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
		return nil
	}
	return r.restore(msg.Snapshot)
}

// restore puts a saved image in the place of the state. One that is not newer
// than the state is ignored. Whoever waits for a command in it will not see it
// applied, and cannot know its result from here.
func (r *Replica[C, R]) restore(snapshot []byte) error {
	var img image[R]
	if err := unmarshal(snapshot, &img); err != nil {
		return fmt.Errorf("rsm: decoding a snapshot of %d bytes: %w", len(snapshot), err)
	}
	if img.Applied <= r.Applied() {
		return nil
	}
	if err := r.machine.Restore(img.State); err != nil {
		return fmt.Errorf("rsm: restoring the state at index %d: %w", img.Applied, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.sessions.load(img.Used, img.Sessions); err != nil {
		return err
	}
	r.applied, r.snapshotAt = img.Applied, img.Applied
	for index, w := range r.placedAt {
		if index <= r.applied {
			w.finish(outcome[R]{err: ErrLost})
		}
	}
	return nil
}
