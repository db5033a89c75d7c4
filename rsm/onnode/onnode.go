// Package onnode runs package rsm on a member of a raft/node group.
//
//	log, err := onnode.Start(host, node.Config{Members: members})
//	replica, err := rsm.New(machine, log.Snapshot(), rsm.Options{SnapshotBytes: 16 << 20})
//	replica.Run(log)
//	defer log.Close()
//
// The replica decides when to take a snapshot. The member saves the snapshot as a
// stream, so a snapshot needs no memory of the size of the state.
package onnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
)

// Log is an [rsm.Log] on a member of a group.
type Log struct {
	member     *node.Node
	noOps      bool          // the member begins its terms with a no-op
	deliveries chan delivery // from the member to Deliver
	delivered  chan struct{} // Deliver has passed a delivery on
	ended      chan struct{} // closed when Deliver has returned
	begun      chan struct{} // closed when the receiver has the state before Deliver

	stopping sync.Once
	stopped  chan struct{} // closed by Stop
	closed   chan struct{} // closed when the member has ended
	closeErr error         // of the member, before closed

	mu         sync.Mutex
	delivering bool   // Deliver was called
	snapshot   []byte // the state before Deliver
}

var (
	_ rsm.Log         = (*Log)(nil)
	_ rsm.ReadIndexer = (*Log)(nil)
	_ rsm.OwnNoOps    = (*Log)(nil)
)

// delivery is a batch of commands, or a snapshot, for the receiver.
type delivery struct {
	commands []node.Command
	snapshot []byte
}

// Start starts the host's member of a group. Start sets cfg.StateMachine, and
// cfg.SnapshotEntries and cfg.SnapshotBytes to -1, because an [rsm.Replica] is the
// state machine and chooses the moments of snapshots. The member applies nothing
// before [Log.Deliver], which [rsm.Replica.Run] calls.
func Start(host *node.Host, cfg node.Config) (*Log, error) {
	if cfg.StateMachine != nil {
		return nil, fmt.Errorf("onnode: %w: Config.StateMachine is a %T; want nil", node.ErrConfig, cfg.StateMachine)
	}
	l := &Log{
		deliveries: make(chan delivery),
		delivered:  make(chan struct{}),
		ended:      make(chan struct{}),
		begun:      make(chan struct{}),
		stopped:    make(chan struct{}),
		closed:     make(chan struct{}),
		noOps:      !cfg.CommandsOnly,
	}
	cfg.StateMachine = (*machine)(l)
	cfg.SnapshotEntries, cfg.SnapshotBytes = -1, -1
	var err error
	l.member, err = host.Start(cfg)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Snapshot returns the state with which the member begins, for [rsm.New], and
// releases the memory of the state. Snapshot returns nil for a group without a
// snapshot.
func (l *Log) Snapshot() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	snapshot := l.snapshot
	l.snapshot = nil
	return snapshot
}

// Node returns the member, for its status, its membership and its reads. Commands
// and snapshots go through the [rsm.Replica].
func (l *Log) Node() *node.Node { return l.member }

// Propose implements [rsm.Log]. A command above node.Config.MaxCommandBytes is
// refused with [rsm.ErrInvalid], and a command beyond node.Config.MaxPendingBytes
// with [rsm.ErrBusy].
func (l *Log) Propose(command []byte) (rsm.Place, error) {
	index, term, err := l.member.Append(command)
	switch {
	case err == nil:
		return rsm.Place{Index: index, Term: term}, nil
	case errors.Is(err, node.ErrNotLeader), errors.Is(err, core.ErrTransferring):
		return rsm.Place{}, rsm.ErrNotLeader
	case errors.Is(err, node.ErrQueueFull):
		return rsm.Place{}, fmt.Errorf("%w: %w", rsm.ErrBusy, err)
	case errors.Is(err, node.ErrTooLarge):
		return rsm.Place{}, fmt.Errorf("%w: %w", rsm.ErrInvalid, err)
	}
	return rsm.Place{}, fmt.Errorf("%w: %w", rsm.ErrStopped, err)
}

// OwnNoOps implements [rsm.OwnNoOps]. A member without node.Config.CommandsOnly has
// no-ops of its own.
func (l *Log) OwnNoOps() bool { return l.noOps }

// Leadership implements [rsm.Log].
func (l *Log) Leadership() rsm.Leadership {
	term, leads := l.member.Leadership()
	return rsm.Leadership{Term: term, Leads: leads}
}

// Changed implements [rsm.Log].
func (l *Log) Changed() <-chan struct{} { return l.member.Changed() }

// ReadIndex implements [rsm.ReadIndexer].
func (l *Log) ReadIndex(ctx context.Context) error {
	_, err := l.member.ReadIndex(ctx)
	if errors.Is(err, node.ErrStopped) {
		return fmt.Errorf("%w: %w", rsm.ErrStopped, err)
	}
	if err != nil {
		return err
	}
	// The member has restored the first snapshot before Deliver, and counts it as applied.
	select {
	case <-l.begun:
		return nil
	case <-l.stopped:
		return rsm.ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Deliver implements [rsm.Log].
func (l *Log) Deliver(r rsm.Receiver, stop <-chan struct{}) error {
	defer close(l.ended)
	l.mu.Lock()
	l.delivering = true
	snapshot := l.snapshot // unless the replica has begun with it
	l.snapshot = nil
	l.mu.Unlock()
	if snapshot != nil {
		if err := r.Install(snapshot); err != nil {
			return err
		}
	}
	close(l.begun)
	for {
		select {
		case <-stop:
			return nil
		case d := <-l.deliveries:
			if err := d.to(r); err != nil {
				return err // the member waits for Stop
			}
			l.delivered <- struct{}{}
		}
	}
}

// to passes a delivery on. A panic of the state machine becomes an error and stops
// the replica, not the process.
func (d delivery) to(r rsm.Receiver) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &node.PanicError{Method: "Apply", Value: fmt.Sprint(v), Stack: debug.Stack()}
		}
	}()
	if d.snapshot != nil {
		return r.Install(d.snapshot)
	}
	for i := range d.commands {
		if err := r.Apply(d.commands[i].Index, d.commands[i].Data); err != nil {
			return err
		}
	}
	return nil
}

// SaveSnapshot implements [rsm.Log]. A snapshot older than the last one of the leader
// is dropped.
func (l *Log) SaveSnapshot(s rsm.Snapshot) (size int, err error) {
	body := &snapshotBody{write: s.Write, size: s.Expected}
	err = l.member.SaveSnapshot(context.Background(), s.Index, body)
	if errors.Is(err, node.ErrNoRoom) {
		return 0, fmt.Errorf("%w: %w", rsm.ErrNoRoom, err)
	}
	// The member stops if the storage fails otherwise, and Node.Err has the cause.
	return body.size, body.err
}

// snapshotBody is a snapshot as an [io.WriterTo]. The error of the state is kept
// apart from errors of the storage.
type snapshotBody struct {
	write func(io.Writer) error
	size  int
	err   error
}

func (b *snapshotBody) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	err := b.write(counted)
	b.size = int(counted.n)
	if counted.err == nil {
		b.err = err
	}
	return counted.n, err
}

// countingWriter counts what is written, and keeps the error of the writer below.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

// Stop implements [rsm.Log]. Stop may be called more than once.
func (l *Log) Stop() {
	l.stopping.Do(func() {
		close(l.stopped)
		go func() { // ends when the member has ended; Close waits for it
			l.closeErr = l.member.Close()
			close(l.closed)
		}()
	})
}

// Close stops the member and returns when the member has ended, with the error of
// [node.Node.Close].
func (l *Log) Close() error {
	l.Stop()
	<-l.closed
	return l.closeErr
}

// machine is a Log as the member's state machine.
type machine Log

// Apply has Deliver pass the commands on, and waits for Deliver.
func (m *machine) Apply(commands []node.Command) { m.hand(delivery{commands: commands}) }

// hand returns when the replica has executed a delivery. The member then counts the
// commands as applied, and reads rely on the count. After Kill or a failure the
// replica executes nothing more and stops the log.
func (m *machine) hand(d delivery) {
	select {
	case m.deliveries <- d:
	case <-m.stopped:
		return
	}
	select {
	case <-m.delivered:
		return
	case <-m.stopped:
	}
	// Deliver may be reading the commands, which the member uses again after Apply.
	select {
	case <-m.delivered:
	case <-m.ended:
	}
}

// Restore has Deliver install a snapshot of the leader. Before Deliver, the snapshot
// becomes the state with which the replica begins.
func (m *machine) Restore(body io.Reader) error {
	var snapshot bytes.Buffer
	if b, ok := body.(node.SnapshotBody); ok {
		snapshot.Grow(int(b.Header().Size) + bytes.MinRead) // growing later would double the memory
	}
	if _, err := snapshot.ReadFrom(body); err != nil {
		return err
	}
	m.mu.Lock()
	delivering := m.delivering
	if !delivering {
		m.snapshot = snapshot.Bytes()
	}
	m.mu.Unlock()
	if delivering {
		m.hand(delivery{snapshot: snapshot.Bytes()})
	}
	return nil
}

// errNodeSnapshot is the answer to Node.Snapshot.
var errNodeSnapshot = errors.New("onnode: the replica takes the snapshots: call rsm.Replica.Snapshot")

// Snapshot is not called: the member has no policy of its own.
func (m *machine) Snapshot() (io.WriterTo, error) { return nil, errNodeSnapshot }

var _ node.StateMachine = (*machine)(nil)
