package shardctrler

import "sort"

// rebalance spreads the shards evenly over the groups, and moves as few shards as
// possible. The groups are sorted, so every replica computes the same config.
func (c *Config) rebalance() {
	if len(c.Groups) == 0 {
		c.Shards = [NShards]int{}
		return
	}
	count := make(map[int]int)
	for _, gid := range c.Shards {
		count[gid]++
	}
	gids := make([]int, 0, len(c.Groups))
	for gid := range c.Groups {
		gids = append(gids, gid)
	}
	// The groups with most shards may keep one more than the others.
	sort.Slice(gids, func(i, j int) bool {
		if count[gids[i]] != count[gids[j]] {
			return count[gids[i]] > count[gids[j]]
		}
		return gids[i] < gids[j]
	})
	target := make(map[int]int)
	for i, gid := range gids {
		target[gid] = NShards / len(gids)
		if i < NShards%len(gids) {
			target[gid]++
		}
	}

	var homeless []int
	kept := make(map[int]int)
	for shard, gid := range c.Shards {
		if kept[gid] < target[gid] {
			kept[gid]++
		} else {
			homeless = append(homeless, shard)
		}
	}
	for _, gid := range gids {
		for kept[gid] < target[gid] {
			c.Shards[homeless[0]] = gid
			homeless = homeless[1:]
			kept[gid]++
		}
	}
}
