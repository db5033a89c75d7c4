package rsm

// Replay applies the command at index, for a program that reads a log and runs no server.
// The caller passes the commands behind the snapshot of [New], in their order. A replica
// that replays does not run.
func (r *Replica[C, R]) Replay(index uint64, command []byte) error {
	return receiver[C, R]{r}.Apply(index, command)
}
