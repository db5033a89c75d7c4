package compare

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func sortedNames(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

var kvMethods = weighted(map[string]int{
	"KV/Put": 8, "KV/Range": 8, "KV/DeleteRange": 3, "KV/Txn": 6, "KV/Compact": 1, "KV/RangeStream": 1,
	"Lease/LeaseGrant": 2, "Lease/LeaseRevoke": 1, "Lease/LeaseTimeToLive": 1, "Lease/LeaseLeases": 1, "Lease/LeaseKeepAlive": 1,
})

func keysAndLeases(r *rand.Rand) (sequence []request) {
	for range r.IntN(6) {
		sequence = append(sequence, random(r, "KV/Put"))
	}
	for range 20 {
		sequence = append(sequence, random(r, pick(r, kvMethods)))
	}
	return sequence
}

// watches has streams of watches, and changes of keys.
func watches(r *rand.Rand) (sequence []request) {
	changes := weighted(map[string]int{"KV/Put": 6, "KV/DeleteRange": 2, "KV/Txn": 2, "KV/Compact": 1})
	for range 25 {
		if r.IntN(3) > 0 {
			sequence = append(sequence, random(r, pick(r, changes)))
			continue
		}
		in := &pb.WatchRequest{}
		fill(r, in.ProtoReflect(), deepest)
		sequence = append(sequence, watchStep{stream: pick(r, []string{"first", "second"}), in: in})
	}
	return append(sequence, watched{})
}

func TestCompare(t *testing.T) {
	p := newPair(t)
	t.Run("keys", func(t *testing.T) { compare(t, p, 20, keysAndLeases) })
	t.Run("watches", func(t *testing.T) { compare(t, p, 20, watches) })
}
