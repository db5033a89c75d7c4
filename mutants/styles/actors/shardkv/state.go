package shardkv

import (
	"bytes"

	"raftlab/labgob"
	"raftlab/shardctrler"
)

// Outgoing is a shard without a confirmation of the next owner. A shard of nobody stays
// here until another group gets the shard.
type Outgoing struct {
	To      int
	Servers []string
	Content Content
}

// Sent is the log's command after the arrival of an outgoing shard.
type Sent struct {
	Parcel Parcel
}

// Begin is the first entry of a leader's term. The entry commits those of older terms.
type Begin struct{}

// state is the replicated state. Its fields are exported for labgob.
type state struct {
	Config    shardctrler.Config
	LastOwner [shardctrler.NShards]int // the last group of each shard, or 0
	Owned     map[int]Content
	Expected  map[int]bool
	Outgoing  map[Parcel]Outgoing
}

func newState() *state {
	return &state{
		Config:   shardctrler.Config{Groups: make(map[int][]string)},
		Owned:    make(map[int]Content),
		Expected: make(map[int]bool),
		Outgoing: make(map[Parcel]Outgoing),
	}
}

// apply applies a command of the log for group me.
func (st *state) apply(command any, me int) Answer {
	switch c := command.(type) {
	case Command:
		return st.run(c)
	case shardctrler.Config:
		st.reconfigure(c, me)
	case Delivery:
		st.receive(c)
	case Sent:
		delete(st.Outgoing, c.Parcel)
	}
	return Answer{Outcome: Done}
}

func (st *state) run(c Command) Answer {
	content, ok := st.Owned[key2shard(c.Key)]
	if !ok {
		return Answer{Outcome: WrongGroup}
	}
	if c.Kind == "get" {
		return Answer{Done, content.Values[c.Key]}
	}
	if content.Seen[c.Clerk] < c.Number {
		content.Seen[c.Clerk] = c.Number
		if c.Kind == "append" {
			c.Value = content.Values[c.Key] + c.Value
		}
		content.Values[c.Key] = c.Value
	}
	return Answer{Outcome: Done}
}

func (st *state) reconfigure(next shardctrler.Config, me int) {
	if next.Num != st.Config.Num+1 || len(st.Expected) > 0 {
		return
	}
	for shard, to := range next.Shards {
		_, owned := st.Owned[shard]
		origin := st.LastOwner[shard]
		switch {
		case to == me && owned:
		case to == me && origin == 0:
			st.Owned[shard] = newContent()
		case to == me && origin == me:
			kept := st.takeKept(shard)
			st.Owned[shard] = kept.Content
		case to == me:
			st.Expected[shard] = true
		case owned:
			st.Outgoing[Parcel{shard, next.Num}] = Outgoing{to, next.Groups[to], st.Owned[shard]}
			delete(st.Owned, shard)
		case to != 0 && origin == me && st.Config.Shards[shard] == 0:
			kept := st.takeKept(shard)
			st.Outgoing[Parcel{shard, next.Num}] = Outgoing{to, next.Groups[to], kept.Content}
		}
		if to != 0 {
			st.LastOwner[shard] = to
		}
	}
	st.Config = next
}

// takeKept removes and returns a shard that has no next owner.
func (st *state) takeKept(shard int) Outgoing {
	for parcel, out := range st.Outgoing {
		if parcel.Shard == shard && out.To == 0 {
			delete(st.Outgoing, parcel)
			return out
		}
	}
	panic("shardkv: a shard of nobody is missing at its last owner")
}

func (st *state) receive(d Delivery) {
	if d.Parcel.Num == st.Config.Num && st.Expected[d.Parcel.Shard] {
		delete(st.Expected, d.Parcel.Shard)
		st.Owned[d.Parcel.Shard] = d.Content.copy()
	}
}

func (st *state) dump() []byte {
	var b bytes.Buffer
	labgob.NewEncoder(&b).Encode(*st)
	return b.Bytes()
}

func load(snapshot []byte) *state {
	st := newState()
	if len(snapshot) > 0 {
		if err := labgob.NewDecoder(bytes.NewReader(snapshot)).Decode(st); err != nil {
			panic(err)
		}
		for shard, content := range st.Owned {
			st.Owned[shard] = content.copy() // an empty map arrives as nil
		}
		for parcel, out := range st.Outgoing {
			out.Content = out.Content.copy()
			st.Outgoing[parcel] = out
		}
	}
	return st
}
