//go:build !wasip1

package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// logFill is the fill of the log's pages. Entries arrive in order, so bbolt
// rarely inserts into a full page later.
const logFill = 0.9

// transaction is one writing transaction under way.
type transaction struct {
	store *Store
	tx    *bbolt.Tx
	state stateRecord               // written at the end
	peers map[core.NodeID]uint64    // the recorded sequences at the end
	grown int                       // bytes that the log's records have grown by
	first map[node.GroupID]uint64   // the lowest index written or removed in a group's log
	piece map[uint64]uint32         // the lowest piece written of a body
	gone  map[node.GroupID]struct{} // groups without leftovers now
}

// commit runs a writing transaction. When commit returns nil, the transaction is
// durable. If the transaction needs room and there is none, the error matches
// node.ErrNoRoom, and nothing was written. After any other failure the content of the file
// is unknown, and the store writes nothing more. The caller holds writer.
func (s *Store) commit(room demand, do func(*transaction) error) (err error) {
	t := &transaction{
		store: s, state: s.state, peers: s.peers,
		first: make(map[node.GroupID]uint64), piece: make(map[uint64]uint32), gone: make(map[node.GroupID]struct{}),
	}
	defer func() {
		if err = s.wrap("writing to", err); err != nil && !errors.Is(err, node.ErrNoRoom) {
			s.failure.CompareAndSwap(nil, &err)
		}
	}()
	s.replacing.RLock()
	defer s.replacing.RUnlock()
	err = s.db.update(room, func(tx *bbolt.Tx) error {
		if err := s.usable(); err != nil {
			return err
		}
		t.tx = tx
		if err := do(t); err != nil {
			return err
		}
		t.state.Transaction = uint64(tx.ID())
		return putState(tx, stateKey, t.state)
	})
	if err != nil {
		return err
	}
	s.noteCommit(t)
	return nil
}

// usable returns an error after a failed write, because the content of the file is
// unknown then. The caller holds writer.
func (s *Store) usable() error {
	if failed := s.failure.Load(); failed != nil {
		return fmt.Errorf("an earlier write failed: %w", *failed)
	}
	return nil
}

// noteCommit takes over the result of a transaction.
func (s *Store) noteCommit(t *transaction) {
	s.rewriting.touched(t.first, t.piece)
	s.logBytes.Add(int64(t.grown))
	s.sequence.Store(t.state.Sequence)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.peers = t.state, t.peers
	for id := range t.gone {
		delete(s.garbage.removed, id)
	}
}

// change is what Save does to a group.
type change struct {
	update *node.Update
	group  *group
	added  bool     // the group is new
	named  snapshot // by the update
	after  headRecord
	hash   uint64
}

// Save implements [node.Storage]. Save is one transaction with one sync.
func (s *Store) Save(updates []node.Update) error {
	if err := storekit.CheckUnique(updates); err != nil {
		return s.wrap("writing to", err)
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	changes, err := s.prepare(updates)
	if err != nil {
		return s.wrap("writing to", err)
	}
	if len(changes) == 0 {
		return nil
	}
	err = s.commit(usesReserve, func(t *transaction) error {
		for i := range changes {
			if err := t.save(&changes[i]); err != nil {
				return err
			}
		}
		t.state.Sequence++
		return t.putPeers()
	})
	if err != nil {
		return err
	}
	s.apply(changes)
	return nil
}

// prepare checks the updates, before anything changes.
func (s *Store) prepare(updates []node.Update) ([]change, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, node.ErrStorageClosed
	}
	changes := make([]change, len(updates))
	for i := range updates {
		c := &changes[i]
		c.update, c.group = &updates[i], s.groups[updates[i].Group]
		if c.group == nil {
			c.group, c.added = new(group), true
		}
		if err := c.group.Check(c.update); err != nil {
			return nil, err
		}
		if header := c.update.Snapshot; header != nil {
			ready := s.ready[c.update.Group]
			n := slices.IndexFunc(ready, func(r snapshot) bool { return storekit.SameHeader(&r.header, header) })
			if n < 0 {
				return nil, storekit.Uncommitted(c.update.Group, header)
			}
			c.named = ready[n]
		}
	}
	return changes, nil
}

// save writes a change.
func (t *transaction) save(c *change) error {
	id, u := c.update.Group, c.update
	if _, dirty := t.store.garbage.removed[id]; dirty {
		if err := t.deleteLog(id, 0, math.MaxUint64); err != nil {
			return err
		}
		t.gone[id] = struct{}{}
	}
	before := c.group.headRecord()
	c.after = before
	if u.HardState != nil {
		c.after.CurrentTerm, c.after.VotedFor = u.HardState.CurrentTerm, uint64(u.HardState.VotedFor)
	}
	if c.named.body != nil {
		if err := t.putSnapshot(id, c); err != nil {
			return err
		}
	}
	if u.CompactTo > c.after.CompactedIndex {
		if err := t.compact(id, c); err != nil {
			return err
		}
	}
	if err := t.append(id, &c.after, u.Entries); err != nil {
		return err
	}
	c.hash = c.group.hash
	if c.after == before && !c.added {
		return nil
	}
	return t.putHead(id, c)
}

func (t *transaction) putHead(id node.GroupID, c *change) error {
	key := groupKey(id)
	record, _, err := seal(key, &c.after, 0)
	if err != nil {
		return err
	}
	c.hash = hashHead(key, record)
	t.state.Heads += c.hash - c.group.hash
	if c.added {
		t.state.Groups++
	}
	return t.tx.Bucket(headBucket).Put(key, record)
}

// putSnapshot makes the named snapshot the newest. If the log does not agree with
// the snapshot, the log is dropped. The cleaner removes the records up to the
// snapshot's end later.
func (t *transaction) putSnapshot(id node.GroupID, c *change) error {
	h := &c.named.header
	key := groupKey(id)
	record, sum, err := seal(key, &snapshotRecord{
		Index: h.Index, Term: h.Term, Configuration: h.Configuration, Size: h.Size, Checksum: h.Checksum,
		Body: c.named.body.number,
	}, 0)
	if err != nil {
		return err
	}
	b := t.tx.Bucket(snapshotBucket)
	if _, _, err := deleteBetween(b, key, afterSnapshot(id), math.MaxInt); err != nil {
		return err
	}
	if _, err := put(b, key, record); err != nil {
		return err
	}
	c.after.SnapshotIndex, c.after.SnapshotSum = h.Index, sum
	if c.group.Agrees(h) {
		return nil
	}
	if c.after.LastIndex > h.Index {
		if err := t.deleteLog(id, h.Index+1, c.after.LastIndex); err != nil {
			return err
		}
	}
	c.after.CompactedIndex, c.after.CompactedTerm, c.after.CompactedSum = h.Index, h.Term, 0
	c.after.LastIndex, c.after.LastSum = h.Index, 0
	return nil
}

// compact moves the beginning of the log. The cleaner removes the records later.
func (t *transaction) compact(id node.GroupID, c *change) error {
	to := c.update.CompactTo
	sum, err := sumAt(t.tx, id, &c.after, to)
	if err != nil {
		return err
	}
	c.after.CompactedTerm, _ = c.group.Term(to)
	c.after.CompactedIndex, c.after.CompactedSum = to, sum
	return nil
}

// append replaces the log from the index of the first entry on.
func (t *transaction) append(id node.GroupID, h *headRecord, entries []core.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].Index
	t.touch(id, first)
	if first <= h.LastIndex {
		if err := t.deleteLog(id, first, h.LastIndex); err != nil {
			return err
		}
		sum, err := sumAt(t.tx, id, h, first-1)
		if err != nil {
			return err
		}
		h.LastSum = sum
	}
	log := t.log()
	for i := range entries {
		e := &entries[i]
		key := entryKey(id, e.Index)
		record, sum, err := seal(key, &entryRecord{Term: e.Term, Type: uint8(e.Type), Data: e.Data}, h.LastSum)
		if err != nil {
			return err
		}
		stored, err := put(log, key, record)
		if err != nil {
			return err
		}
		h.LastIndex, h.LastSum = e.Index, sum
		t.grown += stored
	}
	return nil
}

func (t *transaction) log() *bbolt.Bucket {
	b := t.tx.Bucket(logBucket)
	b.FillPercent = logFill
	return b
}

// touch notes that a group's log changes from index on.
func (t *transaction) touch(id node.GroupID, index uint64) {
	if before, ok := t.first[id]; !ok || index < before {
		t.first[id] = index
	}
}

// deleteLog deletes the records of a group's log from the index first to last.
func (t *transaction) deleteLog(id node.GroupID, first, last uint64) error {
	t.touch(id, first)
	_, size, err := deleteBetween(t.log(), entryKey(id, first), afterEntry(id, last), math.MaxInt)
	t.grown -= size
	return err
}

// sumAt returns the checksum of a group's record at index, for the next record to
// continue.
func sumAt(tx *bbolt.Tx, id node.GroupID, h *headRecord, index uint64) (uint32, error) {
	switch index {
	case h.CompactedIndex:
		return h.CompactedSum, nil
	case h.LastIndex:
		return h.LastSum, nil
	}
	record := get(tx.Bucket(logBucket), entryKey(id, index))
	if len(record) < 1+sumSize {
		return 0, fmt.Errorf("%w: group %d has no entry %d", node.ErrDamaged, id, index)
	}
	return sumOf(record), nil
}

// apply takes the changes over into the index, and gives the cleaner its work.
func (s *Store) apply(changes []change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		g, own, id := c.group, *c.update, c.update.Group
		if c.named.body != nil {
			own.Snapshot = &c.named.header
			s.dropBody(g.body)
			g.body = c.named.body
			s.ready[id] = slices.DeleteFunc(s.ready[id], func(r snapshot) bool {
				if r.header.Index <= own.Snapshot.Index && r.body != g.body {
					s.dropBody(r.body)
				}
				return r.header.Index <= own.Snapshot.Index
			})
		}
		compacted := g.CompactedIndex
		g.Apply(&own)
		g.compactedSum, g.lastSum, g.snapshotSum, g.hash = c.after.CompactedSum, c.after.LastSum, c.after.SnapshotSum, c.hash
		s.groups[id] = g
		if g.CompactedIndex > compacted {
			s.garbage.compacted[id] = struct{}{}
			s.cleaner.notify()
		}
	}
}

// Entries implements [node.Storage]. Entries checks the checksums of the entries.
func (s *Store) Entries(id node.GroupID, lo, hi uint64, maxBytes int) (entries []core.Entry, err error) {
	err = s.view("reading", func(tx *bbolt.Tx) error {
		entries, err = readEntries(tx, id, lo, hi, maxBytes)
		return err
	})
	return entries, err
}

func readEntries(tx *bbolt.Tx, id node.GroupID, lo, hi uint64, maxBytes int) (entries []core.Entry, err error) {
	h, err := readHead(tx, id)
	if err != nil {
		return nil, err
	}
	g := storekit.Group{State: node.State{CompactedIndex: h.CompactedIndex, LastIndex: h.LastIndex}}
	if err := g.CheckRange(id, lo, hi); err != nil {
		return nil, err
	}
	sum, err := sumAt(tx, id, &h, lo-1)
	if err != nil {
		return nil, err
	}
	size := 0
	cursor := tx.Bucket(logBucket).Cursor()
	key, piece := cursor.Seek(entryKey(id, lo))
	for index := lo; ; index++ {
		want := entryKey(id, index)
		if !bytes.Equal(key, want) {
			return nil, fmt.Errorf("%w: group %d has no entry %d", node.ErrDamaged, id, index)
		}
		var e entryRecord
		var record []byte
		record, key, piece = join(cursor, key, piece)
		if sum, err = unseal(want, record, &e, sum); err != nil {
			return nil, fmt.Errorf("%w: entry %d of group %d: %w", node.ErrDamaged, index, id, err)
		}
		if size += len(e.Data); size > maxBytes && len(entries) > 0 {
			return entries, nil
		}
		entries = append(entries, core.Entry{Index: index, Term: e.Term, Type: core.EntryType(e.Type), Data: e.Data})
		if index == hi {
			return entries, nil
		}
	}
}

// readHead reads the head of a group, the zero head if there is none.
func readHead(tx *bbolt.Tx, id node.GroupID) (h headRecord, err error) {
	key := groupKey(id)
	record := tx.Bucket(headBucket).Get(key)
	if record == nil {
		return h, nil
	}
	if _, err := unseal(key, record, &h, 0); err != nil {
		return h, fmt.Errorf("%w: the head of group %d: %w", node.ErrDamaged, id, err)
	}
	return h, nil
}

// Remove implements [node.Storage]. The first transaction removes the group. The
// cleaner removes a long log later.
func (s *Store) Remove(id node.GroupID) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.closed {
		return s.wrap("writing to", node.ErrStorageClosed)
	}
	s.mu.Lock()
	for _, r := range s.ready[id] {
		s.dropBody(r.body)
	}
	delete(s.ready, id)
	s.mu.Unlock()
	g := s.groups[id]
	if g == nil {
		return nil
	}
	err := s.commit(usesReserve, func(t *transaction) error {
		t.state.Sequence++
		t.state.Groups--
		t.state.Heads -= g.hash
		t.touch(id, 0)
		if _, _, err := deleteBetween(t.tx.Bucket(snapshotBucket), groupKey(id), afterSnapshot(id), math.MaxInt); err != nil {
			return err
		}
		if err := t.tx.Bucket(headBucket).Delete(groupKey(id)); err != nil {
			return err
		}
		return t.putPeers()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, id)
	delete(s.garbage.compacted, id)
	s.garbage.removed[id] = struct{}{}
	s.dropBody(g.body)
	s.cleaner.notify()
	return nil
}
