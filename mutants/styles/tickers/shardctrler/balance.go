package shardctrler

import (
	"maps"
	"slices"
)

// successor returns a copy with the next number.
func (c Config) successor() Config {
	c.Num++
	c.Groups = maps.Clone(c.Groups)
	return c
}

// balance takes the shards above the quota from each group, and fills the other groups.
// Groups with more shards get the larger quotas.
func (c *Config) balance() {
	if len(c.Groups) == 0 {
		c.Shards = [NShards]int{}
		return
	}
	have := map[int]int{}
	for _, gid := range c.Shards {
		have[gid]++
	}
	gids := slices.Collect(maps.Keys(c.Groups))
	slices.SortFunc(gids, func(a, b int) int {
		if have[a] != have[b] {
			return have[b] - have[a]
		}
		return a - b
	})
	quota := map[int]int{}
	for i, gid := range gids {
		quota[gid] = NShards / len(gids)
		if i < NShards%len(gids) {
			quota[gid]++
		}
	}
	var free []int
	for shard, gid := range c.Shards {
		if quota[gid] > 0 {
			quota[gid]--
		} else {
			free = append(free, shard)
		}
	}
	for _, gid := range gids {
		for ; quota[gid] > 0; quota[gid]-- {
			c.Shards[free[0]] = gid
			free = free[1:]
		}
	}
}
