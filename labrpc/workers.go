package labrpc

import "sync/atomic"

// workers are goroutines that run handlers one after the other. The stack of a new
// goroutine grows with each handler. The stack of a worker has grown already.
type workers[T any] struct {
	serve func(T)
	done  <-chan struct{} // closed when idle workers are to end
	work  chan T
	idle  atomic.Int64
}

// maxIdle bounds the workers that wait for work.
const maxIdle = 64

func newWorkers[T any](done <-chan struct{}, serve func(T)) *workers[T] {
	return &workers[T]{serve: serve, done: done, work: make(chan T)}
}

// run runs serve(x) in an idle worker, or in a new one. A worker whose handler
// blocks delays nobody else.
func (w *workers[T]) run(x T) {
	select {
	case w.work <- x:
	default:
		go w.worker(x)
	}
}

// worker is the goroutine of a worker. It ends after done, when its handler has
// ended.
func (w *workers[T]) worker(x T) {
	for {
		w.serve(x)
		if w.idle.Add(1) > maxIdle {
			w.idle.Add(-1)
			return
		}
		select {
		case x = <-w.work:
			w.idle.Add(-1)
		case <-w.done:
			return
		}
	}
}
