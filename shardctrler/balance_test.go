package shardctrler_test

import (
	"slices"
	"testing"

	"raftlab/internal/testkit"
	"raftlab/shardctrler"
)

// fewestMoves tries every assignment that is balanced.
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

// Up to 6 shards and 4 groups, with owners that need not be balanced or members.
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
		if n := spread(after, gids); n > 1 {
			t.Fatalf("balance(%v, %v) = %v, %d apart", owners, gids, after, n)
		}
		if n, best := moved(owners, after), fewestMoves(owners, gids); n != best {
			t.Fatalf("balance(%v, %v) = %v moves %d shards; %d would do", owners, gids, after, n, best)
		}
	}
}

// Random sequences of joins and leaves with the real number of shards: each
// change moves what the bound says, and equal input has equal output whatever
// the order in which maps are walked.
func TestBalanceOverSequences4A(t *testing.T) {
	rng := testkit.Rand(t)
	for range 50 * testkit.SoakFactor() {
		owners := make([]int, shardctrler.NShards)
		var gids []int
		for range 100 {
			gids = joinOrLeave(rng, gids)
			after := shardctrler.Balance(owners, gids)
			if again := shardctrler.Balance(owners, gids); !slices.Equal(after, again) {
				t.Fatalf("balance(%v, %v) = %v, then %v", owners, gids, after, again)
			}
			if want := bound(owners, gids); moved(owners, after) != want {
				t.Fatalf("balance(%v, %v) = %v moves %d; the bound is %d", owners, gids, after, moved(owners, after), want)
			}
			owners = after
		}
	}
}
