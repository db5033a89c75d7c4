package node

import "sync"

// task is a piece of work that a pool's goroutine runs.
type task interface{ run() }

// pool runs tasks on a fixed number of goroutines, in the order of their arrival.
type pool struct {
	running sync.WaitGroup

	mu     sync.Mutex
	waits  sync.Cond // on mu: a task has come, or the pool is closed
	tasks  queue[task]
	closed bool
}

func newPool(goroutines int) *pool {
	p := &pool{}
	p.waits.L = &p.mu
	for range goroutines {
		p.running.Go(p.work)
	}
	return p
}

// add queues a task. A closed pool drops the task.
func (p *pool) add(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.tasks.push(t)
	p.waits.Signal()
}

func (p *pool) work() {
	exits := true
	defer func() {
		if exits { // a task has ended the goroutine (runtime.Goexit), or panics
			p.running.Go(p.work)
		}
	}()
	for {
		t := p.next()
		if t == nil {
			exits = false
			return
		}
		t.run()
	}
}

// next waits for a task, and returns nil when the pool is closed.
func (p *pool) next() task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.tasks.len() == 0 && !p.closed {
		p.waits.Wait()
	}
	if p.closed {
		return nil
	}
	return p.tasks.pop()
}

// close drops the waiting tasks and waits for the others.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.tasks = queue[task]{}
	p.waits.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}
