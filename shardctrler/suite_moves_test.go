package shardctrler_test

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// spread is the difference between the largest and the smallest number of
// shards of a group.
func spread(owners, gids []int) int {
	counts := make(map[int]int)
	for _, gid := range gids {
		counts[gid] = 0
	}
	for _, gid := range owners {
		counts[gid]++
	}
	all := slices.Sorted(maps.Values(counts))
	return all[len(all)-1] - all[0]
}

// moved counts the shards that change hands.
func moved(before, after []int) int {
	n := 0
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

// joinOrLeave adds a group or takes one away.
func joinOrLeave(rng *rand.Rand, gids []int) []int {
	gids = slices.Clone(gids)
	if len(gids) > 0 && rng.IntN(2) == 0 {
		i := rng.IntN(len(gids))
		return slices.Delete(gids, i, i+1)
	}
	gid := 1 + rng.IntN(30)
	if i, member := slices.BinarySearch(gids, gid); !member {
		gids = slices.Insert(gids, i, gid)
	}
	return gids
}

// bound is the least number of moves after which the shards can be spread evenly.
func bound(owners, gids []int) int {
	if len(gids) == 0 {
		return moved(owners, make([]int, len(owners)))
	}
	counts, moves := make(map[int]int), 0
	for _, gid := range owners {
		if slices.Contains(gids, gid) {
			counts[gid]++
		} else {
			moves++
		}
	}
	have := make([]int, len(gids))
	for i, gid := range gids {
		have[i] = counts[gid]
	}
	slices.SortFunc(have, func(a, b int) int { return b - a })
	for i, n := range have {
		quota := len(owners) / len(gids)
		if i < len(owners)%len(gids) {
			quota++
		}
		moves += max(0, n-quota)
	}
	return moves
}
