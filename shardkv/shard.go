package shardkv

import "raftlab/shardctrler"

// shard is what a group knows of one shard.
//
// A shard's data goes from owner to owner: from each group that a configuration
// made its owner to the group that the next such configuration did. A group
// notes the spans of configurations in which it is the owner, its tenures, as
// it takes the configurations; the data, which comes later, belongs to the first
// of them, and when that is over goes on to the group that follows. So a group
// can take configurations without waiting for data, and data that is late still
// goes the whole way, exactly once over each step.
type shard struct {
	Assigned bool      // some configuration has given the shard to a group, so there is data
	Tenures  []tenure  // those that are not over, or whose data is yet to come or go
	Passed   int       // From of the last tenure whose data has gone on
	data     *data     // of the first tenure; nil: not here
	incoming *incoming // what has come of it; nil: nothing
}

// tenure is a span of configurations in which this group owns a shard.
type tenure struct {
	From    int      // the configuration that began it
	Until   int      // the one that ended it; 0: it goes on
	Next    int      // the group that follows, from Until on; 0: none yet
	Servers []string // of that group
}

// serving returns the shard's data if this group serves it.
func (s *shard) serving() (*data, Verdict) {
	switch {
	case len(s.Tenures) == 0 || s.Tenures[len(s.Tenures)-1].Until != 0:
		return nil, WrongGroup
	case len(s.Tenures) > 1 || s.data == nil:
		return nil, Arriving
	}
	return s.data, Served
}

// assign notes who owns the shard in a configuration. It says whether the
// group's own is to begin with an empty shard.
func (s *shard) assign(c *shardctrler.Config, shard, me int) (empty bool) {
	owner := c.Shards[shard]
	var last *tenure
	if len(s.Tenures) > 0 {
		last = &s.Tenures[len(s.Tenures)-1]
	}
	switch {
	case owner == 0:
		if last != nil && last.Until == 0 {
			last.Until = c.Num // nobody follows; the data stays here
		}
		return false
	case owner == me && last != nil && last.Next == 0:
		last.Until = 0 // it goes on, or nobody had it in between
	case owner == me:
		s.Tenures = append(s.Tenures, tenure{From: c.Num})
		empty = !s.Assigned
	case last != nil && last.Next == 0:
		last.Until, last.Next, last.Servers = c.Num, owner, c.Groups[owner]
	}
	s.Assigned = true
	return empty
}

// awaits says what to do with data that is handed over for the tenure that
// begins at configuration num, when the group has taken configuration have:
// install it (Served and true), or answer.
func (s *shard) awaits(num, have int) (Verdict, bool) {
	switch {
	case num > have:
		return Arriving, false
	case num <= s.Passed:
		return Served, false // it was here and has gone on
	case len(s.Tenures) == 0 || s.Tenures[0].From > num:
		return WrongGroup, false
	case s.Tenures[0].From < num:
		return Arriving, false // what comes before is not here yet
	}
	return Served, s.data == nil
}

// outgoing returns the tenure that is over and whose data is to go on.
func (s *shard) outgoing() (tenure, bool) {
	if s.data == nil || s.Tenures[0].Next == 0 {
		return tenure{}, false
	}
	return s.Tenures[0], true
}

// pass forgets the data that the next owner has: that of the tenure which ended
// with configuration num.
func (s *shard) pass(num int) {
	if t, ok := s.outgoing(); ok && t.Until == num {
		s.Passed, s.data = t.From, nil
		s.Tenures = s.Tenures[1:]
	}
}
