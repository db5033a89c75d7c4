package core

import "slices"

// majority is a set of voting servers of which more than half decide: elections
// (§5.2) and commitment (§5.3). It is never empty.
type majority []NodeID

// quorum is the smallest number of servers that is more than half.
func (m majority) quorum() int { return len(m)/2 + 1 }

// agreed returns the highest index that a quorum has reached, given the index
// that each server has reached.
func (m majority) agreed(reached func(NodeID) uint64) uint64 {
	indexes := make([]uint64, 0, 8) // on the stack for the usual sizes
	for _, id := range m {
		indexes = append(indexes, reached(id))
	}
	slices.Sort(indexes)
	return indexes[len(indexes)-m.quorum()]
}

// count returns how many of the servers satisfy is.
func (m majority) count(is func(NodeID) bool) int {
	n := 0
	for _, id := range m {
		if is(id) {
			n++
		}
	}
	return n
}
