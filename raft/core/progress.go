package core

// ProgressState is how a leader sends to one follower.
type ProgressState uint8

const (
	// Probe looks for the last entry on which the logs agree, one request at a time.
	Probe ProgressState = iota
	// Replicate pipelines requests. Each begins where the one before ended.
	Replicate
	// SendSnapshot replaces compacted entries by a snapshot. Until the follower has the
	// snapshot, it gets only heartbeats.
	SendSnapshot
)

// String returns the name of s.
func (s ProgressState) String() string { return [...]string{"probe", "replicate", "snapshot"}[s] }

// progress is the leader's knowledge of one follower (Figure 2: nextIndex[] and
// matchIndex[]), and how the leader sends to it.
//
//	         success                     too far behind
//	probe ------------> replicate    any ---------------> snapshot
//	      <------------                  <---------------
//	     refused or lost                installed or lost
type progress struct {
	id         NodeID
	state      ProgressState
	matchIndex uint64 // highest index known to be replicated there
	nextIndex  uint64 // next index to send
	inflight   window // unanswered requests with entries, in Replicate
	sentCommit uint64 // highest leaderCommit that was sent
	sentRound  uint64 // round of the last AppendEntries
	ackedRound uint64 // highest round that was answered (thesis 6.4)

	// waiting delays the next probe or snapshot until the answer to the last one, or a
	// heartbeat.
	waiting bool
	// loading is the first entry of the follower's open Load, 0 if there is none.
	loading uint64
	// failures counts the requests lost since the last answer. The leader repeats the first
	// at once. After the second the follower is probably down, and gets only heartbeats
	// until an answer.
	failures int
	// active records an answer since quorum contact was last checked.
	active bool
	// snapshotTicks counts the time since the snapshot, or a chunk, was sent.
	snapshotTicks int
	// chunks is the follower's part of a chunked snapshot.
	chunks chunkProgress
	// round measures how fast a learner catches up.
	round catchUp
	// quiescent records the follower's agreement to fall silent.
	quiescent bool
	// removedIn is the configuration without this former member, 0 for a member. The ticks
	// count from the commit, and the answers from the message with the commit.
	removedIn                    uint64
	removedTicks, removedAnswers int
}

// chunkProgress is the part of a snapshot that a follower has acknowledged.
type chunkProgress struct{ index, offset uint64 }

// become changes the way of sending, and starts after the last match.
func (p *progress) become(s ProgressState) {
	p.state = s
	p.nextIndex = p.matchIndex + 1
	p.waiting, p.loading = false, 0
	p.snapshotTicks = 0
	p.inflight.reset()
}

// accepted records that the follower agrees up to index, and reports news.
func (p *progress) accepted(index uint64) bool {
	p.inflight.ackTo(index)
	news := index > p.matchIndex
	p.matchIndex = max(p.matchIndex, index)
	p.nextIndex = max(p.nextIndex, p.matchIndex+1)
	if p.state == Probe && index >= p.nextIndex-1 || p.state == SendSnapshot && news {
		p.become(Replicate)
	}
	return news
}

// refused records that the logs disagree at prevLogIndex, and that next is the first index
// worth trying. An answer overtaken by a later one is ignored. In Probe, only the answer to
// the last request counts (expected).
func (p *progress) refused(prevLogIndex, next uint64, expected bool) {
	if prevLogIndex <= p.matchIndex || p.state == SendSnapshot || p.state == Probe && !expected {
		return
	}
	if p.state == Replicate {
		p.inflight.shrink() // a request before this one was lost
	}
	p.become(Probe)
	p.nextIndex = max(next, p.matchIndex+1)
}

// lost records that a request or its reply did not arrive.
func (p *progress) lost() {
	p.failures++
	if p.state == Replicate {
		p.inflight.shrink()
	}
	if p.state != Probe {
		p.become(Probe)
	}
	p.waiting = p.away()
}

// away reports whether the follower has stopped answering.
func (p *progress) away() bool { return p.failures > 1 }

// answered records that the follower is there.
func (p *progress) answered() {
	if p.away() {
		p.waiting = false
	}
	p.active = true
	p.failures = 0
}

// catchUp measures a learner's progress in rounds (thesis 4.2.1). Each round replicates the
// entries that the leader had when the round began.
type catchUp struct {
	target uint64 // last index of the round
	began  uint64 // tick
	done   bool   // the round before took less than an election timeout
}

// observe records the index that a learner has reached.
func (u *catchUp) observe(match, last, now uint64, timeout int) {
	if u.target == 0 {
		*u = catchUp{target: last, began: now}
	}
	if match < u.target {
		u.done = u.done && now-u.began < uint64(timeout)
		return
	}
	*u = catchUp{target: last, began: now, done: now-u.began < uint64(timeout)}
}

// window is a queue of the unanswered requests to one follower. Bounds on count and bytes
// protect a slow follower.
type window struct {
	maxCount, maxBytes int
	adaptive           bool
	lost               int // bytes by which losses have narrowed maxBytes
	bytes              int
	sent               []sentRequest
}

// sentRequest is the last index and the size of a request.
type sentRequest struct {
	last  uint64
	bytes int
}

func (w *window) full() bool { return len(w.sent) >= w.maxCount || w.bytes >= w.maxBytes-w.lost }

func (w *window) add(last uint64, bytes int) {
	w.sent = append(w.sent, sentRequest{last, bytes})
	w.bytes += bytes
}

// ackTo removes the requests up to index. Each one widens a narrowed window.
func (w *window) ackTo(index uint64) {
	n := 0
	for n < len(w.sent) && w.sent[n].last <= index {
		w.bytes -= w.sent[n].bytes
		w.lost -= min(w.lost, max(w.sent[n].bytes/4, 1))
		n++
	}
	w.sent = w.sent[:copy(w.sent, w.sent[n:])]
}

// shrink halves the window after a loss: multiplicative decrease, as in TCP. Random losses
// must not close the window, so shrink stops at a sixteenth of the bound.
func (w *window) shrink() {
	if w.adaptive && w.maxBytes-w.lost > w.maxBytes/16 {
		w.lost += (w.maxBytes - w.lost) / 2
	}
}

func (w *window) reset() { w.sent, w.bytes = w.sent[:0], 0 }
