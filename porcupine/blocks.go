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
//
// It can judge the part as it was at an earlier time (end): what was not called by then is
// gone, and what had not returned is pending. What reads saw is found once; judging again
// takes a few scans.
type blocks struct {
	*part
	budget      *budget
	initial     any
	accesses    []Access
	end         int32 // the rank of the moment at which the part is judged
	clusters    []cluster
	nextRead    []int32 // a list of the reads of each cluster
	seen        []int32 // operation -> the cluster that it is a read of, if it is one
	blocks      []block
	guessed     bool  // which write a read saw was in part a guess
	unexplained int32 // the first operation, by return, that saw what nothing makes, or noOperation
	// base is the cluster of the initial value, as far as reads can tell: not
	// initialCluster but that of a write which comes before all else and sets
	// what was there.
	base int32
}

// cluster is a write and the reads that saw its value. Cluster 0 is that of
// the initial value, cluster i+1 that of operation i.
type cluster struct {
	firstRead int32 // -1: none
	pred      int32 // the cluster that must stand directly before, once it is seen; none: -1
	succ      int32 // the cluster directly after in its block; none: -1
	used      bool  // it must be in the linearization
	linked    bool  // it is in a block behind pred
}

// block is a chain of clusters, from first along succ.
type block struct {
	first int32
	// minReturn and maxCall are the first return and the last call of its
	// operations. At every moment between the two, and at both, one of them must take effect,
	// or rather, if minReturn < maxCall, no other block may.
	minReturn, maxCall int32
	// at is where the block takes effect, in half ranks.
	moment int64
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

func newBlocks(p *part, b *budget, initial any, accesses []Access) *blocks {
	return &blocks{part: p, budget: b, initial: initial, accesses: accesses, end: never}
}

// called, completed and ret speak of the part as it was at the end.
func (b *blocks) called(id int32) bool    { return b.ops[id].call < b.end }
func (b *blocks) completed(id int32) bool { return b.ops[id].ret < b.end }
func (b *blocks) ret(id int32) int32 {
	if b.completed(id) {
		return b.ops[id].ret
	}
	return never
}

// decide returns a linearization of the operations, if they are legal.
// What it says is right if the accesses are.
func (b *blocks) decide() ([]int32, blockVerdict) {
	v := b.find()
	if v == blocksLegal {
		v = b.judge()
	}
	if v != blocksLegal {
		return nil, v
	}
	return b.order()
}

// find assigns reads to clusters, and to each swap and each append that was seen the
// cluster before.
func (b *blocks) find() blockVerdict {
	n := len(b.ops)
	b.clusters, b.nextRead, b.seen = make([]cluster, n+1), make([]int32, n), make([]int32, n)
	for i := range b.clusters {
		b.clusters[i] = cluster{firstRead: -1, pred: -1}
	}
	b.base, b.guessed, b.unexplained = b.findBase(), false, noOperation
	if slices.ContainsFunc(b.accesses, func(a Access) bool { return a.Kind == AccessAppend }) {
		return newTokens(b).find()
	}
	return b.findByValue()
}

// judge says whether the clusters can be put in order. It can be repeated for an earlier end.
func (b *blocks) judge() blockVerdict {
	if b.require() && b.chain() && b.place() {
		return blocksLegal
	}
	if b.guessed {
		return blocksUnclear
	}
	return blocksIllegal
}

// longestLegal returns, of a part that is illegal, the first operation, by return, that
// cannot be placed, and a linearization of the part as it was right before that return, if
// one is known. If the check is given up meanwhile, stuck is only near it.
func (b *blocks) longestLegal() (stuck int32, order []int32) {
	bad := len(b.returns) // before this many returns it is illegal
	b.budget.completes(func() { order = b.bisect(&bad) })
	return b.returns[bad-1], order
}

// bisect lowers bad to the first number of returns before which the part is illegal, and
// returns a linearization of the part before that.
func (b *blocks) bisect(bad *int) (order []int32) {
	good := 0 // before this many returns it is legal, as far as is clear
	found := blocksLegal
	for b.unexplained != noOperation { // without what was called later, an earlier one may be
		*bad = b.returnIndex(b.unexplained) + 1
		b.end = b.ops[b.unexplained].ret
		found = b.find()
	}
	before := func(n int) blockVerdict {
		b.end = b.ops[b.returns[n]].ret
		if found != blocksLegal { // what was not clear then may be so earlier
			if v := b.find(); v != blocksLegal {
				return v
			}
		}
		return b.judge()
	}
	for good+1 < *bad {
		if middle := (good + *bad) / 2; before(middle) == blocksIllegal {
			*bad = middle
		} else {
			good = middle
		}
	}
	if before(good) == blocksLegal {
		order, _ = b.order()
	}
	return order
}

// findBase finds the base. Tests like to begin with a write of the initial value.
func (b *blocks) findBase() int32 {
	if len(b.calls) == 0 {
		return initialCluster
	}
	first := b.calls[0]
	a, o := &b.accesses[first], &b.ops[first]
	alone := b.completed(first) && (len(b.calls) == 1 || o.precedes(&b.ops[b.calls[1]]))
	if alone && a.Kind == AccessWrite && a.Value == b.initial {
		return first + 1
	}
	return initialCluster
}

// findByValue is find where values are written whole.
func (b *blocks) findByValue() blockVerdict {
	const repeated int32 = -1
	writers := make(map[any]int32, len(b.ops)) // value -> cluster
	writers[b.initial] = b.base
	for i := range b.accesses {
		b.budget.poll(i)
		if int32(i+1) == b.base || !b.called(int32(i)) {
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
		b.budget.poll(i)
		id, a := int32(i), &b.accesses[i]
		value := a.Value
		switch {
		case a.Kind == AccessSwap && b.called(id):
			value = a.Expect
		case a.Kind == AccessRead && b.completed(id):
		default:
			continue
		}
		switch c, ok := writers[value]; {
		case !ok && b.completed(id):
			b.noteUnexplained(id)
		case ok && c == repeated:
			verdict = blocksUnclear
		case ok:
			b.link(id, c)
		}
	}
	if b.unexplained != noOperation {
		return blocksIllegal
	}
	return verdict
}

// noteUnexplained notes an operation that saw what nothing makes.
func (b *blocks) noteUnexplained(id int32) {
	if b.unexplained == noOperation || b.ops[id].ret < b.ops[b.unexplained].ret {
		b.unexplained = id
	}
}

// link notes that operation id found the value of cluster c: a read belongs to
// it, anything else follows directly upon it.
func (b *blocks) link(id, c int32) {
	if b.accesses[id].Kind == AccessRead {
		b.seen[id] = c
		b.nextRead[id] = b.clusters[c].firstRead
		b.clusters[c].firstRead = id
		return
	}
	b.clusters[id+1].pred = c
}

// require finds the clusters that must be there: those of completed writes and
// of whatever was seen. A pending write that nobody saw is left out, as it may.
func (b *blocks) require() bool {
	for i := range b.clusters {
		c := &b.clusters[i]
		c.succ, c.used, c.linked = -1, false, false
	}
	b.clusters[initialCluster].used = true
	for i, id := range b.returns {
		b.budget.poll(i)
		if b.completed(id) && b.accesses[id].Kind == AccessRead && !b.use(b.seen[id], true) {
			return false
		}
	}
	for i, id := range b.returns {
		b.budget.poll(i)
		if k := b.accesses[id].Kind; b.completed(id) && k != AccessRead && k != AccessDiffer && !b.use(id+1, false) {
			return false
		}
	}
	return true
}

// use notes that a cluster must be there, and those that it follows upon: a
// swap upon what it expected, anything else upon what it was seen to follow.
func (b *blocks) use(c int32, seen bool) bool {
	for c != initialCluster && !b.clusters[c].used {
		k := &b.clusters[c]
		k.used = true
		swap := b.accesses[c-1].Kind == AccessSwap
		if k.pred < 0 {
			return !swap
		}
		if !swap && !seen {
			return true
		}
		// A value exists once, so two different operations cannot both follow upon it.
		if b.clusters[k.pred].succ >= 0 {
			return false
		}
		k.linked, b.clusters[k.pred].succ = true, c
		c = k.pred
	}
	return true
}

// chain makes blocks of the clusters and checks that no operation of a block
// came, in real time, before one that the block puts in front of it.
func (b *blocks) chain() bool {
	b.blocks = b.blocks[:0]
	unchained := 0
	for c := range b.clusters {
		b.budget.poll(c)
		if !b.clusters[c].used {
			continue
		}
		unchained++
		if b.clusters[c].linked {
			continue
		}
		blk := block{first: int32(c), minReturn: never, maxCall: -1}
		if int32(c) == initialCluster {
			blk.minReturn = -1
		}
		for next := int32(c); next >= 0; next = b.clusters[next].succ {
			unchained--
			if !b.extend(&blk, next) {
				return false
			}
		}
		b.blocks = append(b.blocks, blk)
	}
	return unchained == 0 // the others wait for each other in a circle
}

// extend adds a cluster to the end of a block.
func (b *blocks) extend(blk *block, c int32) bool {
	before := blk.maxCall // the last call of the operations that stand before
	if c != initialCluster {
		ret := b.ret(c - 1)
		if ret < before {
			return false
		}
		blk.minReturn, blk.maxCall = min(blk.minReturn, ret), max(blk.maxCall, b.ops[c-1].call)
		before = blk.maxCall
	}
	for r := b.clusters[c].firstRead; r >= 0; r = b.nextRead[r] {
		o := &b.ops[r]
		if !b.completed(r) {
			continue
		}
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
// minReturn and one that was not yet called until maxCall, so no other block can take
// effect between: of another block that stands before it, nothing is called after
// minReturn, and of one after it, nothing has returned by maxCall. So forward blocks must
// not overlap. Any other ("backward") has all its operations open at once from maxCall to
// minReturn and can take effect at any moment there; it needs one that is outside of all
// forward blocks, and has one unless it lies within one of them, since they do not touch.
func (b *blocks) place() bool {
	forward := slices.DeleteFunc(slices.Clone(b.blocks), func(k block) bool { return k.minReturn > k.maxCall })
	slices.SortFunc(forward, polled(b.budget, func(x, y block) int { return cmp.Compare(x.minReturn, y.minReturn) }))
	for i := 1; i < len(forward); i++ {
		if forward[i].minReturn < forward[i-1].maxCall {
			return false
		}
	}
	for i := range b.blocks {
		b.budget.poll(i)
		k := &b.blocks[i]
		k.moment = 2 * int64(min(k.minReturn, k.maxCall))
		if k.minReturn < k.maxCall {
			continue
		}
		// The last forward block that begins before k may cover k's beginning.
		next, _ := slices.BinarySearchFunc(forward, k.maxCall, func(f block, rank int32) int { return cmp.Compare(f.minReturn, rank) })
		if next > 0 && forward[next-1].maxCall > k.maxCall {
			if forward[next-1].maxCall > k.minReturn {
				return false
			}
			k.moment = 2*int64(forward[next-1].maxCall) + 1
		}
	}
	return true
}

// order lists the operations block by block. Swaps that failed belong to no
// block. They change nothing, so a part is illegal if it is without them; but
// whether they fit in, reads do not tell.
func (b *blocks) order() ([]int32, blockVerdict) {
	for _, id := range b.returns {
		if b.accesses[id].Kind == AccessDiffer && b.completed(id) {
			return nil, blocksUnclear
		}
	}
	slices.SortStableFunc(b.blocks, polled(b.budget, func(x, y block) int { return cmp.Compare(x.moment, y.moment) }))
	order := make([]int32, 0, len(b.ops))
	for i, k := range b.blocks {
		b.budget.poll(i)
		for c := k.first; c >= 0; c = b.clusters[c].succ {
			if c != initialCluster {
				order = append(order, c-1)
			}
			from := len(order)
			for r := b.clusters[c].firstRead; r >= 0; r = b.nextRead[r] {
				if b.completed(r) {
					order = append(order, r)
				}
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
