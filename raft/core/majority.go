package core

import "slices"

// majority is a set of voters. More than half of them decide elections (§5.2) and
// commitment (§5.3). An empty set decides nothing.
type majority []NodeID

// quorum is the smallest number above half.
func (m majority) quorum() int { return len(m)/2 + 1 }

// agreed returns the highest index reached by a quorum, given each server's index.
func (m majority) agreed(reached func(NodeID) uint64) uint64 {
	if len(m) == 0 {
		return 0
	}
	indexes := make([]uint64, 0, 8) // on the stack for the usual sizes
	for _, id := range m {
		indexes = append(indexes, reached(id))
	}
	slices.Sort(indexes)
	return indexes[len(indexes)-m.quorum()]
}

// count returns the number of servers for which is holds.
func (m majority) count(is func(NodeID) bool) int {
	n := 0
	for _, id := range m {
		if is(id) {
			n++
		}
	}
	return n
}

// has reports whether id is one of the servers.
func (m majority) has(id NodeID) bool { return slices.Contains(m, id) }

// electorate is the voters of a configuration. In a joint configuration two majorities
// decide, each on its own (§6, thesis 4.3).
type electorate struct {
	voters   majority
	outgoing majority // empty unless joint
}

// agreed returns the highest index reached by a quorum.
func (e electorate) agreed(reached func(NodeID) uint64) uint64 {
	index := e.voters.agreed(reached)
	if len(e.outgoing) > 0 {
		index = min(index, e.outgoing.agreed(reached))
	}
	return index
}

// won reports whether is holds for a quorum.
func (e electorate) won(is func(NodeID) bool) bool {
	return e.voters.count(is) >= e.voters.quorum() &&
		(len(e.outgoing) == 0 || e.outgoing.count(is) >= e.outgoing.quorum())
}
