package rsm

import "fmt"

// receiver is the Replica's side of the log.
type receiver[C, R any] struct{ *Replica[C, R] }

// deliver is the goroutine that applies what the log delivers.
func (r *Replica[C, R]) deliver() {
	if err := r.log.Deliver(receiver[C, R]{r}, r.stop); err != nil {
		r.fail(err)
	}
}

// Apply executes a committed command and settles the submissions that wait for the
// command or for its index.
func (r receiver[C, R]) Apply(index uint64, data []byte) error {
	if index <= r.Applied() {
		return nil // the restored snapshot includes the command
	}
	var req request[C]
	if err := req.decode(data); err != nil {
		return fmt.Errorf("rsm: decoding the command at index %d: %w", index, err)
	}
	if !r.waitForSnapshot() {
		return nil // killed
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	a := r.execute(&req)
	r.removable += cost(data)
	r.mu.Lock()
	r.applied = index
	if s := r.submissions.byID[req.ID]; s != nil {
		r.submissions.settle(s, a)
	}
	r.submissions.overwritten(index) // unless settled just now
	r.mu.Unlock()
	if r.due() {
		r.capture()
	}
	return nil
}

// Install replaces the state by the leader's snapshot.
func (r receiver[C, R]) Install(snapshot []byte) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	return r.restore(snapshot)
}

// execute applies a request at most once, however often it was submitted.
func (r *Replica[C, R]) execute(req *request[C]) (a answer[R]) {
	switch req.Kind {
	case noOp:
	case endSession:
		r.endSession(req.Client)
	default:
		a.result, a.err = r.apply(req)
	}
	return a
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

// apply executes a command unless it has taken effect before. The lock mu is free
// while the machine works. Only the goroutine of deliver changes sessions, so they
// are the same at Lookup and at Record.
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
