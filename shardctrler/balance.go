package shardctrler

import "slices"

// balance returns a new owner for each shard. owners are the present owners, and
// gids are the member groups, sorted. The numbers of shards of any two groups differ
// by at most one, and as few shards as possible move. Without groups, 0 owns every
// shard. Equal arguments give equal results.
//
// balance moves the shards without a member group, and the shards of each group
// above its quota. Any balanced assignment moves at least as many shards. Each
// group's number of shards is one of two quotas, and the number of larger quotas is
// fixed. Giving the larger quotas to the groups with the most shards leaves the
// fewest shards above the quotas.
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
		if owned := shards[gid]; len(owned) > quotas[gid] {
			free = append(free, owned[quotas[gid]:]...)
			shards[gid] = owned[:quotas[gid]]
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

// quotas returns the number of shards, of n, that each group will own. owned returns
// the number that a group owns now.
func quotas(n int, gids []int, owned func(gid int) int) map[int]int {
	byOwned := slices.Clone(gids)
	slices.SortStableFunc(byOwned, func(a, b int) int { return owned(b) - owned(a) })
	quotas := make(map[int]int, len(gids))
	for i, gid := range byOwned {
		quotas[gid] = n / len(gids)
		if i < n%len(gids) {
			quotas[gid]++
		}
	}
	return quotas
}
