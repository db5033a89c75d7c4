package labgob

import "sync"

// maxFree is how many warm encoders or decoders wait for use in each place.
const maxFree = 8

// A freeList keeps some values for the next use.
type freeList[T any] struct {
	mu   sync.Mutex
	free []*T
}

// get takes a value from the list, or returns nil.
func (l *freeList[T]) get() *T {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.free)
	if n == 0 {
		return nil
	}
	v := l.free[n-1]
	l.free = l.free[:n-1]
	return v
}

// put returns a value to the list, if the list has room.
func (l *freeList[T]) put(v *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.free) < maxFree {
		l.free = append(l.free, v)
	}
}
