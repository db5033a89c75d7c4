package porcupine

import (
	"cmp"
	"math"
	"slices"
)

// blocks decides a part in near-linear time, if its reads tell which writes they saw
// (Gibbons and Korach, "Testing shared memories", 1997; for appends the
// "traceable" lists of Elle, Kingsbury and Alvaro, VLDB 2020).
//
// A cluster is a write and the reads that saw the value which it made. In any
// linearization the operations of a cluster stand together, the write first,
// with nothing between them that changes the value. A swap follows directly upon
// the cluster whose value it expected, and an append that a read saw upon the
// one that the read shows before it. So clusters chain up to blocks, which must stand as
// they are, one after the other.
//
// What no read saw, be it a write or an append, is a block of its own. It can stand between any two
// blocks: every block begins with a write and so does not care what was before, but for the one
// that begins with the initial value, which comes first.
type blocks struct {
	*part
	accesses []Access
	clusters []cluster
	// readCluster and nextRead make a list of the reads of each cluster.
	nextRead []int32
	blocks   []block
	guessed  bool // which write a read saw was in part a guess
	// base is the cluster of the initial value, as far as reads can tell: not
	// initialCluster but that of a write which comes before all else and sets
	// what was there.
	base int32
}

// cluster is a write and the reads that saw its value. Cluster 0 is that of
// the initial value, cluster i+1 that of operation i.
type cluster struct {
	firstRead  int32 // -1: none
	pred, succ int32 // the clusters directly before and after in its block; none: -1
	used       bool  // it must be in the linearization
}

// block is a chain of clusters, from first along succ.
type block struct {
	first int32
	// minReturn and maxCall are the first return and the last call of its
	// operations. At every moment between the two, and at both, one of them must take effect,
	// or rather, if minReturn < maxCall, no other block may.
	minReturn, maxCall int32
	// at is where the block takes effect, in half ranks.
	at int64
}

// blockVerdict is what blocks says of a part.
type blockVerdict uint8

const (
	blocksUnclear blockVerdict = iota // reads do not tell what they saw
	blocksLegal
	blocksIllegal
)

// initialCluster is the number of the cluster of the initial value.
const initialCluster int32 = 0

// decideByBlocks returns a linearization of the operations, if they are legal.
// What it says is right if the accesses are.
func decideByBlocks(p *part, initial any, accesses []Access) ([]int32, blockVerdict) {
	b := &blocks{part: p, accesses: accesses, clusters: make([]cluster, len(p.ops)+1), nextRead: make([]int32, len(p.ops))}
	for i := range b.clusters {
		b.clusters[i] = cluster{firstRead: -1, pred: -1, succ: -1}
	}
	b.clusters[initialCluster].used = true
	b.base = b.findBase(initial)
	if v := b.findClusters(initial); v != blocksLegal {
		return nil, v
	}
	if !b.require() || !b.chain() || !b.place() {
		if b.guessed {
			return nil, blocksUnclear
		}
		return nil, blocksIllegal
	}
	return b.order()
}

// findBase finds the base. Tests like to begin with a write of the initial value.
func (b *blocks) findBase(initial any) int32 {
	if len(b.calls) == 0 {
		return initialCluster
	}
	first := b.calls[0]
	a, o := &b.accesses[first], &b.ops[first]
	alone := !o.pending() && (len(b.calls) == 1 || o.precedes(&b.ops[b.calls[1]]))
	if alone && a.Kind == AccessWrite && a.Value == initial {
		return first + 1
	}
	return initialCluster
}

// findClusters assigns reads to clusters, and to each swap and each append that
// was seen the cluster before.
func (b *blocks) findClusters(initial any) blockVerdict {
	appends := false
	for i := range b.accesses {
		appends = appends || b.accesses[i].Kind == AccessAppend
	}
	if appends {
		return newTokens(b, initial).find()
	}
	return b.findByValue(initial)
}

// findByValue is findClusters where values are written whole.
func (b *blocks) findByValue(initial any) blockVerdict {
	const repeated int32 = -1
	writers := make(map[any]int32, len(b.ops)) // value -> cluster
	writers[initial] = b.base
	for i := range b.accesses {
		if int32(i+1) == b.base {
			continue
		}
		if a := &b.accesses[i]; a.Kind == AccessWrite || a.Kind == AccessSwap {
			if _, ok := writers[a.Value]; ok {
				writers[a.Value] = repeated
			} else {
				writers[a.Value] = int32(i + 1)
			}
		}
	}
	verdict := blocksLegal
	for i := range b.accesses {
		a := &b.accesses[i]
		value := a.Value
		switch a.Kind {
		case AccessSwap:
			value = a.Expect
		case AccessRead:
		default:
			continue
		}
		if b.ops[i].pending() && a.Kind == AccessRead {
			continue
		}
		c, ok := writers[value]
		switch {
		case ok && c == repeated:
			verdict = blocksUnclear
		case !ok && !b.ops[i].pending():
			return blocksIllegal // it saw a value that nothing writes
		case ok && !b.link(int32(i), c):
			return blocksIllegal
		}
	}
	return verdict
}

// link notes that operation id found the value of cluster c: a read belongs to
// it, anything else follows directly upon it.
func (b *blocks) link(id, c int32) bool {
	if b.accesses[id].Kind == AccessRead {
		b.nextRead[id] = b.clusters[c].firstRead
		b.clusters[c].firstRead = id
		return true
	}
	b.clusters[id+1].pred = c
	return true
}

// require finds the clusters that must be there: those of completed writes and
// of whatever was seen. A pending write that nobody saw is left out, as it may.
func (b *blocks) require() bool {
	for i := range b.ops {
		c := int32(i + 1)
		if k := b.accesses[i].Kind; k == AccessRead || k == AccessDiffer {
			continue
		}
		if b.ops[i].pending() && b.clusters[c].firstRead < 0 {
			continue
		}
		for c != initialCluster && !b.clusters[c].used {
			b.clusters[c].used = true
			pred := b.clusters[c].pred
			if pred < 0 {
				break
			}
			// A value exists once, so two different operations cannot both follow upon it.
			if b.clusters[pred].succ >= 0 {
				return false
			}
			b.clusters[pred].succ = c
			c = pred
		}
	}
	// A swap that is required but whose expected value nothing writes was found by findByValue, if it is completed.
	for i := range b.ops {
		if c := &b.clusters[i+1]; c.used && b.accesses[i].Kind == AccessSwap && c.pred < 0 {
			return false
		}
	}
	return true
}

// chain makes blocks of the clusters and checks that no operation of a block
// came, in real time, before one that the block puts in front of it.
func (b *blocks) chain() bool {
	chained := 0
	for c := range b.clusters {
		if !b.clusters[c].used || b.clusters[c].pred >= 0 {
			continue
		}
		blk := block{first: int32(c), minReturn: never, maxCall: -1}
		if int32(c) == initialCluster {
			blk.minReturn = -1
		}
		for at := int32(c); at >= 0; at = b.clusters[at].succ {
			chained++
			if !b.extend(&blk, at) {
				return false
			}
		}
		b.blocks = append(b.blocks, blk)
	}
	for c := range b.clusters {
		if b.clusters[c].used {
			chained--
		}
	}
	return chained == 0 // the others wait for each other in a circle
}

// extend adds a cluster to the end of a block.
func (b *blocks) extend(blk *block, c int32) bool {
	before := blk.maxCall // the last call of the operations that stand before
	if c != initialCluster {
		w := &b.ops[c-1]
		if w.ret < before {
			return false
		}
		blk.minReturn, blk.maxCall = min(blk.minReturn, w.ret), max(blk.maxCall, w.call)
		before = blk.maxCall
	}
	for r := b.clusters[c].firstRead; r >= 0; r = b.nextRead[r] {
		o := &b.ops[r]
		if o.ret < before {
			return false
		}
		blk.minReturn, blk.maxCall = min(blk.minReturn, o.ret), max(blk.maxCall, o.call)
	}
	return true
}

// place finds a moment for every block.
//
// A block with minReturn < maxCall ("forward") holds one operation that was over at
// minReturn and one that was not yet called until maxCall, so no other block can take effect
// between: of another block that stands before it, nothing is called after minReturn, and of
// one after it, nothing has returned by maxCall. So forward blocks must not
// overlap. Any other ("backward") has all its operations open at once from maxCall to
// minReturn and can take effect at any moment there; it needs one that is outside of all forward blocks,
// and has one unless it lies within one of them, since they do not touch.
func (b *blocks) place() bool {
	forward := slices.DeleteFunc(slices.Clone(b.blocks), func(k block) bool { return k.minReturn > k.maxCall })
	slices.SortFunc(forward, func(x, y block) int { return cmp.Compare(x.minReturn, y.minReturn) })
	for i := 1; i < len(forward); i++ {
		if forward[i].minReturn < forward[i-1].maxCall {
			return false
		}
	}
	for i := range b.blocks {
		k := &b.blocks[i]
		k.at = 2 * int64(min(k.minReturn, k.maxCall))
		if k.minReturn < k.maxCall {
			continue
		}
		// The last forward block that begins before k may cover k's beginning.
		next, _ := slices.BinarySearchFunc(forward, k.maxCall, func(f block, rank int32) int { return cmp.Compare(f.minReturn, rank) })
		if next > 0 && forward[next-1].maxCall > k.maxCall {
			if forward[next-1].maxCall > k.minReturn {
				return false
			}
			k.at = 2*int64(forward[next-1].maxCall) + 1
		}
	}
	return true
}

// order lists the operations block by block. Swaps that failed belong to no
// block. They change nothing, so a part is illegal if it is without them; but
// whether they fit in, reads do not tell.
func (b *blocks) order() ([]int32, blockVerdict) {
	for _, id := range b.returns {
		if b.accesses[id].Kind == AccessDiffer {
			return nil, blocksUnclear
		}
	}
	slices.SortStableFunc(b.blocks, func(x, y block) int { return cmp.Compare(x.at, y.at) })
	order := make([]int32, 0, len(b.ops))
	for _, k := range b.blocks {
		for c := k.first; c >= 0; c = b.clusters[c].succ {
			if c != initialCluster {
				order = append(order, c-1)
			}
			from := len(order)
			for r := b.clusters[c].firstRead; r >= 0; r = b.nextRead[r] {
				order = append(order, r)
			}
			slices.SortFunc(order[from:], func(x, y int32) int { return cmp.Compare(b.ops[x].call, b.ops[y].call) })
		}
	}
	return order, blocksLegal
}

// respectsTime says whether an order puts no operation before one that
// returned before it was called, and leaves out none that completed.
func (p *part) respectsTime(order []int32) bool {
	maxCall := int32(math.MinInt32)
	completed := 0
	for _, id := range order {
		o := &p.ops[id]
		if o.ret < maxCall {
			return false
		}
		maxCall = max(maxCall, o.call)
		if !o.pending() {
			completed++
		}
	}
	return completed == len(p.returns)
}
