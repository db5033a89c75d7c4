package core

// Load asks the host to read entries from storage, for a follower behind those in memory.
type Load struct {
	To NodeID
	Range
	MaxBytes int // of entries; at least one entry

	term uint64
}

// maxLoad bounds the entries of one load or of one range to apply.
const maxLoad = 4096

// load asks for a follower's next entries. A follower has at most one load at a time.
// Loaded entries are sent at once, without waiting for earlier answers.
func (c *Core) load(p *progress) {
	p.loading = p.nextIndex
	last := min(c.log.first-1, p.nextIndex+maxLoad-1)
	c.loads = append(c.loads, Load{p.id, Range{p.nextIndex, last}, c.cfg.MaxRequestBytes, c.currentTerm})
}

// Loads returns the loads since the last call. Ready, Outgoing, Step and Tick may cause
// loads. The host hands each to Loaded, at any time later. Until then the follower gets
// only heartbeats.
func (c *Core) Loads() []Load {
	loads := c.loads
	c.loads = nil
	return loads
}

// Loaded hands in the entries of a Load, from First on, as many as MaxBytes allows. Without
// entries, after a compaction or a failed read, the core tries again with the next
// heartbeat. The host does not change the entries later.
func (c *Core) Loaded(l Load, entries []Entry) {
	p := c.peer(l.To)
	if c.state != Leader || l.term != c.currentTerm || p == nil || p.loading != l.First {
		return // overtaken by events
	}
	p.loading = 0
	if p.nextIndex > l.Last {
		return // an answer to earlier requests was enough
	}
	entries = entries[min(p.nextIndex-l.First, uint64(len(entries))):]
	for i := range entries {
		if entries[i].Index != c.prevLogIndex(p)+1+uint64(i) || entries[i].Index > l.Last || !c.log.matches(entries[i].Index, entries[i].Term) {
			entries = entries[:i]
			break
		}
	}
	if len(entries) == 0 {
		p.become(Probe)
		p.waiting = true // for the answer to the next heartbeat
		return
	}
	c.sendEntriesTo(p, limit(entries, c.cfg.MaxRequestBytes))
}

// LoadToApply returns the range of committed entries to be applied next, if they are not in
// memory. The host reads them from storage. The range is empty if NextToApply has the next
// entries. The core counts the range as applied from then on.
func (c *Core) LoadToApply() Range {
	next := c.lastApplied + 1
	if c.restoring != nil || next >= c.log.first || next > c.commitIndex {
		return Range{}
	}
	c.lastApplied = min(c.commitIndex, c.log.first-1, c.lastApplied+maxLoad)
	return Range{next, c.lastApplied}
}
