package node

import (
	"context"
	"sync"
	"sync/atomic"
)

// appliedIndex is the index of the last applied entry. Goroutines wait for the
// index to advance.
type appliedIndex struct {
	index   atomic.Uint64
	waiting atomic.Int32

	mu      sync.Mutex
	changed chan struct{} // closed at the next advance; nil if nobody waits
	stopped bool
}

func (a *appliedIndex) advance(index uint64) {
	a.index.Store(index)
	if a.waiting.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notify()
}

func (a *appliedIndex) notify() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

func (a *appliedIndex) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.notify()
}

// wait returns when the state includes the entry at index.
func (a *appliedIndex) wait(ctx context.Context, index uint64) error {
	if a.index.Load() >= index {
		return nil
	}
	a.waiting.Add(1)
	defer a.waiting.Add(-1)
	for {
		a.mu.Lock()
		if a.index.Load() >= index {
			a.mu.Unlock()
			return nil
		}
		if a.stopped {
			a.mu.Unlock()
			return ErrStopped
		}
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
