package etcdapi

import (
	"cmp"
	"math/rand/v2"
	"strings"

	"raftlab/mvcc"
)

// watchRanges finds the watches of ranges that have a key: an interval tree in the form of
// a treap. The time is logarithmic in the number of different ranges, for each range found.
type watchRanges struct{ root *rangeNode }

// rangeNode is a range with its watches. The ranges are ordered by their keys, and then
// by their ends. A parent has a higher priority than its children.
type rangeNode struct {
	key, end    string
	watches     map[*watch]bool
	priority    uint64
	left, right *rangeNode
	last        string // the highest end in the subtree
}

func (n *rangeNode) compare(key, end string) int {
	return cmp.Or(strings.Compare(n.key, key), strings.Compare(n.end, end))
}

// beyond reports whether a key is at the end of a range or behind.
func beyond(key, end string) bool { return end != mvcc.FromKey && key >= end }

// update sets last from the node and its children.
func (n *rangeNode) update() {
	n.last = n.end
	for _, child := range []*rangeNode{n.left, n.right} {
		if child != nil && n.last != mvcc.FromKey && (child.last == mvcc.FromKey || child.last > n.last) {
			n.last = child.last
		}
	}
}

// get returns the node of a range, or nil.
func (r *watchRanges) get(key, end string) *rangeNode {
	n := r.root
	for n != nil {
		switch c := n.compare(key, end); {
		case c == 0:
			return n
		case c > 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

func (r *watchRanges) add(w *watch) {
	if n := r.get(w.key, w.end); n != nil {
		n.watches[w] = true
		return
	}
	r.root = r.root.insert(&rangeNode{key: w.key, end: w.end, last: w.end, watches: map[*watch]bool{w: true}, priority: rand.Uint64()})
}

func (r *watchRanges) remove(w *watch) {
	n := r.get(w.key, w.end)
	if n == nil {
		return
	}
	if delete(n.watches, w); len(n.watches) == 0 {
		r.root = r.root.erase(n)
	}
}

// find passes the watches that have a key to do.
func (r *watchRanges) find(key string, do func(map[*watch]bool)) { r.root.find(key, do) }

// all passes all watches to do.
func (r *watchRanges) all(do func(map[*watch]bool)) { r.root.all(do) }

func (n *rangeNode) insert(fresh *rangeNode) *rangeNode {
	switch {
	case n == nil:
		return fresh
	case fresh.priority > n.priority:
		fresh.left, fresh.right = n.split(fresh)
		fresh.update()
		return fresh
	case n.compare(fresh.key, fresh.end) > 0:
		n.left = n.left.insert(fresh)
	default:
		n.right = n.right.insert(fresh)
	}
	n.update()
	return n
}

// split splits a tree into the ranges before and after another one.
func (n *rangeNode) split(at *rangeNode) (before, after *rangeNode) {
	if n == nil {
		return nil, nil
	}
	if n.compare(at.key, at.end) > 0 {
		before, n.left = n.left.split(at)
		n.update()
		return before, n
	}
	n.right, after = n.right.split(at)
	n.update()
	return n, after
}

func (n *rangeNode) erase(gone *rangeNode) *rangeNode {
	switch c := n.compare(gone.key, gone.end); {
	case c == 0:
		return n.left.merge(n.right)
	case c > 0:
		n.left = n.left.erase(gone)
	default:
		n.right = n.right.erase(gone)
	}
	n.update()
	return n
}

// merge merges two trees. The ranges of the other tree come after those of this one.
func (n *rangeNode) merge(other *rangeNode) *rangeNode {
	switch {
	case n == nil:
		return other
	case other == nil:
		return n
	case n.priority > other.priority:
		n.right = n.right.merge(other)
		n.update()
		return n
	}
	other.left = n.merge(other.left)
	other.update()
	return other
}

func (n *rangeNode) find(key string, do func(map[*watch]bool)) {
	for n != nil && !beyond(key, n.last) {
		n.left.find(key, do)
		if key < n.key {
			return // the ranges on the right begin behind the key, too
		}
		if !beyond(key, n.end) {
			do(n.watches)
		}
		n = n.right
	}
}

func (n *rangeNode) all(do func(map[*watch]bool)) {
	if n == nil {
		return
	}
	n.left.all(do)
	do(n.watches)
	n.right.all(do)
}
