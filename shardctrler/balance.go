package shardctrler

import "slices"

// balance returns owners, the gid of each shard's group, changed in as few
// places as possible so that each shard is owned by one of gids, and the
// numbers of shards differ by at most one. gids are sorted; without any, 0 owns
// every shard. The result follows from the arguments alone.
//
// It moves the shards that no member owns, and from each group what it has
// above its quota. At least as much moves in any balanced assignment: each
// group's number is one of the two quotas, as many of them the larger one as
// here, and giving those to the groups that have the most leaves the least above
// the quotas.
func balance(owners, gids []int) []int {
	balanced := make([]int, len(owners))
	if len(gids) == 0 {
		return balanced
	}
	shards := make(map[int][]int, len(gids)) // by gid
	var free []int
	for shard, gid := range owners {
		if _, member := slices.BinarySearch(gids, gid); member {
			shards[gid] = append(shards[gid], shard)
		} else {
			free = append(free, shard)
		}
	}
	quotas := quotas(len(owners), gids, func(gid int) int { return len(shards[gid]) })
	for _, gid := range gids {
		if have := shards[gid]; len(have) > quotas[gid] {
			free = append(free, have[quotas[gid]:]...)
			shards[gid] = have[:quotas[gid]]
		}
	}
	slices.Sort(free)
	for _, gid := range gids {
		missing := quotas[gid] - len(shards[gid])
		shards[gid] = append(shards[gid], free[:missing]...)
		free = free[missing:]
		for _, shard := range shards[gid] {
			balanced[shard] = gid
		}
	}
	return balanced
}

// quotas returns how many of n shards each group is to have.
func quotas(n int, gids []int, have func(gid int) int) map[int]int {
	byHave := slices.Clone(gids)
	slices.SortStableFunc(byHave, func(a, b int) int { return have(b) - have(a) })
	quotas := make(map[int]int, len(gids))
	for i, gid := range byHave {
		quotas[gid] = n / len(gids)
		if i < n%len(gids) {
			quotas[gid]++
		}
	}
	return quotas
}
