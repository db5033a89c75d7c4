package core

// progressState is how a leader sends to one follower.
type progressState uint8

const (
	// probe: where the logs agree is not known, so one request at a time looks
	// for the place.
	probe progressState = iota
	// replicate: the place is known; requests are pipelined, each continuing
	// where the one before ended.
	replicate
	// snapshot: the follower needs entries that are gone; nothing else is sent
	// until it has the snapshot.
	snapshot
)

// progress is what a leader knows of one follower (Figure 2: nextIndex[] and
// matchIndex[]), and how it sends to it.
//
//	         success                     too far behind
//	probe ------------> replicate    any ---------------> snapshot
//	      <------------                  <---------------
//	     refused or lost                installed or lost
type progress struct {
	state      progressState
	matchIndex uint64 // highest index known to be replicated there
	nextIndex  uint64 // next index to send
	inflight   window // requests with entries that are not answered yet, in replicate
	sentCommit uint64 // highest leaderCommit that was sent

	// waiting: a probe or a snapshot is out, and the next one is due only when
	// it is answered, or with a heartbeat.
	waiting bool
	// failures counts the requests lost since the last answer. The first is
	// mended at once; after that the follower is probably away, and gets no
	// more than heartbeats until it answers.
	failures int
	// active: it has answered since quorum contact was last checked.
	active bool
	// snapshotTicks counts the time since the snapshot was sent.
	snapshotTicks int
}

// become changes the way of sending, starting after what is known to match.
func (p *progress) become(s progressState) {
	p.state = s
	p.nextIndex = p.matchIndex + 1
	p.waiting = false
	p.snapshotTicks = 0
	p.inflight.reset()
}

// accepted takes in that the follower agrees up to index; it says whether that
// was news.
func (p *progress) accepted(index uint64) bool {
	p.inflight.ackTo(index)
	news := index > p.matchIndex
	p.matchIndex = max(p.matchIndex, index)
	p.nextIndex = max(p.nextIndex, p.matchIndex+1)
	if p.state == probe && index >= p.nextIndex-1 || p.state == snapshot && news {
		p.become(replicate)
	}
	return news
}

// refused takes in that the follower has no entry at prevLogIndex that agrees,
// and that next is the first place worth trying. A refusal that later answers
// have overtaken is ignored, and while probing, one that does not answer what is
// asked now (expected).
func (p *progress) refused(prevLogIndex, next uint64, expected bool) {
	if prevLogIndex <= p.matchIndex || p.state == snapshot || p.state == probe && !expected {
		return
	}
	p.become(probe)
	p.nextIndex = max(next, p.matchIndex+1)
}

// lost takes in that a request or its reply did not arrive.
func (p *progress) lost() {
	p.failures++
	if p.state != probe {
		p.become(probe)
	}
	p.waiting = p.away()
}

// away says that the follower has stopped answering.
func (p *progress) away() bool { return p.failures > 1 }

// answered takes in that the follower is there.
func (p *progress) answered() {
	if p.away() {
		p.waiting = false
	}
	p.active = true
	p.failures = 0
}

// window is a queue of the requests on their way to one follower, bounded by
// count and bytes so that a slow follower is not flooded.
type window struct {
	maxCount, maxBytes int
	bytes              int
	sent               []sentRequest
}

// sentRequest is a request's last index and size.
type sentRequest struct {
	last  uint64
	bytes int
}

func (w *window) full() bool { return len(w.sent) >= w.maxCount || w.bytes >= w.maxBytes }

func (w *window) add(last uint64, bytes int) {
	w.sent = append(w.sent, sentRequest{last, bytes})
	w.bytes += bytes
}

// ackTo forgets the requests that end at index or before.
func (w *window) ackTo(index uint64) {
	n := 0
	for n < len(w.sent) && w.sent[n].last <= index {
		w.bytes -= w.sent[n].bytes
		n++
	}
	w.sent = w.sent[n:]
}

func (w *window) reset() { w.sent, w.bytes = nil, 0 }
