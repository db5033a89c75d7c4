package node

import (
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// save is what one group has to save, one at a time for each group.
type save struct {
	node   *Node
	ready  core.Ready
	mark   *SnapshotHeader // a snapshot of the member's own, to be named in the log
	update Update
	alone  [1]Update // the update as a slice
	// later are messages that the saver sends when the save begins. They are
	// protected by saver.mu.
	later   []core.Message
	begun   bool            // the saver has run the core for this save
	leaders *SnapshotHeader // the leader's snapshot, which ready names, once committed
	// rejected: the chunks make no snapshot, since the checksum is wrong or a chunk is
	// missing for want of room. noRoom is the error of a chunk in this save.
	rejected bool
	noRoom   error
}

// prepare fills in the update.
func (s *save) prepare() {
	n := s.node
	s.update = Update{Group: n.cfg.Group, HardState: s.ready.HardState, Entries: s.ready.Entries}
	switch {
	case s.ready.Snapshot != nil:
		s.update.Snapshot = s.leaders
	case s.mark != nil:
		s.update.Snapshot = s.mark
		s.update.CompactTo = n.compactionTarget(s.mark)
	}
}

// empty reports whether nothing is left to save but chunks, which are written.
func (s *save) empty() bool {
	return s.ready.HardState == nil && s.ready.Snapshot == nil && len(s.ready.Entries) == 0 && s.mark == nil
}

// saver is the goroutine that saves, for all groups of a host. All groups that
// wait when a save begins share one sync.
type saver struct {
	host    *Host
	running sync.WaitGroup
	// volatile storages do not block, so that the core's goroutine saves.
	volatile bool

	since atomic.Int64 // when the save under way began, in nanoseconds since start; 0: none
	bytes atomic.Int64 // of the entries in that save
	start time.Time

	mu     sync.Mutex
	waits  sync.Cond // on mu: a save has come, or the saver is closed
	queue  []*save
	nodes  []*Node // whose cores run before the next save
	active bool    // a save is under way
	closed bool

	crowd atomic.Bool // the save under way is of many groups

	// Only the goroutine touches these.
	beginner *beginner
	batches  batcher
	later    [][]core.Message // by item of the save that begins
}

// Volatile is a [Storage] that loses all when the process ends. Its Save does
// not block and may be called from several goroutines at a time.
type Volatile interface{ Volatile() bool }

func newSaver(h *Host) *saver {
	s := &saver{host: h, start: time.Now(), beginner: newBeginner(h)}
	s.waits.L = &s.mu
	if v, ok := h.storage.(Volatile); ok {
		s.volatile = v.Volatile()
	}
	s.running.Go(s.saveAll)
	return s
}

// add queues a save. messages may go out beside the save, and add returns those that
// the caller sends at once. If another group's save is under way, the requests to the
// followers wait for the beginning of this save. All groups that share a sync then
// share a frame to each follower too.
func (s *saver) add(item *save, messages []core.Message) []core.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	item.node.storing.Add(1)
	if (s.active || len(s.queue) > 0) && areAppends(messages) {
		item.later, messages = messages, nil
	}
	s.queue = append(s.queue, item)
	s.waits.Signal()
	return messages
}

// areAppends reports whether all messages are AppendEntries.
func areAppends(messages []core.Message) bool {
	for i := range messages {
		if _, ok := messages[i].Body.(*core.AppendEntries); !ok {
			return false
		}
	}
	return true
}

// claim returns the messages that still wait for the beginning of a save. The caller
// sends them, because later messages are due and should not overtake.
func (s *saver) claim(item *save) []core.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := item.later
	item.later = nil
	return messages
}

// crowded reports whether a save of many groups is under way.
func (s *saver) crowded() bool { return s.crowd.Load() }

// await has the saver run the core of a group before the next save.
func (s *saver) await(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = append(s.nodes, n)
	s.waits.Signal()
}

func (s *saver) saveAll() {
	var items []*save // done is nil
	var nodes []*Node
	var updates []Update
	returned := false
	defer func() {
		if !returned {
			_ = s.host.exit()
			s.drop(s.beginner.take(items))
			s.close()
		}
	}()
	for {
		clear(items)
		clear(nodes)
		var ok bool
		if items, nodes, ok = s.next(items[:0], nodes[:0]); !ok {
			returned = true
			return
		}
		if items = s.begin(nodes, items); len(items) == 0 {
			s.batches.send(s.host.transport)
			continue
		}
		s.crowd.Store(len(items) > inlineRounds)
		s.sendLater(items)
		updates = updates[:0]
		s.bytes.Store(savedBytes(items))
		s.since.Store(int64(time.Since(s.start)) + 1)
		err := s.saveItems(items, &updates)
		took := time.Duration(int64(time.Since(s.start)) - s.since.Swap(0))
		clear(updates)
		if err != nil {
			s.host.fail(while(err, "saving"))
			s.drop(items)
			s.close()
			returned = true
			return
		}
		s.host.stats.observeSave(took, len(items))
		s.complete(items)
	}
}

// drop forgets saves. Those that are done are nil.
func (s *saver) drop(items []*save) {
	for _, item := range items {
		if item != nil {
			item.node.storing.Done()
		}
	}
}

// begin runs the cores that wait for a save, and adds their saves to items. The answers
// to the last save share a frame with the requests of this one, unless that takes long.
func (s *saver) begin(nodes []*Node, items []*save) []*save {
	if len(nodes) == 0 {
		return items
	}
	items = s.beginner.run(nodes, items, func() { s.batches.send(s.host.transport) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range items[len(s.later):] {
		s.later = append(s.later, item.later)
		item.later = nil
	}
	return items
}

// sendLater sends the messages that waited for the beginning of the save.
func (s *saver) sendLater(items []*save) {
	for i, messages := range s.later {
		s.batches.add(items[i].node, messages)
	}
	clear(s.later)
	s.later = keep(s.later)
	s.batches.send(s.host.transport)
}

func (s *saver) saveItems(items []*save, updates *[]Update) error {
	for _, item := range items {
		item.prepare()
		*updates = append(*updates, item.update)
	}
	return s.host.storage.Save(*updates)
}

// complete sends the messages that promise the save, and tells the cores.
func (s *saver) complete(items []*save) {
	for _, item := range items {
		s.batches.add(item.node, item.ready.AfterSave)
	}
	few := len(items) <= inlineRounds
	if few {
		s.batches.send(s.host.transport)
	}
	for i, item := range items {
		items[i] = nil
		n := item.node // the core uses the item again
		if few {
			item.done()
		} else {
			item.doneLater()
		}
		n.storing.Done()
	}
}

// done tells the core that everything is durable.
func (s *save) done() {
	n := s.node
	n.mu.Lock()
	n.inbox.saved = s
	n.unlockAndRun()
}

// doneLater is done for a saver that runs the core before the next save anyway.
func (s *save) doneLater() {
	n := s.node
	n.mu.Lock()
	n.inbox.saved = s
	known := n.waits
	n.waits = true
	n.mu.Unlock()
	if !known {
		n.host.saver.await(n)
	}
}

// next waits for saves and for cores to run, and takes all, with the messages that
// waited for the saves. It returns false when the saver is closed.
func (s *saver) next(items []*save, nodes []*Node) ([]*save, []*Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = false
	for len(s.queue)+len(s.nodes) == 0 && !s.closed {
		s.crowd.Store(false)
		s.waits.Wait()
	}
	if s.closed {
		return nil, nil, false
	}
	s.active = true
	items, nodes = append(items, s.queue...), append(nodes, s.nodes...)
	clear(s.queue)
	clear(s.nodes)
	s.queue, s.nodes = s.queue[:0], s.nodes[:0]
	for _, item := range items {
		s.later = append(s.later, item.later)
		item.later = nil
	}
	return items, nodes, true
}

// saveNow saves to a volatile storage. It reports false if the host has failed.
func (s *saver) saveNow(item *save) bool {
	item.prepare()
	item.alone[0] = item.update
	if err := s.host.storage.Save(item.alone[:]); err != nil {
		s.host.fail(while(err, "saving"))
		return false
	}
	return true
}

// busy returns for how long the save under way has lasted, 0 if there is none, and
// the bytes of its entries.
func (s *saver) busy() (time.Duration, int64) {
	since := s.since.Load()
	if since == 0 {
		return 0, 0
	}
	return time.Duration(int64(time.Since(s.start)) - since), s.bytes.Load()
}

// savedBytes is about what a save writes.
func savedBytes(items []*save) (bytes int64) {
	for _, item := range items {
		bytes += int64(entriesSize(item.ready.Entries))
	}
	return bytes
}

// close ends the goroutine after the save under way, without waiting, and drops
// the waiting saves.
func (s *saver) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, item := range s.queue {
		item.node.storing.Done()
	}
	s.queue = nil
	s.waits.Broadcast()
}
