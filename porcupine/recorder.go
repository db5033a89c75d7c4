package porcupine

import (
	"cmp"
	"slices"
)

// recorder keeps the tried paths of a search as a tree, to find the longest partial linearization
// with each operation. The methods of a nil recorder do nothing.
type recorder struct {
	nodes []pathNode
	stack []int32 // the nodes of the current path
}

// pathNode is an operation linearized after those of its ancestors.
type pathNode struct{ parent, op, depth int32 }

// maxPartials bounds the number of partial linearizations of one part.
const maxPartials = 100

func (r *recorder) bytes() int64 {
	if r == nil {
		return 0
	}
	return 12*int64(cap(r.nodes)) + 4*int64(cap(r.stack))
}

// restart notes that the search starts again from an empty path.
func (r *recorder) restart() {
	if r != nil {
		r.nodes, r.stack = r.nodes[:0], r.stack[:0]
	}
}

// arrive notes the path of the search, which grew since the last call.
func (r *recorder) arrive(path []int32) {
	if r == nil {
		return
	}
	for _, id := range path[len(r.stack):] {
		parent := int32(-1)
		if n := len(r.stack); n > 0 {
			parent = r.stack[n-1]
		}
		node := int32(len(r.nodes))
		r.nodes = append(r.nodes, pathNode{parent: parent, op: id, depth: int32(len(r.stack))})
		r.stack = append(r.stack, node)
	}
}

// goBack notes that the search returns to the first n operations of its path.
func (r *recorder) goBack(n int) {
	if r != nil {
		r.stack = r.stack[:min(n, len(r.stack))]
	}
}

// leaves returns the first deepest descendant of each node. A node without children is its own. The
// loop relies on the order of nodes, in which a node comes after its parent.
func (r *recorder) leaves() []int32 {
	leaf := make([]int32, len(r.nodes))
	for i := range leaf {
		leaf[i] = int32(i)
	}
	for i := len(leaf) - 1; i >= 0; i-- {
		if parent := r.nodes[i].parent; parent >= 0 && r.nodes[leaf[i]].depth >= r.nodes[leaf[parent]].depth {
			leaf[parent] = leaf[i]
		}
	}
	return leaf
}

// partials returns the longest paths, longest first. Every operation on some path is on one of
// them, up to maxPartials.
func (r *recorder) partials(ops int) [][]int {
	leaf := r.leaves()
	depthOf := func(node int32) int32 { return r.nodes[leaf[node]].depth }
	best := make([]int32, ops) // operation -> node + 1
	for i := range r.nodes {
		id := r.nodes[i].op
		if best[id] == 0 || depthOf(int32(i)) > depthOf(best[id]-1) {
			best[id] = int32(i + 1)
		}
	}
	var leaves []int32
	for _, node := range best {
		if node > 0 {
			leaves = append(leaves, leaf[node-1])
		}
	}
	slices.SortFunc(leaves, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.nodes[b].depth, r.nodes[a].depth), cmp.Compare(a, b))
	})
	leaves = slices.Compact(leaves)
	var result [][]int
	for _, leaf := range leaves[:min(len(leaves), maxPartials)] {
		path := make([]int, r.nodes[leaf].depth+1)
		for node := leaf; node >= 0; node = r.nodes[node].parent {
			path[r.nodes[node].depth] = int(r.nodes[node].op)
		}
		result = append(result, path)
	}
	return result
}
