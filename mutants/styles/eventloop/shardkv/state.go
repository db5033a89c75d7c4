package shardkv

import (
	"maps"
	"slices"

	"raftlab/shardctrler"
)

// Box is the content of a shard: the values, and the sessions of the writing clients.
type Box struct {
	Values   map[string]string
	Sessions map[int64]int64
}

func newBox() Box {
	return Box{map[string]string{}, map[int64]int64{}}
}

// copy returns a deep copy without nil maps.
func (b Box) copy() Box {
	c := newBox()
	maps.Copy(c.Values, b.Values)
	maps.Copy(c.Sessions, b.Sessions)
	return c
}

// Stint is a time in which the group owns a shard. A shard that returns before the first
// departure has two stints.
type Stint struct {
	From    int      // the config that gave the shard to the group
	Until   int      // the config that gave the shard to another group, or 0
	Servers []string // of the other group
	Held    bool     // the box has arrived
	Box     Box
}

// state is the replicated state of a group, and the content of a snapshot. A config takes
// effect at once, and each shard moves through the owners at the shard's own pace.
type state struct {
	GID    int
	Config shardctrler.Config
	Owners [shardctrler.NShards]int // the last group, also while no group has the shard
	Stints [shardctrler.NShards][]Stint
}

// serving returns the stint of a shard that the group serves, or nil.
func (s *state) serving(shard int) *Stint {
	stints := s.Stints[shard]
	if s.Config.Shards[shard] != s.GID || len(stints) == 0 {
		return nil
	}
	if last := &stints[len(stints)-1]; last.Held {
		return last
	}
	return nil
}

// stint returns the stint of a shard that matches, or nil.
func (s *state) stint(shard int, matches func(Stint) bool) *Stint {
	if i := slices.IndexFunc(s.Stints[shard], matches); i >= 0 {
		return &s.Stints[shard][i]
	}
	return nil
}

// coming returns the stint that an arrival begins, or nil if the shard has arrived.
func (s *state) coming(a Arrival) *Stint {
	return s.stint(a.Shard, func(t Stint) bool { return t.From == a.Num && !t.Held })
}

// going returns the stint that a departure ends, or nil if the shard has gone.
func (s *state) going(d Departure) *Stint {
	return s.stint(d.Shard, func(t Stint) bool { return t.Until == d.Num && t.Held })
}

func (s *state) apply(command any) {
	switch c := command.(type) {
	case Request:
		s.request(c)
	case NewConfig:
		s.newConfig(c.Config)
	case Arrival:
		if t := s.coming(c); t != nil {
			t.Held, t.Box = true, c.Box.copy()
		}
	case Departure:
		if s.going(c) != nil {
			s.Stints[c.Shard] = slices.DeleteFunc(s.Stints[c.Shard], func(t Stint) bool { return t.Until == c.Num })
		}
	}
}

func (s *state) request(r Request) {
	t := s.serving(key2shard(r.Key))
	if t == nil || t.finished(r) {
		return
	}
	t.Box.Sessions[r.Client] = r.Seq
	switch r.Kind {
	case put:
		t.Box.Values[r.Key] = r.Value
	case add:
		t.Box.Values[r.Key] += r.Value
	}
}

// finished reports whether a request was applied, by this group or an earlier owner.
func (t *Stint) finished(r Request) bool {
	return t.Box.Sessions[r.Client] >= r.Seq
}

// wanted is the number of the next config. A group takes every config in turn.
func (s *state) wanted() int {
	return s.Config.Num + 1
}

func (s *state) follows(next shardctrler.Config) bool {
	return next.Num == s.Config.Num+1
}

// newConfig begins and ends stints. A shard of group 0 stays with the last owner.
func (s *state) newConfig(next shardctrler.Config) {
	if !s.follows(next) {
		return
	}
	s.Config = next
	for shard, gid := range next.Shards {
		old := s.Owners[shard]
		if gid == 0 || gid == old {
			continue
		}
		s.Owners[shard] = gid
		stints := s.Stints[shard]
		if old == s.GID {
			last := &stints[len(stints)-1]
			last.Until, last.Servers = next.Num, next.Groups[gid]
		}
		if gid == s.GID {
			first := old == 0
			s.Stints[shard] = append(stints, Stint{From: next.Num, Held: first, Box: newBox()})
		}
	}
}
