package shardctrler

import "slices"

// NShards is the number of shards.
const NShards = 10

// Config says which group has which shard.
type Config struct {
	Num    int
	Shards [NShards]int
	Groups map[int][]string
}

// Command is an operation of a client.
type Command struct {
	Kind    string // "query", "join", "leave" or "move"
	Num     int
	Servers map[int][]string
	GIDs    []int
	Shard   int
	Clerk   string
	Number  uint64
}

// Answer is the answer to a command.
type Answer struct {
	Done   bool
	Config Config
}

// level evens out the groups: a shard moves from the fullest group, or from nobody, to
// the emptiest one until the difference is one at most.
func (c *Config) level() {
	gids := make([]int, 0, len(c.Groups))
	for gid := range c.Groups {
		gids = append(gids, gid)
	}
	slices.Sort(gids)
	for i, gid := range c.Shards {
		if !slices.Contains(gids, gid) {
			c.Shards[i] = 0
		}
	}
	if len(gids) == 0 {
		return
	}
	for {
		var count = make(map[int]int)
		for _, gid := range c.Shards {
			count[gid]++
		}
		least, most := gids[0], gids[0]
		for _, gid := range gids[1:] {
			if count[gid] < count[least] {
				least = gid
			}
			if count[gid] > count[most] {
				most = gid
			}
		}
		if count[0] > 0 {
			most = 0
		} else if count[most] <= count[least]+1 {
			return
		}
		c.Shards[slices.Index(c.Shards[:], most)] = least
	}
}
