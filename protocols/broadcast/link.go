package broadcast

import (
	"sync"
	"time"

	"raftlab/labrpc"
)

// retryPause is the time between two attempts to send a packet.
const retryPause = 20 * time.Millisecond

// A link delivers packets to one peer in order, and retries each packet until the peer
// has acknowledged it. A packet may arrive twice. Without acknowledgements the queue grows.
type link struct {
	peer *labrpc.ClientEnd
	wake chan struct{} // holds one notification

	mu    sync.Mutex
	queue []Packet
}

func newLink(peer *labrpc.ClientEnd) *link {
	return &link{peer: peer, wake: make(chan struct{}, 1)}
}

// put appends a packet and does not wait.
func (l *link) put(p Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, p)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take removes the first packet.
func (l *link) take() (p Packet, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return p, false
	}
	p = l.queue[0]
	l.queue = l.queue[1:]
	return p, true
}

// run is the goroutine of the link. It ends after done, with the call under way.
func (l *link) run(done <-chan struct{}) {
	for {
		p, ok := l.take()
		if !ok {
			select {
			case <-l.wake:
				continue
			case <-done:
				return
			}
		}
		for !l.peer.Call("Node.Receive", p, new(bool)) {
			select {
			case <-time.After(retryPause):
			case <-done:
				return
			}
		}
	}
}
