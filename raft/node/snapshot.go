package node

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"sync/atomic"

	"raftlab/raft/core"
)

// crcTable is the polynomial of [SnapshotHeader.Checksum].
var crcTable = crc64.MakeTable(crc64.ECMA)

// snapshotState measures the need for a snapshot. Only the goroutine that applies
// touches the plain fields.
type snapshotState struct {
	entries int            // applied since the last snapshot
	bytes   int64          // of these
	busy    *atomic.Bool   // from the capture until the snapshot is saved
	saved   *atomic.Uint64 // index of the last snapshot
	size    *atomic.Int64  // of that snapshot
	// before is the index up to which the log goes with the snapshot under way, whatever
	// Config.TrailingEntries says: the entries behind fill SnapshotBytes. 0: none.
	before *atomic.Uint64
}

// startMachine restores the newest snapshot, unless the state machine has the
// state already.
func (n *Node) startMachine(newest SnapshotHeader) error {
	if d, ok := n.machine.(Durable); ok {
		err := n.guard("Applied", func() (err error) { n.included, err = d.Applied(); return err })
		if err != nil {
			return while(err, "reading the applied index of the state machine")
		}
	}
	n.snapshots.size.Store(int64(newest.Size))
	n.snapshots.saved.Store(newest.Index)
	if newest.Index > n.included {
		if _, err := n.restore(); err != nil {
			return err
		}
		n.included = newest.Index
	}
	n.applied.advance(n.included)
	return nil
}

// maybeSnapshot begins a snapshot if enough was applied since the last one.
func (n *Node) maybeSnapshot(job applyJob) {
	s := &n.snapshots
	s.entries += len(job.entries)
	s.bytes += int64(job.bytes)
	if n.own.pending.Load() {
		return // until the next attempt
	}
	byNumber := n.cfg.SnapshotEntries > 0 && s.entries >= n.cfg.SnapshotEntries
	bySize := n.cfg.SnapshotBytes > 0 && s.bytes >= max(n.cfg.SnapshotBytes, s.size.Load())
	if !byNumber && !bySize {
		return
	}
	n.beginSnapshot(job.entries[len(job.entries)-1].Index)
}

// Snapshot takes a snapshot now and returns when the log names it. If a snapshot
// is under way, Snapshot waits for that one. Snapshots are taken without this call
// as [Config.SnapshotEntries] and [Config.SnapshotBytes] say. Its error is ctx's
// cause, or matches [ErrStopped], or [ErrNoRoom] if the disk is full. After a full disk
// the member tries again by itself.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.Barrier(ctx); err != nil {
		return err
	}
	before, postponed := n.snapshots.saved.Load(), n.own.count.Load()
	if before >= n.applied.index.Load() {
		return nil
	}
	if !n.call(func() { n.addApplyJob(applyJob{snapshot: true}) }) {
		return ErrStopped
	}
	return n.await(ctx, func(*core.Core) (bool, error) {
		if n.own.count.Load() > postponed && n.own.err != nil {
			return true, n.own.err
		}
		return n.snapshots.saved.Load() > before, nil
	})
}

// SaveSnapshot saves the state after the command at index, which the service has
// written into body, as the newest snapshot, and drops the log as
// [Config.TrailingEntries] says. SaveSnapshot returns when the log names the
// snapshot or a later one. If the log already names such a snapshot, SaveSnapshot
// writes nothing. SaveSnapshot is for services that choose the moments themselves,
// with [Config.SnapshotEntries] and [Config.SnapshotBytes] at -1. Any goroutine may
// call SaveSnapshot, also while the state machine is in Apply.
//
// The error matches core.ErrCompacted if the log begins behind index already,
// core.ErrNotApplied if the state machine has not been given the command yet,
// [ErrNoRoom] if the disk is full, ctx's cause, or [ErrStopped]. After [ErrNoRoom]
// nothing has changed, and the service tries again later.
func (n *Node) SaveSnapshot(ctx context.Context, index uint64, body io.WriterTo) error {
	if n.cfg.SnapshotEntries != -1 || n.cfg.SnapshotBytes != -1 {
		return fmt.Errorf("%w: SaveSnapshot with Config.SnapshotEntries %d and SnapshotBytes %d; want -1", ErrConfig, n.cfg.SnapshotEntries, n.cfg.SnapshotBytes)
	}
	// Without named the storage would keep a snapshot that the log never names.
	var header core.Snapshot
	var named bool
	err := n.await(context.Background(), func(c *core.Core) (_ bool, err error) { // takes no time
		header, err = c.SnapshotHeader(index)
		if named = n.named >= index; err == nil && !named {
			n.storing.Add(1)
		}
		return true, err
	})
	switch {
	case err != nil:
		return while(err, "saving a snapshot at index %d", index)
	case named:
		return nil
	}
	task := &snapshotTask{node: n, view: body, header: ownHeader(header)}
	saved, err := func() (header SnapshotHeader, err error) {
		defer n.storing.Done() // also if the view ends the goroutine
		n.mustReturn(func() { header, err = task.write() })
		return header, err
	}()
	if err != nil {
		err = while(err, "writing the snapshot at index %d", index)
		if !errors.Is(err, ErrNoRoom) {
			n.stop(err)
		} else {
			n.call(func() { n.reportNoRoom(&n.own, index, err) })
		}
		return err
	}
	if !n.call(func() { n.offerMark(&saved) }) {
		return ErrStopped
	}
	return n.await(ctx, func(*core.Core) (bool, error) { return n.named >= index, nil })
}

// ownHeader is the header of a snapshot of the member's own.
func ownHeader(s core.Snapshot) SnapshotHeader {
	return SnapshotHeader{Index: s.LastIncludedIndex, Term: s.LastIncludedTerm, Configuration: s.Configuration.Encode()}
}

// snapshotTask writes one snapshot of a member's own.
type snapshotTask struct {
	node     *Node
	view     io.WriterTo
	header   SnapshotHeader
	obsolete bool // nothing is left to do but to close the view
}

// beginSnapshot captures the state behind the entry at index, and has it written
// by a goroutine beside, while Apply goes on.
func (n *Node) beginSnapshot(index uint64) {
	if !n.snapshots.busy.CompareAndSwap(false, true) {
		return
	}
	var view io.WriterTo
	err := n.guard("Snapshot", func() (err error) { view, err = n.machine.Snapshot(); return err })
	if err != nil {
		n.snapshots.busy.Store(false)
		n.stop(while(err, "capturing the state at index %d", index))
		return
	}
	before := uint64(0)
	bySize := n.cfg.SnapshotBytes > 0 && n.snapshots.bytes >= n.cfg.SnapshotBytes
	if bySize || n.own.pending.Load() && n.snapshots.before.Load() > 0 {
		before = n.snapshots.saved.Load()
	}
	n.snapshots.before.Store(before)
	n.snapshots.entries, n.snapshots.bytes = 0, 0
	t := &snapshotTask{node: n, view: view}
	if !n.call(func() { t.begin(index) }) {
		n.snapshots.busy.Store(false)
		t.closeView()
	}
}

// begin asks the core for the header, and a goroutine of the background to write.
func (t *snapshotTask) begin(index uint64) {
	n := t.node
	header, err := n.core.SnapshotHeader(index)
	if err != nil { // the leader's snapshot came between
		n.log.Debug("snapshot abandoned", "index", index, "error", err)
		t.obsolete = true
	}
	t.header = ownHeader(header)
	n.storing.Add(1)
	n.host.background.add(t)
}

// closeView ends the use of the view. The view's Close is the service's code, which may
// block, so the goroutine is not the core's.
func (t *snapshotTask) closeView() {
	c, ok := t.view.(io.Closer)
	if !ok {
		return
	}
	err := t.node.guard("Close", c.Close)
	var panicked *PanicError
	switch {
	case errors.As(err, &panicked):
		t.node.stop(while(err, "closing a view of the state"))
	case err != nil:
		t.node.log.Warn("closing a view of the state", "error", err)
	}
}

func (t *snapshotTask) run() {
	n := t.node
	defer n.storing.Done()
	n.mustReturn(func() {
		defer t.closeView() // also if WriteTo ends the goroutine
		t.save()
	})
}

func (t *snapshotTask) save() {
	n := t.node
	if t.obsolete {
		n.snapshots.busy.Store(false)
		return
	}
	header, err := t.write()
	if err != nil {
		err = while(err, "writing the snapshot at index %d", t.header.Index)
		if errors.Is(err, ErrNoRoom) {
			n.own.pending.Store(true) // before busy, so that none begins meanwhile
			n.call(func() { n.postponeSnapshot(t.header.Index, err) })
		} else {
			n.stop(err)
		}
	}
	// The member is busy with the snapshot until the log names it.
	if err != nil || !n.call(func() { n.offerMark(&header) }) {
		n.snapshots.busy.Store(false)
	}
}

func (t *snapshotTask) write() (SnapshotHeader, error) {
	n := t.node
	if d, ok := n.machine.(Durable); ok {
		if err := n.guard("Sync", d.Sync); err != nil {
			return SnapshotHeader{}, err
		}
	}
	w, err := n.host.storage.CreateSnapshot(n.cfg.Group, t.header)
	if err != nil {
		return SnapshotHeader{}, err
	}
	defer w.Abort()
	body := &stoppableWriter{w, n, nil}
	err = n.guard("WriteTo", func() error { _, err := t.view.WriteTo(body); return err })
	switch {
	case body.err != nil: // the view may hide the cause
		return SnapshotHeader{}, body.err
	case err != nil:
		return SnapshotHeader{}, err
	}
	return w.Commit()
}

// stoppableWriter ends the writing of a snapshot when the member stops, and keeps the
// error of the storage.
type stoppableWriter struct {
	io.Writer
	node *Node
	err  error
}

func (w *stoppableWriter) Write(p []byte) (k int, err error) {
	select {
	case <-w.node.done:
		return 0, ErrStopped
	default:
		if k, err = w.Writer.Write(p); err != nil {
			w.err = err
		}
		return k, err
	}
}

// compactionTarget is the index up to which the log can go once a snapshot is saved.
func (n *Node) compactionTarget(header *SnapshotHeader) uint64 {
	target := header.Index - min(header.Index, uint64(max(n.cfg.TrailingEntries, 0)))
	return min(max(target, n.snapshots.before.Load()), header.Index)
}

// offerMark has the next save name a snapshot of the member's own, if no newer one
// waits for that save.
func (n *Node) offerMark(header *SnapshotHeader) {
	if n.snapshotMark == nil || n.snapshotMark.Index < header.Index {
		n.snapshotMark = header
	}
}

// takeMark returns the snapshot of the member's own that the next save names, nil
// for none. A snapshot that is not newer than the leader's is of no use any more.
func (n *Node) takeMark(leaders *core.Snapshot) *SnapshotHeader {
	mark := n.snapshotMark
	n.snapshotMark = nil
	if mark != nil && (leaders != nil || mark.Index <= n.named) {
		n.log.Debug("snapshot abandoned", "index", mark.Index)
		n.snapshots.busy.Store(false)
		return nil
	}
	return mark
}

// compactLog lets the core forget what a saved snapshot stands for.
func (n *Node) compactLog(header *SnapshotHeader) {
	n.snapshots.saved.Store(header.Index)
	n.snapshots.size.Store(int64(header.Size))
	n.endPostponement()
	n.snapshots.busy.Store(false)
	if target := n.compactionTarget(header); target > 0 {
		if err := n.core.Compact(target); err != nil && !errors.Is(err, core.ErrCompacted) {
			n.log.Warn("compaction", "index", target, "error", err)
		}
	}
	n.stats.snapshotsSaved.Add(1)
	n.log.Info("snapshot saved", "index", header.Index, "bytes", header.Size)
	n.host.events.add(Event{Kind: SnapshotSaved, Group: n.cfg.Group, Index: header.Index})
}

// checkedReader reads a snapshot's body and compares the checksum at its end.
type checkedReader struct {
	header SnapshotHeader
	body   *io.SectionReader
	sum    uint64
}

func newCheckedReader(r SnapshotReader) *checkedReader {
	header := r.Header()
	return &checkedReader{header: header, body: io.NewSectionReader(r, 0, int64(header.Size))}
}

func (c *checkedReader) Header() SnapshotHeader { return c.header }

func (c *checkedReader) Read(p []byte) (int, error) {
	k, err := c.body.Read(p)
	c.sum = crc64.Update(c.sum, crcTable, p[:k])
	if err == io.EOF && c.sum != c.header.Checksum {
		err = fmt.Errorf("%w: the snapshot at index %d has checksum %x; want %x", ErrDamaged, c.header.Index, c.sum, c.header.Checksum)
	}
	return k, err
}
