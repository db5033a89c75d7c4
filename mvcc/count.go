package mvcc

import (
	"sort"

	"github.com/tidwall/btree"
)

// countRange counts the keys of a range. A count as of now looks at a logarithmic number
// of keys. A count as of an earlier revision looks at the changes since, or at the keys of
// the range if they are fewer.
func (s *state) countRange(key, end string, revision int64) (count int64) {
	if end == "" {
		if s.visible(key, revision) != nil {
			count = 1
		}
		return count
	}
	all := countKeys(s.keys, key, end)
	changes := s.events.end - s.events.find(min(revision, s.revision)+1)
	if changes > all {
		s.ascend(key, end, revision, func(*version) bool { count++; return true })
		return count
	}
	count = int64(all - countKeys(s.gone, key, end))
	for place := s.events.end - changes; place < s.events.end; place++ {
		v := s.events.at(place)
		if v.Key < key || v.Key >= end && end != FromKey {
			continue
		}
		r, _ := s.keys.Get(v.Key)
		if r.last != v {
			continue // a later change of the key follows
		}
		if !v.deleted {
			count--
		}
		if r.visible(revision) != nil {
			count++
		}
	}
	return count
}

// countKeys counts the keys of a range in a tree.
func countKeys[V any](tree *btree.Map[string, V], key, end string) int {
	upper := tree.Len()
	if end != FromKey {
		upper = rank(tree, end)
	}
	return max(upper-rank(tree, key), 0)
}

// rank returns the number of the keys below key in a tree.
func rank[V any](tree *btree.Map[string, V], key string) int {
	return sort.Search(tree.Len(), func(i int) bool {
		at, _, _ := tree.GetAt(i)
		return at >= key
	})
}
