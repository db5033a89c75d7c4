package core

import "fmt"

// SnapshotChunk is a piece of a leader's snapshot. The host writes Data at Offset. Offset 0
// begins a new snapshot and replaces an unfinished one. A chunk with Done completes the
// snapshot. The host then compares Checksum, and calls RejectSnapshot before Saved if the
// snapshot is damaged. A complete snapshot becomes the server's snapshot with
// Ready.Snapshot.
type SnapshotChunk struct {
	From     NodeID
	Snapshot Snapshot // without Data
	Offset   uint64
	Data     []byte
	Size     uint64 // of the whole snapshot
	Checksum uint64 // of the whole snapshot
	Done     bool
}

// incomingSnapshot is the received part of a snapshot.
type incomingSnapshot struct {
	from           NodeID
	header         Snapshot
	size, checksum uint64
	offset         uint64    // position of the next chunk
	last           []Message // requests with the last chunk, to be answered after the save
}

// is reports whether a chunk belongs to the snapshot. Snapshots of the same index by
// different leaders may differ in their bytes.
func (in *incomingSnapshot) is(from NodeID, req *InstallSnapshot) bool {
	return in != nil && in.from == from &&
		in.header.LastIncludedIndex == req.LastIncludedIndex && in.header.LastIncludedTerm == req.LastIncludedTerm &&
		in.size == req.Size && in.checksum == req.Checksum
}

// sendSnapshot sends a follower the leader's snapshot in place of compacted entries (§7).
// Until the answer, the follower gets only heartbeats. Chunks continue at the acknowledged
// offset.
func (c *Core) sendSnapshot(p *progress) {
	p.become(SendSnapshot)
	p.waiting = true
	req := &InstallSnapshot{
		Term: c.currentTerm, LeaderID: c.id, Chunked: c.cfg.SnapshotChunkBytes > 0,
		LastIncludedIndex: c.log.snapshotIndex, LastIncludedTerm: c.log.snapshotTerm,
	}
	if req.Chunked && p.chunks.offset > 0 {
		req.LastIncludedIndex, req.LastIncludedTerm, req.Offset = p.chunks.index, 0, p.chunks.offset
	}
	c.send(p.id, req)
}

// checkSnapshot refuses requests of incorrect leaders.
func (c *Core) checkSnapshot(from NodeID, req *InstallSnapshot) error {
	if req.LastIncludedIndex == 0 || req.LastIncludedIndex >= maxNumber ||
		req.LastIncludedTerm == 0 || req.LastIncludedTerm > req.Term {
		return fmt.Errorf("%w: snapshot that ends at %d/%d in InstallSnapshot of term %d",
			ErrMalformed, req.LastIncludedIndex, req.LastIncludedTerm, req.Term)
	}
	if !req.Configuration.IsZero() || len(req.Configuration.Members) > 0 {
		if err := req.Configuration.validate(); err != nil {
			return fmt.Errorf("%w: snapshot that ends at %d: %w", ErrMalformed, req.LastIncludedIndex, err)
		}
	}
	if end := req.Offset + uint64(len(req.Data)); req.Chunked &&
		(req.Offset >= maxNumber || end > req.Size || req.Done != (end == req.Size) || !req.Done && len(req.Data) == 0) {
		return fmt.Errorf("%w: chunk of %d bytes at %d of %d, done %t", ErrMalformed, len(req.Data), req.Offset, req.Size, req.Done)
	}
	return c.checkLeader(from, req.Term, req.LeaderID)
}

// handleInstallSnapshot takes a leader's snapshot, or a chunk of one (Figure 13).
func (c *Core) handleInstallSnapshot(m Message, req *InstallSnapshot) {
	rep := &InstallSnapshotReply{RequestTerm: req.Term}
	if c.followLeader(req.Term, req.LeaderID) {
		header := Snapshot{req.LastIncludedIndex, req.LastIncludedTerm, req.Configuration, nil}
		switch {
		case c.hasSnapshotted(header):
			rep.MatchIndex = header.LastIncludedIndex
		case req.Chunked:
			if c.receiveChunk(m, req, header, rep); rep.LastIncludedIndex == 0 {
				return // answered when the chunk is saved
			}
		default:
			header.Data = req.Data
			c.restoreFromLeader(header)
			rep.MatchIndex = header.LastIncludedIndex
		}
	}
	rep.Term = c.currentTerm
	c.reply(m, rep)
}

// hasSnapshotted reports whether this server has the log behind the snapshot. The state
// machine then reaches, or has reached, the same state by applying entries, and must not go
// back.
func (c *Core) hasSnapshotted(header Snapshot) bool {
	if header.LastIncludedIndex <= c.commitIndex {
		return true
	}
	if c.log.matches(header.LastIncludedIndex, header.LastIncludedTerm) {
		c.commitTo(header.LastIncludedIndex) // Figure 13, step 6: the log is retained
		return true
	}
	return false
}

// receiveChunk hands the next chunk to the host, and tells the leader the position of the
// one to follow. Any other chunk is dropped. The last chunk gets no reply yet.
func (c *Core) receiveChunk(m Message, req *InstallSnapshot, header Snapshot, rep *InstallSnapshotReply) {
	in := c.incoming
	stale := in != nil && in.from == m.From && in.header.LastIncludedIndex > req.LastIncludedIndex
	if !stale && !in.is(m.From, req) {
		if req.Offset > 0 {
			rep.LastIncludedIndex = req.LastIncludedIndex // from the beginning
			return
		}
		c.RejectSnapshot()
		in = &incomingSnapshot{from: m.From, header: header, size: req.Size, checksum: req.Checksum}
		c.incoming = in
	}
	switch {
	case stale:
	case len(in.last) > 0 && req.Done:
		in.last = append(in.last, m)
		return
	case req.Offset == in.offset:
		in.offset += uint64(len(req.Data))
		c.chunks = append(c.chunks, SnapshotChunk{
			From: m.From, Snapshot: header, Offset: req.Offset, Data: req.Data, Size: req.Size, Checksum: req.Checksum, Done: req.Done,
		})
		if req.Done {
			in.last = append(in.last, m)
			return
		}
	}
	rep.LastIncludedIndex, rep.Offset = in.header.LastIncludedIndex, in.offset
}

// chunkSaved replaces the log by a snapshot after the save of its last chunk.
func (c *Core) chunkSaved(chunk SnapshotChunk) {
	in := c.incoming
	if !chunk.Done || in == nil || in.from != chunk.From || len(in.last) == 0 ||
		in.header.LastIncludedIndex != chunk.Snapshot.LastIncludedIndex || in.checksum != chunk.Checksum {
		return
	}
	c.incoming = nil
	if !c.hasSnapshotted(in.header) {
		c.restoreFromLeader(in.header)
	}
	c.replyToLast(in, &InstallSnapshotReply{MatchIndex: in.header.LastIncludedIndex})
}

// RejectSnapshot discards the snapshot completed by the present Ready, because the host has
// found damage. The leader sends the snapshot again.
func (c *Core) RejectSnapshot() {
	if in := c.incoming; in != nil {
		c.incoming = nil
		c.replyToLast(in, &InstallSnapshotReply{LastIncludedIndex: in.header.LastIncludedIndex})
	}
}

func (c *Core) replyToLast(in *incomingSnapshot, rep *InstallSnapshotReply) {
	for _, m := range in.last {
		r := *rep
		r.Term, r.RequestTerm = c.currentTerm, m.Body.term()
		c.reply(m, &r)
	}
}

// restoreFromLeader puts a snapshot in the place of the log.
func (c *Core) restoreFromLeader(snap Snapshot) {
	c.restoring, c.restoringSaved = &snap, false
	c.log.restore(&snap)
	c.commitIndex = snap.LastIncludedIndex
	cfg := snap.Configuration
	if cfg.IsZero() {
		cfg = c.cfg.initial()
	}
	c.configs = []indexedConfiguration{{snap.LastIncludedIndex, snap.LastIncludedTerm, cfg}}
	c.configurationChanged()
	c.noteMembership()
}

// handleInstallSnapshotReply continues with the next chunk, or with the entries behind the
// snapshot.
func (c *Core) handleInstallSnapshotReply(from NodeID, rep *InstallSnapshotReply) {
	c.observeTerm(rep.Term)
	p := c.peer(from)
	if c.state != Leader || rep.RequestTerm != c.currentTerm || p == nil {
		return
	}
	p.answered()
	if rep.MatchIndex > 0 || rep.LastIncludedIndex == 0 {
		p.chunks = chunkProgress{}
		c.acceptedBy(p, rep.MatchIndex)
		return
	}
	at := chunkProgress{rep.LastIncludedIndex, rep.Offset}
	if p.state == SendSnapshot && at != p.chunks { // a repeated reply must not make two streams of one
		p.chunks = at
		c.sendSnapshot(p)
	}
}
