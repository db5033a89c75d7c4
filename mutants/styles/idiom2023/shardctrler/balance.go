package shardctrler

import (
	"maps"
	"slices"
)

// successor copies the newest configuration under the next number.
func (sc *ShardCtrler) successor() Config {
	last := sc.configs[len(sc.configs)-1]
	return Config{Num: last.Num + 1, Shards: last.Shards, Groups: maps.Clone(last.Groups)}
}

// rebalance moves as few shards as possible. The groups are visited in order of their
// numbers, so all replicas find the same result.
func (c *Config) rebalance() {
	if len(c.Groups) == 0 {
		c.Shards = [NShards]int{}
		return
	}
	gids := slices.Sorted(maps.Keys(c.Groups))
	owned := make(map[int][]int)
	for shard, gid := range c.Shards {
		if _, ok := c.Groups[gid]; !ok {
			gid = 0
		}
		owned[gid] = append(owned[gid], shard)
	}
	give := func(from, to int) {
		n := len(owned[from]) - 1
		c.Shards[owned[from][n]] = to
		owned[to] = append(owned[to], owned[from][n])
		owned[from] = owned[from][:n]
	}
	for {
		most, least := gids[0], gids[0]
		for _, gid := range gids {
			if len(owned[gid]) > len(owned[most]) {
				most = gid
			}
			if len(owned[gid]) < len(owned[least]) {
				least = gid
			}
		}
		switch {
		case len(owned[0]) > 0:
			give(0, least)
		case len(owned[most])-len(owned[least]) > 1:
			give(most, least)
		default:
			return
		}
	}
}
