package raft

import "sync"

// applyQueue keeps messages in order until the service takes the messages. A token in the
// channel full wakes the goroutine of run after a push.
type applyQueue struct {
	lock     sync.Mutex
	messages []ApplyMsg
	full     chan struct{}
	out      chan ApplyMsg
	quit     chan struct{}
}

func newApplyQueue(out chan ApplyMsg, quit chan struct{}) *applyQueue {
	return &applyQueue{full: make(chan struct{}, 1), out: out, quit: quit}
}

// push does not block.
func (q *applyQueue) push(msg ApplyMsg) {
	q.lock.Lock()
	q.messages = append(q.messages, msg)
	q.lock.Unlock()
	select {
	case q.full <- struct{}{}:
	default:
	}
}

func (q *applyQueue) takeAll() []ApplyMsg {
	q.lock.Lock()
	defer q.lock.Unlock()
	messages := q.messages
	q.messages = nil
	return messages
}

func (q *applyQueue) run() {
	for {
		select {
		case <-q.full:
		case <-q.quit:
			return
		}
		for _, msg := range q.takeAll() {
			select {
			case q.out <- msg:
			case <-q.quit:
				return
			}
		}
	}
}
