package shardctrler_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/shardctrler"
)

// fewestMoves returns the fewest moves of any balanced assignment, by trying all.
func fewestMoves(owners, gids []int) int {
	best := len(owners) + 1
	try := make([]int, len(owners))
	var assign func(i int)
	assign = func(i int) {
		if i == len(owners) {
			if spread(try, gids) <= 1 {
				best = min(best, moved(owners, try))
			}
			return
		}
		for _, gid := range gids {
			try[i] = gid
			assign(i + 1)
		}
	}
	assign(0)
	return best
}

// balance makes the fewest moves for up to 6 shards and 4 groups. The owners need
// neither be balanced nor be members.
func TestBalanceMovesTheFewest4A(t *testing.T) {
	rng := testkit.Rand(t)
	for range 2000 * testkit.SoakFactor() {
		owners := make([]int, 1+rng.IntN(6))
		for i := range owners {
			owners[i] = rng.IntN(7)
		}
		gids := rng.Perm(6)[:1+rng.IntN(4)]
		for i := range gids {
			gids[i]++
		}
		slices.Sort(gids)
		after := shardctrler.Balance(owners, gids)
		require.LessOrEqual(t, spread(after, gids), 1, "balance(%v, %v) = %v", owners, gids, after)
		require.Equal(t, fewestMoves(owners, gids), moved(owners, after), "moves of balance(%v, %v) = %v", owners, gids, after)
	}
}

// In random sequences of joins and leaves with the real number of shards, each change
// moves as many shards as the bound says. Equal arguments give equal results,
// whatever the order of a map's keys.
func TestBalanceOverSequences4A(t *testing.T) {
	rng := testkit.Rand(t)
	for range 50 * testkit.SoakFactor() {
		owners := make([]int, shardctrler.NShards)
		var gids []int
		for range 100 {
			gids = joinOrLeave(rng, gids)
			after := shardctrler.Balance(owners, gids)
			require.Equal(t, after, shardctrler.Balance(owners, gids), "second result of balance(%v, %v)", owners, gids)
			require.Equal(t, bound(owners, gids), moved(owners, after), "moves of balance(%v, %v) = %v", owners, gids, after)
			owners = after
		}
	}
}
