package shardkv

import "raftlab/shardctrler"

// shard is the state of one shard at a group.
//
// The data of a shard passes from owner to owner. Each configuration that changes
// the owner begins a new tenure. A group records its own tenures while advancing
// through the configurations. The data may arrive later and belongs to the first
// tenure. When that tenure is over, the data goes on to the group that follows. So
// a group advances through configurations without waiting for data, and late data
// still passes every owner in order, exactly once.
type shard struct {
	Assigned bool      // some configuration has given the shard to a group, so data exists
	Tenures  []tenure  // tenures that are not over, or whose data has yet to arrive or leave
	Passed   int       // From of the last tenure whose data has left
	data     *data     // data of the first tenure; nil if not here
	incoming *incoming // pieces of that data so far; nil if there are none
}

// tenure is a span of configurations in which the group owns the shard.
type tenure struct {
	From    int      // the first configuration
	Until   int      // the configuration that ended the tenure; 0 if the tenure goes on
	Next    int      // the next owner, from Until on; 0 if there is none yet
	Servers []string // servers of the next owner
}

// serving returns the shard's data if the group serves the shard.
func (s *shard) serving() (*data, Code) {
	switch {
	case len(s.Tenures) == 0 || s.Tenures[len(s.Tenures)-1].Until != 0:
		return nil, WrongGroup
	case len(s.Tenures) > 1 || s.data == nil:
		return nil, Arriving
	}
	return s.data, Served
}

// assign records the owner of the shard in a configuration. assign reports whether
// the group starts the shard's first tenure, with empty data.
func (s *shard) assign(c *shardctrler.Config, shard, me int) (empty bool) {
	owner := c.Shards[shard]
	var last *tenure
	if len(s.Tenures) > 0 {
		last = &s.Tenures[len(s.Tenures)-1]
	}
	switch {
	case owner == 0:
		if last != nil && last.Until == 0 {
			last.Until = c.Num // no owner follows, so the data stays here
		}
		return false
	case owner == me && last != nil && last.Next == 0:
		last.Until = 0 // no other group has owned the shard in between
	case owner == me:
		s.Tenures = append(s.Tenures, tenure{From: c.Num})
		empty = !s.Assigned
	case last != nil && last.Next == 0:
		last.Until, last.Next, last.Servers = c.Num, owner, c.Groups[owner]
	}
	s.Assigned = true
	return empty
}

// awaits decides about data for the tenure that begins at configuration num, while
// the group has configuration have. The data is to be installed if awaits returns
// true. Otherwise the code is the answer to the sender.
func (s *shard) awaits(num, have int) (Code, bool) {
	switch {
	case num > have:
		return Arriving, false
	case num <= s.Passed:
		return Served, false // the data was here and has gone on
	case len(s.Tenures) == 0 || s.Tenures[0].From > num:
		return WrongGroup, false
	case s.Tenures[0].From < num:
		return Arriving, false // data of an earlier tenure comes first
	}
	return Served, s.data == nil
}

// outgoing returns the tenure whose data has to move on to the next owner.
func (s *shard) outgoing() (tenure, bool) {
	if s.data == nil || s.Tenures[0].Next == 0 {
		return tenure{}, false
	}
	return s.Tenures[0], true
}

// remove deletes the data of the tenure that ended with configuration num. The
// next owner has installed the data.
func (s *shard) remove(num int) {
	if t, ok := s.outgoing(); ok && t.Until == num {
		s.Passed, s.data = t.From, nil
		s.Tenures = s.Tenures[1:]
	}
}
