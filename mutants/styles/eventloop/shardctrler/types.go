package shardctrler

import (
	"maps"
	"slices"
)

const NShards = 10

type Config struct {
	Num    int
	Shards [NShards]int
	Groups map[int][]string
}

// successor returns a copy with the next number.
func (c Config) successor() Config {
	next := Config{Num: c.Num + 1, Shards: c.Shards, Groups: map[int][]string{}}
	maps.Copy(next.Groups, c.Groups)
	return next
}

// level gives the shards without a group to the poorest groups, and then moves shards from
// the richest group to the poorest until the two differ by one at most.
func (c *Config) level() {
	shards := map[int][]int{} // by group
	gids := slices.Sorted(maps.Keys(c.Groups))
	if len(gids) == 0 {
		c.Shards = [NShards]int{}
		return
	}
	var orphans []int
	for shard, gid := range c.Shards {
		if _, ok := c.Groups[gid]; ok {
			shards[gid] = append(shards[gid], shard)
		} else {
			orphans = append(orphans, shard)
		}
	}
	compare := func(a, b int) int { return len(shards[a]) - len(shards[b]) }
	give := func(shard, gid int) {
		shards[gid] = append(shards[gid], shard)
		c.Shards[shard] = gid
	}
	for _, shard := range orphans {
		give(shard, slices.MinFunc(gids, compare))
	}
	for {
		poor, rich := slices.MinFunc(gids, compare), slices.MaxFunc(gids, compare)
		if compare(rich, poor) <= 1 {
			return
		}
		last := len(shards[rich]) - 1
		shard := shards[rich][last]
		shards[rich] = shards[rich][:last]
		give(shard, poor)
	}
}

// Change is the request of Join, Leave and Move and, with the zero fields, of Query.
type Change struct {
	Client int64
	Seq    int64
	Join   map[int][]string
	Leave  []int
	Move   bool
	Shard  int
	GID    int
	Num    int // Query
}

type Reply struct {
	Done   bool
	Config Config
}
