package rsm

import "io"

// Replay applies the command at index, for a program that reads a log and runs no server.
// The caller passes the commands behind the snapshot of [New], in their order. A replica
// that replays does not run.
func (r *Replica[C, R]) Replay(index uint64, command []byte) error {
	return receiver[C, R]{r}.Apply(index, command)
}

// WriteSnapshot writes the state as the snapshot of a log up to index, for a program that
// makes a log and runs no server.
func (r *Replica[C, R]) WriteSnapshot(w io.Writer, index uint64) error {
	c := captured[R]{applied: index, sessions: r.sessions, write: r.machine.Snapshot()}
	return c.encode(w)
}
