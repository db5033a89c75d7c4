package etcdapi

import (
	"context"
	"math"
	"sync"
)

// hub finds the watches for which new events are of interest.
type hub struct {
	machine *Machine

	mu      sync.Mutex
	matched int64                      // revision up to which events were matched
	keys    map[string]map[*watch]bool // watches of single keys
	ranges  watchRanges
	running int // watches
	streams map[*watchStream]struct{}
}

func newHub(m *Machine) *hub {
	return &hub{
		machine: m, matched: m.current.Load().view.Revision(),
		keys:    make(map[string]map[*watch]bool),
		streams: make(map[*watchStream]struct{}),
	}
}

// open notes a client's stream of watches until close.
func (h *hub) open(w *watchStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams[w] = struct{}{}
}

func (h *hub) close(w *watchStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, w)
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
			mark(all, first, 0)
		}
		h.ranges.all(func(all map[*watch]bool) { mark(all, first, 0) })
		return h.matched
	}
	for e := range events {
		mark(h.keys[e.KV.Key], e.KV.ModRevision, 1)
		h.ranges.find(e.KV.Key, func(all map[*watch]bool) { mark(all, e.KV.ModRevision, 1) })
	}
	return h.matched
}

func mark(all map[*watch]bool, revision int64, events int) {
	for w := range all {
		w.stream.mark(w, revision, events)
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
		h.ranges.add(w)
	}
	if w.next <= h.matched {
		w.stream.mark(w, w.next, 0)
	}
	return revision
}

// remove ends a watch.
func (h *hub) remove(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if w.end != "" {
		h.ranges.remove(w)
		return
	}
	all := h.keys[w.key]
	if delete(all, w); len(all) == 0 {
		delete(h.keys, w.key)
	}
}

// covers reports whether a key lies in the range of a watch.
func (w *watch) covers(key string) bool {
	return key >= w.key && !beyond(key, w.end)
}
