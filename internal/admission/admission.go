// Package admission bounds the work that a server has under way at once, in bytes
// and in requests. Requests over the bound wait in the order of their arrival. If
// too many requests wait, further requests are refused at once.
package admission

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Errors of [Gate.Acquire]. After each of them nothing was admitted.
var (
	// ErrFull means that the gate is full and its queue too.
	ErrFull = errors.New("admission: too many requests are under way and waiting")
	// ErrClosed means that [Gate.Close] was called.
	ErrClosed = errors.New("admission: the gate is closed")
)

// Limits are the bounds of a [Gate].
type Limits struct {
	// Bytes bounds the sum over all admitted requests. A larger request is admitted
	// when no other request is under way.
	Bytes int
	// Requests bounds the number of admitted requests.
	Requests int
	// Waiting bounds the number of waiting requests.
	Waiting int
}

// Load is the work at a gate.
type Load struct {
	Bytes    int // of all admitted requests
	Requests int // admitted
	Waiting  int // for admission
}

// Gate admits requests within limits. The methods of a Gate may be called from
// any goroutine.
type Gate struct {
	limits Limits

	mu      sync.Mutex
	load    Load
	waiting list.List // of *waiter, the first to be admitted in front
	closed  bool
}

// waiter is a waiting request.
type waiter struct {
	bytes int
	done  chan error // capacity 1: the outcome of Acquire
}

// NewGate returns a gate with limits, each of which is at least 1 (Waiting: 0).
func NewGate(limits Limits) *Gate {
	if limits.Bytes < 1 || limits.Requests < 1 || limits.Waiting < 0 {
		panic("admission: NewGate: want at least 1 byte, 1 request and no negative number of waiting requests")
	}
	return &Gate{limits: limits}
}

// TryAcquire admits a request of so many bytes if the request need not wait.
func (g *Gate) TryAcquire(bytes int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.admit(bytes)
}

// admit is TryAcquire with the lock held.
func (g *Gate) admit(bytes int) bool {
	if g.closed || g.waiting.Len() > 0 || !g.fits(bytes) {
		return false
	}
	g.add(bytes)
	return true
}

func (g *Gate) fits(bytes int) bool {
	return g.load.Requests == 0 || g.load.Requests < g.limits.Requests && g.load.Bytes+bytes <= g.limits.Bytes
}

func (g *Gate) add(bytes int) {
	g.load.Requests++
	g.load.Bytes += bytes
}

// Acquire waits until a request of so many bytes is admitted, and then returns
// nil. The caller calls [Gate.Release] with the same number when the request is
// done. The error is [ErrFull], [ErrClosed] or the error of ctx.
func (g *Gate) Acquire(ctx context.Context, bytes int) error {
	g.mu.Lock()
	switch {
	case g.admit(bytes):
		g.mu.Unlock()
		return nil
	case g.closed:
		g.mu.Unlock()
		return ErrClosed
	case g.waiting.Len() >= g.limits.Waiting:
		g.mu.Unlock()
		return ErrFull
	}
	w := &waiter{bytes: bytes, done: make(chan error, 1)}
	place := g.waiting.PushBack(w)
	g.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-w.done: // admitted, or closed, at the same moment
		return err
	default:
		g.waiting.Remove(place)
		g.admitWaiting() // a smaller request behind this one may fit
		return ctx.Err()
	}
}

// Release ends a request of so many bytes, and admits waiting requests in its
// place.
func (g *Gate) Release(bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load.Requests--
	g.load.Bytes -= bytes
	if g.load.Requests < 0 || g.load.Bytes < 0 {
		panic("admission: Release without Acquire")
	}
	g.admitWaiting()
}

// admitWaiting admits waiting requests in their order. A large request in front
// holds up smaller ones behind it, or it would never be admitted.
func (g *Gate) admitWaiting() {
	for front := g.waiting.Front(); front != nil && g.fits(front.Value.(*waiter).bytes); front = g.waiting.Front() {
		w := g.waiting.Remove(front).(*waiter)
		g.add(w.bytes)
		w.done <- nil
	}
}

// Close refuses all waiting and all later requests with [ErrClosed]. Admitted
// requests go on.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for front := g.waiting.Front(); front != nil; front = g.waiting.Front() {
		g.waiting.Remove(front).(*waiter).done <- ErrClosed
	}
}

// Load returns the work at the gate now.
func (g *Gate) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	load := g.load
	load.Waiting = g.waiting.Len()
	return load
}
