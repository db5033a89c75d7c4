package node

import "sort"

// Term returns the term of the stored entry at index. The term at
// CompactedIndex is known too. Term returns false for any other index.
func (s *State) Term(index uint64) (uint64, bool) {
	switch {
	case index == s.CompactedIndex:
		return s.CompactedTerm, true
	case index < s.CompactedIndex || index > s.LastIndex:
		return 0, false
	}
	next := sort.Search(len(s.Terms), func(i int) bool { return s.Terms[i].First > index })
	return s.Terms[next-1].Term, true
}
