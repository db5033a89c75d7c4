package core

import (
	"fmt"
	"slices"
	"sort"
)

// indexedConfiguration is a configuration with index and term of its entry. The first
// configuration of a log has index 0, or the place of the snapshot.
type indexedConfiguration struct {
	index, term uint64
	Configuration
}

// ProposeConfiguration changes the membership to next, whatever the difference (§6, thesis
// 4.3). If the voters differ, the leader appends a joint configuration of both sets, and
// appends next itself after the commit of the joint one. A change of learners or attributes
// alone takes one entry. A configuration is in force on a server from the append of its
// entry. The caller leaves Outgoing empty.
//
// The change ends with the commit of a configuration without an Outgoing part. A leader
// without a vote then asks the best voter to take over, and steps down. Former members
// receive the log until they know of their removal.
//
// ProposeConfiguration returns the index and term of the first entry. Errors are
// ErrNotLeader, ErrTransferring, ErrTermNotCommitted, ErrChangePending,
// ErrBadConfiguration, ErrUnchanged and ErrNotCaughtUp.
func (c *Core) ProposeConfiguration(next Configuration) (index, term uint64, err error) {
	next = next.sorted()
	current := c.newest()
	switch {
	case c.state != Leader:
		return 0, 0, ErrNotLeader
	case c.transferee != None:
		return 0, 0, ErrTransferring
	case !c.committedInTerm():
		return 0, 0, ErrTermNotCommitted
	case current.index > c.commitIndex || current.Joint():
		return 0, 0, fmt.Errorf("%w: that of index %d", ErrChangePending, current.index)
	case next.Joint():
		return 0, 0, fmt.Errorf("%w: the caller set Outgoing", ErrBadConfiguration)
	}
	if err := next.validate(); err != nil {
		return 0, 0, err
	}
	if next.Equal(current.Configuration) {
		return 0, 0, ErrUnchanged
	}
	if err := c.checkCaughtUp(next); err != nil {
		return 0, 0, err
	}
	c.Wake()
	if !slices.Equal(next.Voters, current.Voters) {
		next = current.joint(next)
	}
	return c.appendConfiguration(next), c.currentTerm, nil
}

// checkCaughtUp refuses new voters without most of the log. Commitment would wait for them
// (thesis 4.2.1).
func (c *Core) checkCaughtUp(next Configuration) error {
	for _, id := range next.Voters {
		if id == c.id || c.newest().IsVoter(id) {
			continue
		}
		p := c.peer(id)
		if p == nil || !c.isLearner(id) {
			return fmt.Errorf("%w: server %d is no learner yet", ErrNotCaughtUp, id)
		}
		if !c.caughtUp(p) {
			return fmt.Errorf("%w: server %d has %d of %d entries", ErrNotCaughtUp, id, p.matchIndex, c.log.lastIndex())
		}
	}
	return nil
}

// caughtUp reports whether a learner's last round of replication took less than an election
// timeout, and the present one does not take longer either.
func (c *Core) caughtUp(p *progress) bool {
	return p.round.done && p.state == Replicate && c.now-p.round.began < uint64(c.cfg.ElectionTicks)
}

// Configuration returns the newest configuration in the log, and the index of its entry.
// The configuration is in force, also before its commit.
func (c *Core) Configuration() (cfg Configuration, index uint64) {
	newest := c.newest()
	return newest.Configuration.Clone(), newest.index
}

// CommittedConfiguration returns the newest committed configuration.
func (c *Core) CommittedConfiguration() (cfg Configuration, index uint64) {
	committed := c.configurationAt(c.commitIndex)
	return committed.Configuration.Clone(), committed.index
}

func (c *Core) newest() *indexedConfiguration { return &c.configs[len(c.configs)-1] }

// configurationAt returns the configuration in force at index.
func (c *Core) configurationAt(index uint64) *indexedConfiguration {
	later := sort.Search(len(c.configs), func(i int) bool { return c.configs[i].index > index })
	return &c.configs[max(later, 1)-1]
}

func (c *Core) isVoter() bool {
	return c.electorate.voters.has(c.id) || c.electorate.outgoing.has(c.id)
}

func (c *Core) isLearner(id NodeID) bool {
	cfg := c.newest()
	return slices.Contains(cfg.Learners, id) && !cfg.IsVoter(id)
}

// isRemoved reports whether this server is a former member. A server that is added, for the
// first time or again, receives older configurations without the server first. They do not
// count as a removal.
func (c *Core) isRemoved() bool {
	newest := c.newest()
	if c.removedAt >= newest.index && c.removedAt > 0 {
		return true
	}
	return c.wasMember && newest.index > 0 && newest.index <= c.commitIndex && !newest.IsZero() && !newest.Contains(c.id) &&
		c.commitIndex >= c.heardCommit
}

// firstWithSelf returns which configuration is the first with this server, or -1.
func (c *Core) firstWithSelf() int {
	return slices.IndexFunc(c.configs, func(cfg indexedConfiguration) bool { return cfg.Contains(c.id) })
}

// noteMembership notes whether a committed configuration has this server.
func (c *Core) noteMembership() {
	own := c.firstWithSelf()
	c.wasMember = c.wasMember || own >= 0 && c.configs[own].index <= c.commitIndex
}

// loadConfigurations finds the configurations of a saved state.
func (c *Core) loadConfigurations(saved Persistent) error {
	base := saved.Snapshot.LastIncludedIndex
	first := indexedConfiguration{base, saved.Snapshot.LastIncludedTerm, saved.Snapshot.Configuration.sorted()}
	if first.IsZero() {
		first.Configuration = c.cfg.initial()
	} else if err := first.validate(); err != nil {
		return fmt.Errorf("core: the stored snapshot: %w", err)
	}
	c.configs = []indexedConfiguration{first}
	entries := saved.Entries
	if saved.Stored != nil {
		entries = saved.Stored.Configurations
	}
	for _, e := range entries {
		if e.Type != ConfigurationEntry || e.Index <= base {
			continue
		}
		cfg, err := DecodeConfiguration(e.Data)
		if err != nil || !c.log.matches(e.Index, e.Term) {
			return fmt.Errorf("core: entry %d/%d of the stored log is no configuration of this log: %w", e.Index, e.Term, err)
		}
		c.configs = append(c.configs, indexedConfiguration{e.Index, e.Term, cfg})
	}
	c.configurationChanged()
	c.noteMembership()
	return nil
}

// followConfigurations puts the configurations among new entries in force, in place of the
// configurations of truncated entries.
func (c *Core) followConfigurations(news []Entry) {
	n := len(c.configs)
	for n > 1 && c.configs[n-1].index >= news[0].Index {
		n--
	}
	changed := n < len(c.configs)
	c.configs = c.configs[:n]
	for i := range news {
		if news[i].Type != ConfigurationEntry {
			continue
		}
		cfg, err := DecodeConfiguration(news[i].Data)
		if err != nil {
			panic(fmt.Sprintf("core: server %d: entry %d was checked and is no configuration: %v", c.id, news[i].Index, err))
		}
		c.configs = append(c.configs, indexedConfiguration{news[i].Index, news[i].Term, cfg})
		changed = true
	}
	if changed {
		c.configurationChanged()
	}
}

// appendConfiguration puts the leader's own next configuration in force.
func (c *Core) appendConfiguration(cfg Configuration) uint64 {
	index := c.appendOwn(ConfigurationEntry, cfg.Encode())
	c.configs = append(c.configs, indexedConfiguration{index, c.currentTerm, cfg})
	c.configurationChanged()
	c.maybeCommit() // the quorum may be smaller now
	return index
}

// dropConfigurations forgets the configurations replaced at or before index.
func (c *Core) dropConfigurations(index uint64) {
	n := 0
	for n+1 < len(c.configs) && c.configs[n+1].index <= index {
		n++
	}
	c.configs = slices.Clone(c.configs[n:])
}

// configurationChanged puts the newest configuration in force.
func (c *Core) configurationChanged() {
	cfg := c.newest()
	c.electorate = electorate{voters: cfg.Voters, outgoing: cfg.Outgoing}
	c.members = slices.DeleteFunc(cfg.IDs(), func(id NodeID) bool { return id == c.id })
	if cfg.index > c.removedAt {
		c.removedAt = 0
	}
	if c.state != Leader {
		return
	}
	for _, id := range c.members {
		if p := c.peer(id); p == nil {
			p = c.newProgress(id)
			p.nextIndex = c.log.lastIndex() // so that the server is asked for its log at once
			c.progress = append(c.progress, p)
		} else {
			p.removedIn = 0
		}
	}
	for _, p := range c.progress {
		if !slices.Contains(c.members, p.id) && p.removedIn == 0 {
			p.removedIn, p.removedTicks, p.removedAnswers = cfg.index, 0, 0
		}
	}
	if c.transferee != None && !c.electorate.voters.has(c.transferee) {
		c.transferee = None
	}
}

// configurationCommitted continues a configuration change after the commit of the newest
// configuration. The leader leaves a joint configuration (§6), and steps down without a
// vote in a final one (thesis 4.2.2).
func (c *Core) configurationCommitted() {
	cfg := c.newest()
	switch {
	case cfg.index > c.commitIndex:
	case cfg.Joint():
		c.appendConfiguration(cfg.left())
	case !c.electorate.voters.has(c.id):
		c.leaveOffice()
	}
}

// leaveOffice ends the term of a leader without a vote. The others learn of the commit, and
// the best voter is asked to take over.
func (c *Core) leaveOffice() {
	for _, p := range c.progress {
		c.sendAppend(p, nil)
	}
	if to := c.bestSuccessor(0); to != None {
		c.send(to, &TimeoutNow{Term: c.currentTerm, LeaderID: c.id})
	}
	c.becomeFollower(c.currentTerm, None)
}

// removalAnswers is the number of answers that show a former member's knowledge. Requests
// are pipelined, so the first answer may belong to an older request.
const removalAnswers = 3

// dropRemoved ends the replication to a former member after enough answers, or after ten
// election timeouts.
func (c *Core) dropRemoved() {
	c.progress = slices.DeleteFunc(c.progress, func(p *progress) bool {
		if p.removedIn == 0 || p.removedIn > c.commitIndex {
			return false
		}
		p.removedTicks++
		return p.removedAnswers >= removalAnswers || p.removedTicks > 10*c.cfg.ElectionTicks
	})
}
