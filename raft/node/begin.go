package node

import "sync"

// beginner runs the cores that wait for the next save. With many cores, workers help.
type beginner struct {
	host *Host

	mu     sync.Mutex
	idle   sync.Cond // on mu: no goroutine runs a core
	nodes  []*Node   // not taken yet
	active int       // goroutines that run cores
	items  []*save
}

// beginShare is the number of cores that a goroutine takes at a time.
const beginShare = 64

func newBeginner(h *Host) *beginner {
	b := &beginner{host: h}
	b.idle.L = &b.mu
	return b
}

// run runs the cores of nodes and adds their saves to items. Between two shares of cores,
// run calls flush.
func (b *beginner) run(nodes []*Node, items []*save, flush func()) []*save {
	b.mu.Lock()
	b.nodes, b.items = nodes, items
	b.mu.Unlock()
	for range min(len(nodes)/beginShare, b.host.cfg.Workers-1) {
		b.host.workers.add((*beginTask)(b))
	}
	for b.runShare() {
		flush()
	}
	return b.take(nil)
}

// take ends the run under way of a goroutine that ends, and returns the saves. items are
// those without a run.
func (b *beginner) take(items []*save) []*save {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.active > 0 {
		b.idle.Wait()
	}
	if b.items != nil {
		items = b.items
	}
	b.nodes, b.items = nil, nil
	return items
}

// beginTask is a beginner as a task of the workers. A task that comes late finds nothing
// to do, or helps with a later save.
type beginTask beginner

func (t *beginTask) run() {
	b := (*beginner)(t)
	for b.runShare() {
	}
}

// runShare takes some cores and runs them. It reports whether others are left.
func (b *beginner) runShare() bool {
	b.mu.Lock()
	share := b.nodes[:min(len(b.nodes), beginShare)]
	if len(share) == 0 {
		b.mu.Unlock()
		return false
	}
	b.nodes = b.nodes[len(share):]
	b.active++
	items := make([]*save, 0, len(share))
	defer func() { // also if code of the service ends the goroutine
		b.mu.Lock()
		defer b.mu.Unlock()
		b.items = append(b.items, items...)
		if b.active--; b.active == 0 {
			b.idle.Signal()
		}
	}()
	more := len(b.nodes) > 0
	b.mu.Unlock()
	for _, n := range share {
		item, applies := n.beginSave()
		if item != nil {
			items = append(items, item)
		}
		if applies {
			b.host.appliers.add((*applyTask)(n))
		}
	}
	return more
}
