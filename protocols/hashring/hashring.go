// Package hashring has consistent hashing (Karger et al., STOC 1997), as used by Chord and Dynamo.
//
// Nodes and keys are hashed to points of a ring. A key belongs to the nodes that follow its
// point. If a node joins or leaves, only the keys between the node and its
// predecessor move, about one key in n. With hash(key) mod n almost every key moves.
//
// A node with one point owns an arc of random length, often several times the mean. So each
// node has many points (virtual nodes), and the arcs even out.
package hashring

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// A point of the ring belongs to a node.
type point struct {
	at   uint64
	node string
}

// A Ring maps keys to nodes. Equal members make equal rings, in any order of
// joining. The caller guards a ring.
type Ring struct {
	virtual int
	points  []point // in order
}

// New returns a ring without nodes. Each node gets virtual points, at least one.
func New(virtual int) *Ring {
	if virtual < 1 {
		panic(fmt.Sprintf("hashring: %d points a node, and at least 1 is necessary", virtual))
	}
	return &Ring{virtual: virtual}
}

// hash spreads similar names evenly, on every machine alike.
func hash(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:])
}

func compare(a, b point) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
}

// Join adds a node. A member joins without effect.
func (r *Ring) Join(node string) {
	r.Leave(node)
	for i := range r.virtual {
		r.points = append(r.points, point{hash(fmt.Sprintf("%s#%d", node, i)), node})
	}
	slices.SortFunc(r.points, compare)
}

// Leave removes a node.
func (r *Ring) Leave(node string) {
	r.points = slices.DeleteFunc(r.points, func(p point) bool { return p.node == node })
}

// Owners returns the first n distinct nodes after a key's point, the replicas of the key. The result
// is shorter if the ring has fewer nodes.
func (r *Ring) Owners(key string, n int) []string {
	first, _ := slices.BinarySearchFunc(r.points, point{at: hash(key)}, compare)
	var owners []string
	for i := range r.points {
		if len(owners) >= n {
			break
		}
		if p := r.points[(first+i)%len(r.points)]; !slices.Contains(owners, p.node) {
			owners = append(owners, p.node)
		}
	}
	return owners
}
