package etcdapi

import (
	"context"
	"math"
	"sync"

	"raftlab/mvcc"
)

// hub finds the watches for which new events are of interest.
type hub struct {
	machine *Machine

	mu      sync.Mutex
	matched int64                      // revision up to which events were matched
	keys    map[string]map[*watch]bool // watches of single keys
	ranges  map[*watch]bool            // of ranges
	running int                        // watches
}

func newHub(m *Machine) *hub {
	return &hub{
		machine: m, matched: m.current.Load().view.Revision(),
		keys: make(map[string]map[*watch]bool), ranges: make(map[*watch]bool),
	}
}

// run matches the events of each new picture, until ctx ends.
func (h *hub) run(ctx context.Context) {
	for {
		select {
		case <-h.machine.changed:
			h.match()
		case <-ctx.Done():
			return
		}
	}
}

// match marks the watches that events since the last match are for. It returns the
// revision up to which events are matched.
func (h *hub) match() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	view := h.machine.current.Load().view
	if view.Revision() <= h.matched {
		return h.matched
	}
	first := h.matched + 1
	h.matched = view.Revision()
	events, err := view.Events(first, math.MaxInt64)
	if err != nil { // compacted meanwhile; each watch finds out for itself
		for _, all := range h.keys {
			mark(all, first)
		}
		mark(h.ranges, first)
		return h.matched
	}
	for e := range events {
		if all := h.keys[e.KV.Key]; all != nil {
			mark(all, e.KV.ModRevision)
		}
		for w := range h.ranges {
			if w.covers(e.KV.Key) {
				w.stream.mark(w, e.KV.ModRevision)
			}
		}
	}
	return h.matched
}

func mark(all map[*watch]bool, revision int64) {
	for w := range all {
		w.stream.mark(w, revision)
	}
}

// add begins a watch from the watch's next revision on; 0 stands for the next event. It
// returns the state's revision.
func (h *hub) add(w *watch) (revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	revision = h.machine.current.Load().view.Revision()
	if w.next == 0 {
		w.next = revision + 1
	}
	h.running++
	if w.end == "" {
		if h.keys[w.key] == nil {
			h.keys[w.key] = make(map[*watch]bool)
		}
		h.keys[w.key][w] = true
	} else {
		h.ranges[w] = true
	}
	if w.next <= h.matched {
		w.stream.mark(w, w.next)
	}
	return revision
}

// remove ends a watch.
func (h *hub) remove(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	delete(h.ranges, w)
	if all := h.keys[w.key]; all != nil {
		if delete(all, w); len(all) == 0 {
			delete(h.keys, w.key)
		}
	}
}

// covers reports whether a key lies in the range of a watch.
func (w *watch) covers(key string) bool {
	return key >= w.key && (w.end == mvcc.FromKey || key < w.end)
}
