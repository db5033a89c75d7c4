package rsm

import (
	"fmt"

	"raftlab/raft"
)

// applyAll is the goroutine that executes what Raft has committed, in order.
func (r *Replica[C, R]) applyAll(applyCh <-chan raft.ApplyMsg) {
	for {
		demand := r.demand
		if r.encoding {
			demand = nil // one after the other
		}
		select {
		case <-r.stop:
			return
		case size := <-r.encoded:
			r.endSnapshot(size)
			r.maybeSnapshot() // there may have been cause for another meanwhile
		case <-demand:
			r.beginSnapshot()
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
		if err := r.execute(msg.CommandIndex, msg.Command); err != nil {
			return err
		}
		r.maybeSnapshot()
	case msg.SnapshotValid:
		return r.install(msg)
	}
	return nil
}

// execute applies a command and tells whoever waits for it, or for its place in
// the log.
func (r *Replica[C, R]) execute(index int, cmd any) error {
	if index <= r.applied {
		return nil // the snapshot that was restored includes it
	}
	data, ok := cmd.([]byte)
	if !ok {
		return fmt.Errorf("rsm: the command at index %d is a %T, not one of this package's", index, cmd)
	}
	var req request[C]
	if err := req.decode(data); err != nil {
		return fmt.Errorf("rsm: decoding the command at index %d: %w", index, err)
	}
	out := r.perform(&req)
	r.removable += cost(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied = index
	if w := r.waiters.byID[req.ID]; w != nil {
		r.waiters.settle(w, out)
	}
	r.waiters.lose(index) // if it was not this command that was to have it
	return nil
}

// perform carries out a request, once whatever number of times it was submitted.
func (r *Replica[C, R]) perform(req *request[C]) (out outcome[R]) {
	switch req.Kind {
	case beginTerm:
	case endSession:
		r.endSession(req.Client)
	default:
		out.result, out.err = r.apply(req)
	}
	return out
}

func (r *Replica[C, R]) endSession(client uint64) {
	if r.keeper != nil {
		r.keeper.EndSession(client)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions.End(client)
}

// apply executes a command that has not taken effect yet. The lock is not held
// while the machine works: only this goroutine changes sessions, so between
// looking and recording they stay the same.
func (r *Replica[C, R]) apply(req *request[C]) (R, error) {
	if r.keeper != nil {
		return r.keeper.ApplyFor(req.Client, req.Seq, req.Command)
	}
	if req.Client == 0 {
		return r.machine.Apply(req.Command), nil
	}
	result, done, err := r.sessions.Lookup(req.Client, req.Seq)
	if done || err != nil {
		return result, err
	}
	result = r.machine.Apply(req.Command)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions.Record(req.Client, req.Seq, result)
	return result, nil
}
