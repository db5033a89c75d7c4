package node

import (
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"time"

	"raftlab/raft/core"
)

// incomingSnapshot is a snapshot that the leader is sending. Only the goroutine of
// the member's save under way touches the fields, between saves the goroutine with
// the baton, and awaitStorage after all saves.
type incomingSnapshot struct {
	writer   SnapshotWriter // nil: none is under way
	header   SnapshotHeader // of the snapshot that writer writes
	size     uint64         // written so far
	checksum uint64         // of that part
	noRoom   bool           // the disk had no room for a chunk, so the rest is of no use
}

// fileTask is a save with a file of the leader's snapshot. Chunks are written, and a
// complete snapshot is committed, before the rest of the save is handed to the saver.
type fileTask save

func (t *fileTask) run() {
	defer t.node.storing.Done()
	t.node.mustReturn((*save)(t).saveFiles)
}

func (s *save) saveFiles() {
	n := s.node
	if err := s.writeFiles(); err != nil {
		n.stop(while(err, "writing the leader's snapshot"))
		return
	}
	if !s.empty() {
		n.host.saver.add(s, nil)
		return
	}
	var b batcher
	b.add(n, s.ready.AfterSave)
	b.send(n.host.transport)
	s.done()
}

// writeFiles commits the complete snapshot that the save names, and writes the chunks.
func (s *save) writeFiles() error {
	in := &s.node.incoming
	if s.ready.Snapshot != nil {
		// The core has given the log up for the snapshot, so no error can be retried.
		header, err := in.writer.Commit()
		if err != nil {
			return err
		}
		in.writer, s.leaders = nil, &header
	}
	for i := range s.ready.Chunks {
		err := s.writeChunk(&s.ready.Chunks[i])
		switch {
		case errors.Is(err, ErrNoRoom):
			in.abort()
			in.noRoom = true
			s.noRoom = while(err, "writing the leader's snapshot")
		case err != nil:
			return err
		}
	}
	return nil
}

// writeChunk writes one piece to the snapshot's file. The last piece finishes the file,
// and does not commit the file, because the core may have the entries up to the
// snapshot's end by now.
func (s *save) writeChunk(c *core.SnapshotChunk) error {
	n := s.node
	in := &n.incoming
	if c.Offset == 0 {
		in.abort()
		header := SnapshotHeader{
			Index: c.Snapshot.LastIncludedIndex, Term: c.Snapshot.LastIncludedTerm,
			Configuration: c.Snapshot.Configuration.Encode(),
			Size:          c.Size, Checksum: c.Checksum,
		}
		*in = incomingSnapshot{header: header}
		w, err := n.host.storage.CreateSnapshot(n.cfg.Group, header)
		if err != nil {
			return err
		}
		in.writer = w
	}
	if in.writer == nil && in.noRoom {
		s.rejected = true
		return nil
	}
	if in.writer == nil {
		return fmt.Errorf("a chunk at %d follows no beginning", c.Offset)
	}
	if _, err := in.writer.Write(c.Data); err != nil {
		return err
	}
	in.size += uint64(len(c.Data))
	in.checksum = crc64.Update(in.checksum, crcTable, c.Data)
	if !c.Done {
		return nil
	}
	if in.size != c.Size || in.checksum != c.Checksum {
		n.log.Warn("the leader's snapshot was damaged on its way", "index", in.header.Index,
			"bytes", in.size, "want", c.Size, "checksum", in.checksum, "wanted", c.Checksum)
		s.rejected = true
		in.abort()
		return nil
	}
	return in.writer.Finish()
}

func (in *incomingSnapshot) abort() {
	if in.writer != nil {
		in.writer.Abort()
		in.writer = nil
	}
}

// abortTask discards a snapshot that the leader has sent in vain.
type abortTask struct {
	node   *Node
	writer SnapshotWriter
}

func (t *abortTask) run() {
	defer t.node.storing.Done()
	t.writer.Abort()
}

// dropOvertaken discards what the leader has sent of a snapshot if the member has
// meanwhile committed the entries up to the snapshot's end. The caller has the baton.
func (n *Node) dropOvertaken() {
	in := &n.incoming
	if n.saving != nil || in.writer == nil || in.header.Index > n.core.Status().CommitIndex {
		return
	}
	n.log.Info("the log has overtaken the leader's snapshot", "index", in.header.Index)
	n.storing.Add(1)
	n.host.chunks.add(&abortTask{n, in.writer})
	in.writer = nil
}

// outgoingSnapshot is a snapshot on its way to one member. The snapshot stays open
// from chunk to chunk, so that a newer snapshot does not end the transfer.
type outgoingSnapshot struct {
	reader SnapshotReader
	header SnapshotHeader
	used   time.Time // when the last chunk was sent
	due    time.Time // when the next one may be sent

	// Node.mu guards the other fields.
	busy  bool        // a task uses the fields, or waits for its time
	pause *time.Timer // adds the task when the chunk is due; nil if there was no need to wait
}

// sendChunkTask reads a chunk and sends it.
type sendChunkTask struct {
	node *Node
	to   core.NodeID
	body core.InstallSnapshot
	out  *outgoingSnapshot
}

// completesLater takes over messages with content from the storage, so that the
// core's goroutine does not wait for the disk.
func (n *Node) completesLater(m core.Message) bool {
	body, ok := m.Body.(*core.InstallSnapshot)
	if !ok {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.outgoing[m.To]
	if out == nil {
		out = &outgoingSnapshot{}
		n.outgoing[m.To] = out
	}
	if n.closed || out.busy {
		return true // the core sends again
	}
	out.busy = true
	n.storing.Add(1)
	out.schedule(n.host, &sendChunkTask{n, m.To, *body, out})
	return true
}

// schedule has a chunk sent when [Config.SnapshotRate] allows the chunk. No goroutine
// waits meanwhile.
func (out *outgoingSnapshot) schedule(h *Host, t *sendChunkTask) {
	out.pause = nil
	if wait := time.Until(out.due); wait > 0 {
		out.pause = time.AfterFunc(wait, func() { h.chunks.add(t) })
		return
	}
	h.chunks.add(t)
}

// charge puts off the next chunk for as long as this one's bytes take at the rate.
func (out *outgoingSnapshot) charge(rate, bytes int) {
	if rate > 0 {
		took := time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
		out.due = time.Now().Add(took)
	}
}

func (t *sendChunkTask) run() {
	n := t.node
	defer n.storing.Done()
	var err error
	n.mustReturn(func() { err = t.send() })
	n.mu.Lock()
	stopped := n.closed
	t.out.busy = stopped
	n.mu.Unlock()
	if stopped {
		t.out.close()
	}
	switch {
	case errors.Is(err, ErrDamaged):
		n.stop(while(err, "reading the snapshot to send"))
	case err != nil:
		n.log.Warn("sending a snapshot", "to", uint64(t.to), "error", err)
	}
}

func (t *sendChunkTask) send() error {
	n, out, body := t.node, t.out, &t.body
	if out.reader == nil || body.Offset == 0 || body.LastIncludedIndex != out.header.Index {
		if err := t.open(); err != nil {
			return err
		}
	}
	size := out.header.Size
	body.Offset = min(body.Offset, size)
	length := min(t.chunkBytes(), size-body.Offset)
	body.Data = make([]byte, length)
	if _, err := out.reader.ReadAt(body.Data, int64(body.Offset)); err != nil && err != io.EOF {
		return err
	}
	body.LastIncludedIndex, body.LastIncludedTerm = out.header.Index, out.header.Term
	body.Size, body.Checksum = size, out.header.Checksum
	body.Done = body.Offset+length == size
	if data := out.header.Configuration; len(data) > 0 {
		var err error
		if body.Configuration, err = core.DecodeConfiguration(data); err != nil {
			return fmt.Errorf("%w: the snapshot at index %d: %w", ErrDamaged, out.header.Index, err)
		}
	}
	out.used = time.Now()
	n.stats.snapshotBytesSent.Add(int64(length))
	out.charge(n.cfg.SnapshotRate, int(length))
	n.traceSent(t.to, body)
	n.host.transport.Send(t.to, []Message{{Group: n.cfg.Group, Body: body}})
	return nil
}

// chunkOverhead is more than a chunk's message occupies beside the data and the
// configuration.
const chunkOverhead = 512

// chunkBytes returns the size of a chunk for which the transport to the member has
// room. A message with a configuration too large for the transport has one byte of
// data, and the transport reports the message.
func (t *sendChunkTask) chunkBytes() uint64 {
	size := t.node.cfg.SnapshotChunkBytes
	if limit := t.node.host.maxMessageBytes(t.to); limit > 0 {
		size = min(size, max(limit-chunkOverhead-2*len(t.out.header.Configuration), 1))
	}
	return uint64(size)
}

// open opens the newest snapshot. If the member has the beginning of another
// snapshot, the transfer starts again from the beginning.
func (t *sendChunkTask) open() error {
	t.out.close()
	r, err := t.node.host.storage.OpenSnapshot(t.node.cfg.Group)
	if err != nil {
		return err
	}
	t.out.reader, t.out.header = r, r.Header()
	if t.body.LastIncludedIndex != t.out.header.Index {
		t.body.Offset = 0
	}
	return nil
}

func (out *outgoingSnapshot) close() {
	if out.reader != nil {
		out.reader.Close()
		out.reader = nil
	}
}

// closeIdleSnapshots closes the snapshots of transfers that have ended.
func (n *Node) closeIdleSnapshots() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, out := range n.outgoing {
		if !out.busy && time.Since(out.used) > 2*n.cfg.ElectionTimeout {
			delete(n.outgoing, id)
			n.closeLater(out)
		}
	}
}

// closeSnapshots ends the transfers of a stopped member.
func (n *Node) closeSnapshots() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, out := range n.outgoing {
		if out.pause != nil && out.pause.Stop() { // the task will not run
			out.busy = false
			n.storing.Done()
		}
		if !out.busy {
			n.closeLater(out)
		}
	}
}

// closeTask closes the reader of a transfer that has ended. Neither the core's goroutine
// nor a lock waits for the disk.
type closeTask struct {
	node *Node
	out  *outgoingSnapshot
}

func (n *Node) closeLater(out *outgoingSnapshot) {
	out.busy = true // for good
	n.storing.Add(1)
	n.host.chunks.add(&closeTask{n, out})
}

func (t *closeTask) run() {
	defer t.node.storing.Done()
	t.node.mustReturn(t.out.close)
}

// loadTask reads entries for a member that is behind the entries in memory.
type loadTask struct {
	node *Node
	load core.Load
}

// loadEntries has entries read that the core asks for.
func (n *Node) loadEntries() {
	for _, l := range n.core.Loads() {
		n.storing.Add(1)
		n.host.loaders.add(&loadTask{n, l})
	}
}

func (t *loadTask) run() {
	n := t.node
	defer n.storing.Done()
	var entries []core.Entry
	var err error
	n.mustReturn(func() {
		entries, err = n.host.entries(n.cfg.Group, t.load.First, t.load.Last, t.load.MaxBytes)
	})
	switch {
	case errors.Is(err, ErrDamaged):
		n.stop(while(err, "reading the log"))
		return
	case err != nil && !errors.Is(err, ErrCompacted):
		n.log.Warn("reading the log", "first", t.load.First, "last", t.load.Last, "error", err)
	}
	n.call(func() { n.core.Loaded(t.load, entries) })
}
