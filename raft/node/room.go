package node

import "sync"

// room counts the commands that are pending, and bounds them.
type room struct {
	maxCount, maxBytes int

	mu           sync.Mutex
	count, bytes int
	closed       bool
	freed        chan struct{} // closed when there is room again; nil if nobody waits
}

// enter admits a command of size bytes, or refuses it.
func (r *room) enter(size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tryEnter(size)
}

// tryEnter is enter with the lock held. A command is admitted at any size if no
// other command is pending.
func (r *room) tryEnter(size int) error {
	if r.closed {
		return errRefusedStopped
	}
	if r.count > 0 && (r.count >= r.maxCount || r.bytes+size > r.maxBytes) {
		return errQueueFull
	}
	r.count++
	r.bytes += size
	return nil
}

// enterOrWait is enter for a caller that waits. In place of [ErrQueueFull], the caller
// gets a channel, closed when there may be room.
func (r *room) enterOrWait(size int) (freed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.tryEnter(size); err != errQueueFull {
		return nil, err
	}
	if r.freed == nil {
		r.freed = make(chan struct{})
	}
	return r.freed, nil
}

// leave gives the room of some commands back.
func (r *room) leave(count, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count -= count
	r.bytes -= size
	r.notify()
}

// close refuses commands from now on.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.notify()
}

func (r *room) notify() {
	if r.freed != nil {
		close(r.freed)
		r.freed = nil
	}
}
