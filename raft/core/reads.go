package core

// ReadState is the outcome of a read that [Core.ReadIndex] began.
type ReadState struct {
	ID uint64 // as given to ReadIndex
	// Index is the last entry that the read must see. The host serves the read when the
	// service has applied the log up to Index. The state then contains every write that
	// completed before the read began.
	Index uint64
	// Failed reports a change of leader, or a leader without an answer. The host may begin
	// the read again.
	Failed bool
}

// reads are the linearizable reads without an index (thesis 6.4).
type reads struct {
	pending int           // all reads below
	fresh   []pendingRead // in no round and in no message yet
	results []ReadState   // for the next Reads

	round      uint64      // leader: number of the newest heartbeat round
	rounds     []readRound // leader: rounds without the answers of a quorum
	leaseStart uint64      // leader: first tick of the last answered round
	leased     bool        // leader: leaseStart is set

	nextID    uint64 // follower: of the next ReadIndex message
	forwarded []forwardedReads
}

// pendingRead is one read, or the reads of one message from another server.
type pendingRead struct {
	id   uint64
	from NodeID // None: this server's own
}

// readRound is a round of heartbeats. Answers of a quorum prove that the server was the
// leader after the round began. At that time, no client could know of an entry beyond
// index.
type readRound struct {
	number, index, began uint64
	reads                []pendingRead
}

// forwardedReads are the reads of one message to the leader.
type forwardedReads struct {
	messageID, sent uint64
	to              NodeID
	ids             []uint64
}

// ReadIndex begins a linearizable read, on any server (thesis 6.4). The outcome comes from
// Reads, under the host's id. The next Ready or Outgoing begins one round of heartbeats for
// all waiting reads of a leader, and another server sends its reads to the leader. The
// leader answers no read before the commit of an entry of its term.
//
// ReadIndex returns ErrNoLeader or ErrTooManyReads.
func (c *Core) ReadIndex(id uint64) error {
	switch {
	case c.leader == None:
		return ErrNoLeader
	case c.reads.pending >= c.cfg.MaxPendingReads:
		return ErrTooManyReads
	}
	c.Wake()
	c.addRead(pendingRead{id: id})
	return nil
}

// Reads returns the outcomes of reads since the last call.
func (c *Core) Reads() []ReadState {
	results := c.results
	c.results = nil
	return results
}

func (c *Core) addRead(r pendingRead) {
	c.busy = c.now
	c.reads.pending++
	c.fresh = append(c.fresh, r)
}

// startReads begins a round for the fresh reads, or forwards them to the leader.
func (c *Core) startReads() {
	switch {
	case len(c.fresh) == 0:
	case c.state != Leader:
		c.forwardReads()
	case !c.committedInTerm():
		// The predecessor may have acknowledged an entry beyond commitIndex. The no-op
		// commits the entry (§8).
	case c.hasLease():
		c.answerReads(c.fresh, c.commitIndex)
		c.fresh = c.fresh[:0]
	default:
		c.beginRound()
	}
}

// beginRound begins a round of heartbeats, and takes the fresh reads along if commitIndex
// covers them. Every AppendEntries carries the newest round's number.
func (c *Core) beginRound() {
	c.round++
	r := readRound{number: c.round, index: c.commitIndex, began: c.now}
	if c.committedInTerm() {
		r.reads, c.fresh = c.fresh, nil
	}
	c.rounds = append(c.rounds, r)
	c.confirmRounds()
}

// sendRound sends a heartbeat to every follower without a request of the newest round.
func (c *Core) sendRound() {
	if len(c.rounds) == 0 {
		return
	}
	for _, p := range c.progress {
		if p.sentRound < c.round {
			c.sendAppend(p, nil)
		}
	}
}

// confirmRounds answers the reads of all rounds with the answers of a quorum. An answer to
// a later round counts for earlier rounds, too.
func (c *Core) confirmRounds() {
	if len(c.rounds) == 0 {
		return
	}
	number := c.electorate.agreed(func(id NodeID) uint64 {
		if id == c.id {
			return c.round
		}
		return c.peer(id).ackedRound
	})
	n := 0
	for n < len(c.rounds) && c.rounds[n].number <= number {
		r := &c.rounds[n]
		c.leaseStart, c.leased = r.began, true
		c.answerReads(r.reads, r.index)
		r.reads = nil
		n++
	}
	c.rounds = c.rounds[:copy(c.rounds, c.rounds[n:])]
}

// hasLease reports whether the leader may answer reads without a round (thesis
// 6.4.1). The quorum of the last answered round elects nobody for ElectionTicks
// after the round began, by their own clocks. One tick is subtracted, because a
// count of ticks is up to a tick behind the time.
func (c *Core) hasLease() bool {
	return c.state == Leader && c.leased && !c.leaseBroken &&
		c.now-c.leaseStart+1 <= uint64(c.cfg.LeaseTicks) && c.committedInTerm()
}

// answerReads hands out the index of reads.
func (c *Core) answerReads(reads []pendingRead, index uint64) {
	for _, r := range reads {
		if r.from == None {
			c.results = append(c.results, ReadState{ID: r.id, Index: index})
		} else {
			c.send(r.from, &ReadIndexReply{Term: c.currentTerm, ID: r.id, Index: index})
		}
	}
	c.reads.pending -= len(reads)
}

// failReads fails all reads after the loss of the leader.
func (c *Core) failReads() {
	if c.reads.pending == 0 {
		c.rounds = nil
		return
	}
	failed := c.fresh
	for _, r := range c.rounds {
		failed = append(failed, r.reads...)
	}
	for _, r := range failed {
		if r.from == None {
			c.results = append(c.results, ReadState{ID: r.id, Failed: true})
		} else {
			c.send(r.from, &ReadIndexReply{Term: c.currentTerm, ID: r.id, Failed: true})
		}
	}
	for _, f := range c.forwarded {
		c.failForwarded(f)
	}
	c.fresh, c.rounds, c.forwarded, c.reads.pending = nil, nil, nil, 0
}

// forwardReads asks the leader for the index of the fresh reads, with one message. No
// message has the id of an earlier one, not even from before a restart. A delayed reply to
// the earlier message would carry an index from before the reads began. The ids therefore
// begin at a random number.
func (c *Core) forwardReads() {
	if c.leader == None {
		c.failReads()
		return
	}
	if c.nextID == 0 {
		c.nextID = 1 + uint64(c.cfg.Rand.IntN(1<<30))<<30 + uint64(c.cfg.Rand.IntN(1<<30))
	}
	c.nextID++
	f := forwardedReads{messageID: c.nextID, sent: c.now, to: c.leader}
	for _, r := range c.fresh {
		f.ids = append(f.ids, r.id)
	}
	c.fresh = c.fresh[:0]
	c.forwarded = append(c.forwarded, f)
	c.send(f.to, &ReadIndex{Term: c.currentTerm, ID: f.messageID})
}

// expireReads fails forwarded reads after an election timeout without an answer.
func (c *Core) expireReads() {
	n := 0
	for n < len(c.forwarded) && c.now-c.forwarded[n].sent >= uint64(c.cfg.ElectionTicks) {
		c.failForwarded(c.forwarded[n])
		c.reads.pending -= len(c.forwarded[n].ids)
		n++
	}
	c.forwarded = c.forwarded[n:]
}

func (c *Core) failForwarded(f forwardedReads) {
	for _, id := range f.ids {
		c.results = append(c.results, ReadState{ID: id, Failed: true})
	}
}

// handleReadIndex begins a read for another server.
func (c *Core) handleReadIndex(from NodeID, req *ReadIndex) {
	c.observeTerm(req.Term)
	if c.state != Leader || c.reads.pending >= c.cfg.MaxPendingReads {
		c.send(from, &ReadIndexReply{Term: c.currentTerm, ID: req.ID, Failed: true})
		return
	}
	c.addRead(pendingRead{id: req.ID, from: from})
}

// handleReadIndexReply hands out the index of the reads of one message.
func (c *Core) handleReadIndexReply(from NodeID, rep *ReadIndexReply) {
	c.observeTerm(rep.Term)
	for i, f := range c.forwarded {
		if f.messageID != rep.ID || f.to != from {
			continue
		}
		for _, id := range f.ids {
			c.results = append(c.results, ReadState{ID: id, Index: rep.Index, Failed: rep.Failed})
		}
		c.reads.pending -= len(f.ids)
		c.forwarded = append(c.forwarded[:i:i], c.forwarded[i+1:]...)
		return
	}
}
