//go:build !wasip1

package boltstore

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"raftlab/internal/msgpack"
	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// content is what a file holds, without the entries and the bodies. A content
// stays in memory while the store is open.
type content struct {
	identity identityRecord
	state    stateRecord
	peers    map[core.NodeID]uint64
	groups   map[node.GroupID]*group
	bodies   map[uint64]*body
	lastBody uint64 // the highest number of a body
	logBytes int64  // of all keys and records in the bucket of the logs
	marked   bool   // the transaction has its mark

	// What an interrupted cleaner has left.
	garbage leftovers
}

// leftovers are records that no valid record needs.
type leftovers struct {
	compacted map[node.GroupID]struct{} // with entries before the beginning of the log
	removed   map[node.GroupID]struct{} // with entries, but without a head
	bodies    map[uint64]struct{}       // that no snapshot names
}

func newContent() *content {
	return &content{
		peers:   make(map[core.NodeID]uint64),
		groups:  make(map[node.GroupID]*group),
		bodies:  make(map[uint64]*body),
		garbage: newLeftovers(),
	}
}

// group is the index of one group.
type group struct {
	storekit.Group
	compactedSum, lastSum, snapshotSum uint32 // see headRecord
	hash                               uint64 // of the head
	body                               *body  // of the newest snapshot; nil: none
}

// body is the body of a snapshot in the file.
type body struct {
	number  uint64
	bytes   int64
	readers int
	dropped bool // no snapshot needs the body any more
}

func (g *group) headRecord() headRecord {
	return headRecord{
		CurrentTerm: g.HardState.CurrentTerm, VotedFor: uint64(g.HardState.VotedFor),
		SnapshotIndex: g.Snapshot.Index, SnapshotSum: g.snapshotSum,
		CompactedIndex: g.CompactedIndex, CompactedTerm: g.CompactedTerm, CompactedSum: g.compactedSum,
		LastIndex: g.LastIndex, LastSum: g.lastSum,
	}
}

// contentReader checks every valid record of a file and fills a content.
type contentReader struct {
	*content
	heads map[node.GroupID]headRecord
	sum   uint64 // of the heads' hashes

	snapshots, logs joiner

	// The group whose log is read now.
	reading node.GroupID
	last    uint64
	lastSum uint32

	// The body that is read now.
	named    map[uint64]snapshotRecord
	body     uint64
	pieces   uint32
	size     uint64
	checksum uint64
}

// readContent reads and checks the tree of a meta page.
func (f *pageFile) readContent(m meta) (*content, error) {
	r := &contentReader{
		content: newContent(),
		heads:   make(map[node.GroupID]headRecord),
		named:   make(map[uint64]snapshotRecord),
	}
	r.snapshots.done, r.logs.done = r.readSnapshot, r.readEntry
	err := f.walkBuckets(m, true,
		visitor{stateBucket, r.readState, nil},
		visitor{headBucket, r.readHead, nil},
		visitor{snapshotBucket, r.snapshots.add, r.snapshots.flush},
		visitor{logBucket, r.logs.add, r.logs.flush},
		visitor{bodyBucket, r.readPiece, r.finishBody})
	if err == nil {
		err = r.finish(m)
	}
	if err != nil {
		return nil, err
	}
	return r.content, nil
}

func (r *contentReader) readState(key, record []byte) error {
	if _, err := verify(key, record, 0); err != nil {
		return fmt.Errorf("record %q: %w", key, err) // of any key, since the keys of older versions differ
	}
	var peers []peerRecord
	record = record[1 : len(record)-sumSize]
	switch {
	case bytes.Equal(key, identityKey):
		return msgpack.Decode(record, &r.identity)
	case bytes.Equal(key, stateKey):
		return msgpack.Decode(record, &r.state)
	case !bytes.Equal(key, peersKey):
		return fmt.Errorf("there is a record %q", key)
	}
	if err := msgpack.Decode(record, &peers); err != nil {
		return err
	}
	for _, p := range peers {
		r.peers[core.NodeID(p.Host)] = p.Sequence
	}
	return nil
}

func (r *contentReader) readHead(key, record []byte) error {
	if len(key) != groupKeySize {
		return fmt.Errorf("the head of a group has the key %x", key)
	}
	id := groupOf(key)
	var h headRecord
	if _, err := unseal(key, record, &h, 0); err != nil {
		return fmt.Errorf("the head of group %d: %w", id, err)
	}
	if h.LastIndex < h.CompactedIndex || h.CompactedIndex > h.SnapshotIndex {
		return fmt.Errorf("the head of group %d is contradictory: %+v", id, h)
	}
	g := &group{compactedSum: h.CompactedSum, lastSum: h.LastSum, snapshotSum: h.SnapshotSum, hash: hashHead(key, record)}
	g.HardState = core.HardState{CurrentTerm: h.CurrentTerm, VotedFor: core.NodeID(h.VotedFor)}
	g.Reset(h.CompactedIndex, h.CompactedTerm)
	r.groups[id], r.heads[id] = g, h
	r.sum += g.hash
	return nil
}

func (r *contentReader) readSnapshot(key, record []byte) error {
	if len(key) != groupKeySize {
		return fmt.Errorf("the snapshot of a group has the key %x", key)
	}
	id := groupOf(key)
	var snap snapshotRecord
	sum, err := unseal(key, record, &snap, 0)
	if err != nil {
		return fmt.Errorf("the snapshot of group %d: %w", id, err)
	}
	h, g := r.heads[id], r.groups[id]
	if g == nil || snap.Index != h.SnapshotIndex || sum != h.SnapshotSum {
		return fmt.Errorf("the snapshot of group %d at %d is not the one of the group's head, at %d", id, snap.Index, h.SnapshotIndex)
	}
	if _, twice := r.bodies[snap.Body]; twice {
		return fmt.Errorf("the snapshot of group %d names the body %d of another snapshot", id, snap.Body)
	}
	g.Snapshot = node.SnapshotHeader{
		Index: snap.Index, Term: snap.Term, Configuration: snap.Configuration, Size: snap.Size, Checksum: snap.Checksum,
	}
	g.body = &body{number: snap.Body, bytes: int64(snap.Size)}
	r.bodies[snap.Body], r.named[snap.Body] = g.body, snap
	r.lastBody = max(r.lastBody, snap.Body)
	return nil
}

func (r *contentReader) readEntry(key, record []byte) error {
	if len(key) < entryKeySize {
		return fmt.Errorf("a log entry has the key %x", key)
	}
	id, index := groupOf(key), indexOf(key)
	h, ok := r.heads[id]
	switch { // the cleaner may have removed the first pieces of an entry alone
	case !ok:
		r.garbage.removed[id] = struct{}{}
		return nil
	case index <= h.CompactedIndex:
		r.garbage.compacted[id] = struct{}{}
		return nil
	case len(key) != entryKeySize:
		return fmt.Errorf("a piece of entry %d of group %d has the key %x; the pieces before are missing", index, id, key)
	}
	if id != r.reading {
		r.reading, r.last, r.lastSum = id, h.CompactedIndex, h.CompactedSum
	}
	if index != r.last+1 || index > h.LastIndex {
		return fmt.Errorf("the log of group %d has the entry %d after the entry %d; the log ends at %d", id, index, r.last, h.LastIndex)
	}
	var e entryRecord
	sum, err := unseal(key, record, &e, r.lastSum)
	if err != nil {
		return fmt.Errorf("entry %d of group %d: %w", index, id, err)
	}
	r.last, r.lastSum = index, sum
	g := r.groups[id]
	if e.Term < max(g.lastTerm(), 1) {
		return fmt.Errorf("entry %d of group %d has term %d after term %d", index, id, e.Term, g.lastTerm())
	}
	g.Append([]core.Entry{{Index: index, Term: e.Term, Type: core.EntryType(e.Type)}})
	if index == h.LastIndex && sum != h.LastSum {
		return fmt.Errorf("entry %d of group %d has the checksum %08x; want %08x", index, id, sum, h.LastSum)
	}
	return nil
}

// lastTerm returns the term of the log's last entry.
func (g *group) lastTerm() uint64 {
	if n := len(g.Terms); n > 0 {
		return g.Terms[n-1].Term
	}
	return g.CompactedTerm
}

func (r *contentReader) readPiece(key, value []byte) error {
	if len(key) != bodyKeySize {
		return fmt.Errorf("a piece of a snapshot has the key %x", key)
	}
	number, n := bodyOf(key)
	r.lastBody = max(r.lastBody, number)
	if _, ok := r.named[number]; !ok {
		r.garbage.bodies[number] = struct{}{}
		return nil
	}
	if number != r.body {
		if err := r.finishBody(); err != nil {
			return err
		}
		r.body = number
	}
	data, err := openPiece(key, value)
	if err != nil {
		return fmt.Errorf("piece %d of body %d: %w", n, number, err)
	}
	if n != r.pieces {
		return fmt.Errorf("body %d has piece %d; want piece %d", number, n, r.pieces)
	}
	r.pieces++
	r.size += uint64(len(data))
	r.checksum = storekit.Checksum(r.checksum, data)
	return nil
}

// finishBody compares the body that was read last with its snapshot.
func (r *contentReader) finishBody() error {
	if r.body == 0 {
		return nil
	}
	snap := r.named[r.body]
	if r.size != snap.Size || r.checksum != snap.Checksum || r.pieces != piecesOf(snap.Size) {
		return fmt.Errorf("body %d has %d bytes in %d pieces and checksum %016x; want %d bytes and %016x",
			r.body, r.size, r.pieces, r.checksum, snap.Size, snap.Checksum)
	}
	delete(r.named, r.body)
	r.body, r.pieces, r.size, r.checksum = 0, 0, 0, 0
	return nil
}

// finish compares the records with the state of the whole file.
func (r *contentReader) finish(m meta) error {
	for id, h := range r.heads {
		g := r.groups[id]
		if g.LastIndex != h.LastIndex {
			return fmt.Errorf("the log of group %d ends at %d; want %d", id, g.LastIndex, h.LastIndex)
		}
		if g.Snapshot.Index != h.SnapshotIndex {
			return fmt.Errorf("group %d has no snapshot; want one at %d", id, h.SnapshotIndex)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(r.named)) {
		if snap := r.named[number]; snap.Size > 0 {
			return fmt.Errorf("the snapshot at %d has no body %d; want %d bytes", snap.Index, number, snap.Size)
		}
	}
	s := r.state
	if s.Transaction != m.sequence || s.Groups != uint64(len(r.groups)) || s.Heads != r.sum {
		return fmt.Errorf("the file has %d groups with sum %016x in transaction %d; want %d with %016x in %d",
			len(r.groups), r.sum, m.sequence, s.Groups, s.Heads, s.Transaction)
	}
	if r.identity.Cluster == "" {
		return fmt.Errorf("there is no record %q", identityKey)
	}
	r.logBytes, r.marked = r.logs.bytes, m.marked
	return nil
}

// joiner joins the pieces of values, see put.
type joiner struct {
	done       func(key, value []byte) error
	key, value []byte
	n          uint32 // number of pieces
	bytes      int64
}

func (j *joiner) add(key, value []byte) error {
	j.bytes += int64(len(key) + len(value))
	if j.n > 0 && bytes.Equal(key, pieceKey(j.key, j.n)) {
		j.value = append(j.value, value...)
		j.n++
		return nil
	}
	if err := j.flush(); err != nil {
		return err
	}
	j.key, j.value, j.n = key, value, 1
	return nil
}

// flush ends the last value.
func (j *joiner) flush() error {
	if j.n == 0 {
		return nil
	}
	j.n = 0
	return j.done(j.key, j.value)
}
