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
	later []core.Message
	// damaged: the checksum of the snapshot that the leader's chunks make is wrong.
	damaged bool
}

// prepare fills in the update.
func (s *save) prepare() {
	n := s.node
	s.update = Update{Group: n.cfg.Group, HardState: s.ready.HardState, Entries: s.ready.Entries}
	switch {
	case s.ready.Snapshot != nil:
		s.update.Snapshot = &n.incoming.committed
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
	active bool // a save is under way
	closed bool

	// Only the goroutine touches these.
	batches batcher
	later   [][]core.Message // by item of the save that begins
}

// Volatile is a [Storage] that loses all when the process ends. Its Save does
// not block and may be called from several goroutines at a time.
type Volatile interface{ Volatile() bool }

func newSaver(h *Host) *saver {
	s := &saver{host: h, start: time.Now()}
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

func (s *saver) saveAll() {
	var items []*save
	var updates []Update
	for {
		clear(items)
		if items = s.next(items[:0]); len(items) == 0 {
			return
		}
		s.sendLater(items)
		updates = updates[:0]
		s.bytes.Store(savedBytes(items))
		s.since.Store(int64(time.Since(s.start)) + 1)
		err := s.saveItems(items, &updates)
		took := time.Duration(int64(time.Since(s.start)) - s.since.Swap(0))
		clear(updates)
		if err != nil {
			s.host.fail(while(err, "saving"))
			for _, item := range items {
				item.node.storing.Done()
			}
			s.close()
			return
		}
		s.host.stats.observeSave(took, len(items))
		s.complete(items)
	}
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
	s.batches.send(s.host.transport)
	for _, item := range items {
		n := item.node // the core uses the item again
		item.done(len(items) <= inlineRounds)
		n.storing.Done()
	}
}

// done tells the core that everything is durable. If inline is set, the core may
// run on the caller's goroutine.
func (s *save) done(inline bool) {
	n := s.node
	n.mu.Lock()
	n.inbox.saved = s
	if inline {
		n.unlockAndRun()
	} else {
		n.unlockAndSchedule()
	}
}

// next waits for saves and takes all, with the messages that waited for them. It
// returns none when the saver is closed.
func (s *saver) next(items []*save) []*save {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = false
	for len(s.queue) == 0 && !s.closed {
		s.waits.Wait()
	}
	if s.closed {
		return nil
	}
	s.active = true
	items = append(items, s.queue...)
	clear(s.queue)
	s.queue = s.queue[:0]
	for _, item := range items {
		s.later = append(s.later, item.later)
		item.later = nil
	}
	return items
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
