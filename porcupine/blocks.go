package porcupine

import (
	"cmp"
	"math"
	"slices"
)

// blocks decides a part in near-linear time if each read identifies its write (Gibbons and Korach,
// "Testing shared memories", 1997, and for appends the "traceable" lists of Elle, Kingsbury and
// Alvaro, VLDB 2020).
//
// A cluster is a write and the reads of its value. In any linearization the operations of a cluster
// stand together, the write first, and nothing between them changes the value. A swap directly
// follows the cluster of the expected value. An append directly follows the cluster before it in
// the value of a read. Clusters linked in this way form a block, and a block keeps its order in any
// linearization.
//
// An unread write or append is a block of its own. A block begins with a write, so the state before
// it does not matter, and the block can stand between any two others. The only exception is the
// block of the initial value, which comes first.
//
// The blocks can judge the part at an earlier moment (end). Operations called later are then
// absent, and operations that had not returned are pending. The assignment of reads to writes is
// computed once, and each further judgement takes a few scans.
type blocks struct {
	*part
	budget      *budget
	initial     any
	accesses    []Access
	end         int32 // the rank of the moment to judge
	clusters    []cluster
	nextRead    []int32 // links the reads of a cluster
	seen        []int32 // read -> its cluster
	blocks      []block
	guessed     bool  // the writes of some reads are guesses
	unexplained int32 // the first operation, by return, whose value nothing makes, or noOperation
	// base is the cluster of the initial value for reads. If the first operation of all writes the
	// initial value, base is the cluster of this write, and initialCluster otherwise.
	base int32
}

// cluster is a write and the reads of its value. Cluster 0 has the initial value, and cluster i+1
// the value of operation i.
type cluster struct {
	firstRead int32 // -1 for none
	pred      int32 // the cluster directly before, once seen, or -1
	succ      int32 // the cluster directly after in the block, or -1
	used      bool  // the linearization must contain the cluster
	linked    bool  // the cluster is in a block, after pred
}

// block is a chain of clusters, from first along succ.
type block struct {
	first int32
	// minReturn and maxCall are the first return and the last call of the operations. If minReturn
	// < maxCall, no other block can take effect between the two.
	minReturn, maxCall int32
	// moment is when the block takes effect, in half ranks.
	moment int64
}

// blockVerdict is the verdict of blocks on a part.
type blockVerdict uint8

const (
	blocksUnclear blockVerdict = iota // some reads do not tell their write
	blocksLegal
	blocksIllegal
)

// initialCluster is the number of the cluster without a write.
const initialCluster int32 = 0

func newBlocks(p *part, b *budget, initial any, accesses []Access) *blocks {
	return &blocks{part: p, budget: b, initial: initial, accesses: accesses, end: never}
}

// called, completed and ret describe the part at the moment end.
func (b *blocks) called(id int32) bool    { return b.ops[id].call < b.end }
func (b *blocks) completed(id int32) bool { return b.ops[id].ret < b.end }
func (b *blocks) ret(id int32) int32 {
	if b.completed(id) {
		return b.ops[id].ret
	}
	return never
}

// decide returns a linearization if the operations are legal. The verdict is right if the accesses
// are.
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

// find assigns each read to a cluster, and a preceding cluster to each swap and to each append that
// a read saw.
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

// judge says whether the clusters can be put in order. The caller may lower end and judge again.
func (b *blocks) judge() blockVerdict {
	if b.require() && b.chain() && b.place() {
		return blocksLegal
	}
	if b.guessed {
		return blocksUnclear
	}
	return blocksIllegal
}

// longestLegal returns the stuck operation of an illegal part, and a linearization of the part
// right before the return of this operation, if one is known. If the check ends early, stuck is
// only near the first operation.
func (b *blocks) longestLegal() (stuck int32, order []int32) {
	bad := len(b.returns) // the part is illegal before this many returns
	b.budget.completes(func() { order = b.bisect(&bad) })
	return b.returns[bad-1], order
}

// bisect lowers bad to the first number of returns that make the part illegal, and returns a
// linearization of the part before the last of them.
func (b *blocks) bisect(bad *int) (order []int32) {
	good := 0 // the part is legal before this many returns, as far as is known
	found := blocksLegal
	for b.unexplained != noOperation { // without later calls, an earlier operation may be unexplained
		*bad = b.returnIndex(b.unexplained) + 1
		b.end = b.ops[b.unexplained].ret
		found = b.find()
	}
	before := func(n int) blockVerdict {
		b.end = b.ops[b.returns[n]].ret
		if found != blocksLegal { // an earlier part may be clear where a later one is not
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

// findBase finds the base. Many tests begin with a write of the initial value.
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

// findByValue is find for histories without appends.
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

// noteUnexplained notes an operation whose value nothing makes.
func (b *blocks) noteUnexplained(id int32) {
	if b.unexplained == noOperation || b.ops[id].ret < b.ops[b.unexplained].ret {
		b.unexplained = id
	}
}

// link notes that operation id found the value of cluster c. A read joins the cluster, and any
// other operation follows the cluster.
func (b *blocks) link(id, c int32) {
	if b.accesses[id].Kind == AccessRead {
		b.seen[id] = c
		b.nextRead[id] = b.clusters[c].firstRead
		b.clusters[c].firstRead = id
		return
	}
	b.clusters[id+1].pred = c
}

// require marks the clusters of completed writes and of values in reads. Any linearization contains
// them. Unseen pending writes are left out.
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

// use marks a cluster and all required predecessors. Those are the expected one of a swap, and the
// seen one of an append.
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
		// A value exists once, so only one operation can directly follow its cluster.
		if b.clusters[k.pred].succ >= 0 {
			return false
		}
		k.linked, b.clusters[k.pred].succ = true, c
		c = k.pred
	}
	return true
}

// chain makes blocks of the clusters. In a block, no operation may have returned before the call of
// one that stands earlier.
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
	return unchained == 0 // the remaining clusters form cycles
}

// extend adds a cluster to the end of a block.
func (b *blocks) extend(blk *block, c int32) bool {
	before := blk.maxCall // the last call among the earlier operations
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
// A block with minReturn < maxCall ("forward") has an operation with its return at minReturn and
// another with its call at maxCall. No other block can take effect between, because an earlier
// block has no call after minReturn, and a later one has no return before maxCall. So forward
// blocks must not overlap. In any other block ("backward"), all operations are open from maxCall to
// minReturn, and the block can take effect at any moment there. Some such moment lies outside all
// forward blocks unless one of them contains the whole interval, because forward blocks do not
// touch.
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
		// The last forward block that starts before k may contain k's start.
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

// order lists the operations block by block. A failed swap belongs to no block and changes nothing.
// A part is illegal if its other operations are. Reads cannot tell whether the failed swaps fit in.
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

// respectsTime says whether the order contains all completed operations, and none that returned
// before the call of an earlier one.
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
