package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// Seeds is a range of seeds, both ends included.
type Seeds struct {
	First, Last uint64
}

// ParseSeeds reads "7" or "1..1000".
func ParseSeeds(s string) (Seeds, error) {
	first, last, isRange := strings.Cut(s, "..")
	if !isRange {
		last = first
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 64)
	b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 64)
	if err1 != nil || err2 != nil || a > b || b-a == 1<<64-1 {
		return Seeds{}, fmt.Errorf("%w: seeds %q are neither one number nor a range such as 1..1000", ErrInvalid, s)
	}
	return Seeds{a, b}, nil
}

// Count is the number of seeds.
func (s Seeds) Count() uint64 { return s.Last - s.First + 1 }

func (s Seeds) String() string {
	if s.First == s.Last {
		return strconv.FormatUint(s.First, 10)
	}
	return fmt.Sprintf("%d..%d", s.First, s.Last)
}

// A Shard is one of Count equal parts of a sweep, counted from 1. Shards take
// turns over the range of seeds. The zero value is the whole sweep.
type Shard struct {
	Index, Count int
}

// ParseShard reads "2/5".
func ParseShard(s string) (Shard, error) {
	index, count, _ := strings.Cut(s, "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(count)
	if err1 != nil || err2 != nil || i < 1 || i > n {
		return Shard{}, fmt.Errorf("%w: shard %q is not i/n with i from 1 to n", ErrInvalid, s)
	}
	return Shard{i, n}, nil
}

// has reports whether the n'th seed of a range, from 0, belongs to the shard.
func (s Shard) has(n uint64) bool {
	return s.Count == 0 || n%uint64(s.Count) == uint64(s.Index-1)
}

// size returns how many of n seeds belong to the shard.
func (s Shard) size(n uint64) uint64 {
	if s.Count == 0 {
		return n
	}
	count, index := uint64(s.Count), uint64(s.Index-1)
	if n <= index {
		return 0
	}
	return (n-index-1)/count + 1
}
