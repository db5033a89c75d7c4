package core

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
)

// The fast ways of doing things against slow, obvious ones.

var quickly = &quick.Config{MaxCount: 2000}

// terms draws the terms of a log: they never fall along it.
func terms(r *rand.Rand, n int) []uint64 {
	ts := make([]uint64, n)
	term := uint64(1)
	for i := range ts {
		if r.IntN(3) == 0 {
			term += uint64(r.IntN(3))
		}
		ts[i] = term
	}
	return ts
}

// logOf makes a log of these terms whose first base entries are in a snapshot.
func logOf(base int, terms []uint64) *raftLog {
	l := &raftLog{snapshotIndex: uint64(base), first: uint64(base) + 1}
	if base > 0 {
		l.snapshotTerm = terms[base-1]
	}
	for i, term := range terms[base:] {
		l.append(Entry{Index: uint64(base + i + 1), Term: term})
	}
	l.stableIndex = l.lastIndex()
	return l
}

// The highest index that a quorum has reached is the highest one that enough
// servers have reached, by counting.
func TestAgreedIsByCounting(t *testing.T) {
	f := func(reached []uint8, size uint8) bool {
		n := int(size)%9 + 1
		index := make(map[NodeID]uint64)
		var m majority
		for i := range n {
			id := NodeID(i + 1)
			m = append(m, id)
			if i < len(reached) {
				index[id] = uint64(reached[i] % 16)
			}
		}
		want := uint64(0)
		for candidate := uint64(0); candidate <= 16; candidate++ {
			count := 0
			for _, id := range m {
				if index[id] >= candidate {
					count++
				}
			}
			if 2*count > n {
				want = candidate
			}
		}
		return m.agreed(func(id NodeID) uint64 { return index[id] }) == want
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

// A quorum is the smallest number of which any two have a server in common.
func TestQuorumsIntersect(t *testing.T) {
	for n := 1; n < 12; n++ {
		q := make(majority, n).quorum()
		if 2*q <= n || 2*(q-1) > n {
			t.Errorf("quorum of %d is %d", n, q)
		}
	}
}

func TestLastAtOrBelowIsBySearch(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		n := r.IntN(20)
		ts := terms(r, n)
		base := r.IntN(n + 1)
		l := logOf(base, ts)
		index, term := uint64(r.IntN(25)), uint64(r.IntN(25))
		want := min(index, uint64(n))
		for want > uint64(base) && ts[want-1] > term {
			want--
		}
		return l.lastAtOrBelow(index, term) == want
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

// The hints of both sides never skip a place where the logs agree, and find it:
// an exchange of refusals ends at the last one, after no more steps than the logs
// have terms between them.
func TestHintsFindTheLastAgreement(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		common := terms(r, r.IntN(8))
		leader, follower := slices.Clone(common), slices.Clone(common)
		last := uint64(1)
		if len(common) > 0 {
			last = common[len(common)-1]
		}
		distinct := map[uint64]bool{}
		for i, term := range terms(r, 30) { // each term has one leader, so its entries are in one log
			term += last
			distinct[term] = true
			if r.IntN(2) == 0 && i > 0 {
				continue
			}
			if term%2 == 0 {
				leader = append(leader, term)
			} else {
				follower = append(follower, term)
			}
		}
		l, f := logOf(0, leader), logOf(0, follower)
		prev := l.lastIndex()
		for steps := 0; ; steps++ {
			term, _ := l.term(prev)
			if f.matches(prev, term) {
				break
			}
			if steps > len(distinct)+1 {
				return false
			}
			hint := f.lastAtOrBelow(prev, term)
			hintTerm, _ := f.term(hint)
			prev = min(l.lastAtOrBelow(hint, hintTerm)+1, prev) - 1
		}
		return prev == uint64(len(common))
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

// merge against the words of Figure 2: delete what conflicts and all that
// follows, append what is not there. Slices handed out before stay as they were.
func TestMergeIsFigure2(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		n := r.IntN(12)
		base := r.IntN(n + 1)
		old := terms(r, n)
		l := logOf(base, old)
		l.stableIndex = uint64(base + r.IntN(n-base+1))
		stable := l.stableIndex
		handedOut := l.unstable()
		copied := slices.Clone(handedOut)

		prev := base + r.IntN(n-base+1)
		tail := append(slices.Clone(old[prev:]), 1)[:r.IntN(n-prev+1)] // agrees for a while,
		if cut := r.IntN(len(tail) + 1); r.IntN(3) > 0 {               // and then often not
			tail = tail[:cut]
			for range r.IntN(5) {
				tail = append(tail, 50+uint64(r.IntN(2)))
			}
			slices.Sort(tail)
		}
		var news []Entry
		want := slices.Clone(old)
		for i, term := range tail {
			index := prev + i + 1
			news = append(news, Entry{Index: uint64(index), Term: term})
			if index <= len(want) && want[index-1] != term {
				want = want[:index-1]
				stable = min(stable, uint64(index-1))
			}
			if index > len(want) {
				want = append(want, term)
			}
		}
		l.merge(news)
		var got []uint64
		for i, e := range l.entries {
			if e.Index != uint64(base+i+1) {
				return false
			}
			got = append(got, e.Term)
		}
		return slices.Equal(got, want[base:]) && l.stableIndex == stable &&
			slices.EqualFunc(handedOut, copied, func(a, b Entry) bool { return a.Index == b.Index && a.Term == b.Term })
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

// slice against adding up one by one.
func TestSliceIsBounded(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		n := 1 + r.IntN(12)
		l := logOf(0, terms(r, n))
		for i := range l.entries {
			l.entries[i].Data = make([]byte, r.IntN(40))
		}
		lo, hi, limit := 1+r.IntN(n), r.IntN(n+1), r.IntN(200)
		want, sum := 0, 0
		for i := lo; i <= hi; i++ {
			sum += l.entries[i-1].size()
			if want > 0 && sum > limit {
				break
			}
			want++
		}
		got := l.slice(uint64(lo), uint64(hi), limit)
		return len(got) == want && (want == 0 || got[0].Index == uint64(lo) && cap(got) == len(got))
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

// A log with a bound on memory answers as one without, whatever happens to both,
// and what it has in memory is the same.
func TestCachedLogIsTheLog(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		whole, cached := logOf(0, nil), logOf(0, nil)
		cached.maxCached = 1 + r.IntN(300)
		term := uint64(1)
		both := func(do func(l *raftLog)) { do(whole); do(cached) }
		for range 60 {
			last, stable, committed := whole.lastIndex(), whole.stableIndex, whole.committed
			switch r.IntN(6) {
			case 0, 1:
				term += uint64(r.IntN(2))
				e := Entry{Index: last + 1, Term: term, Data: make([]byte, r.IntN(60))}
				both(func(l *raftLog) { l.append(e) })
			case 2:
				if last > committed {
					at := committed + 1 + uint64(r.IntN(int(last-committed)))
					term++
					news := []Entry{{Index: at, Term: term}}
					both(func(l *raftLog) { l.merge(news) })
				}
			case 3:
				to := stable + uint64(r.IntN(int(last-stable)+1))
				t, _ := whole.term(to)
				both(func(l *raftLog) { l.savedTo(to, t) })
			case 4:
				if end := min(stable, committed); end > whole.snapshotIndex && r.IntN(3) == 0 {
					to := whole.snapshotIndex + 1 + uint64(r.IntN(int(end-whole.snapshotIndex)))
					both(func(l *raftLog) { l.compact(to) })
				}
			case 5:
				to := committed + uint64(r.IntN(int(last-committed)+1))
				both(func(l *raftLog) { l.settle(to) })
				both(func(l *raftLog) { l.evict() })
			}
			if !sameLogs(whole, cached) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}

func sameLogs(whole, cached *raftLog) bool {
	if whole.lastIndex() != cached.lastIndex() || whole.lastTerm() != cached.lastTerm() || whole.stableIndex != cached.stableIndex {
		return false
	}
	for i := uint64(0); i <= whole.lastIndex()+1; i++ {
		a, okA := whole.term(i)
		b, okB := cached.term(i)
		if a != b || okA != okB || whole.lastAtOrBelow(i, 3) != cached.lastAtOrBelow(i, 3) {
			return false
		}
	}
	kept := min(cached.stableIndex, cached.committed) + 1
	if cached.first > kept || cached.cached != sizeOf(cached.entries[:max(cached.committed+1, cached.first)-cached.first]) {
		return false // unsaved and uncommitted entries are in memory
	}
	// The bound may be passed by unsaved entries, and as long as less than a quarter of the
	// entries would have to go.
	settled := cached.entries[:kept-cached.first]
	surplus, size := 0, sizeOf(settled)
	for size > cached.maxCached/2 {
		size -= settled[surplus].size()
		surplus++
	}
	if sizeOf(settled) > cached.maxCached && surplus > 2+len(cached.entries)/4 && cached.stableIndex == cached.lastIndex() {
		return false
	}
	tail := whole.slice(cached.first, whole.lastIndex(), 1<<30)
	return slices.EqualFunc(tail, cached.entries, func(a, b Entry) bool { return a.Index == b.Index && a.Term == b.Term })
}

// The window's sum is that of what is in it.
func TestWindowAddsUp(t *testing.T) {
	f := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		w := window{maxCount: 1 + r.IntN(5), maxBytes: 1 + r.IntN(100)}
		last := uint64(0)
		for range 50 {
			if !w.full() {
				last += uint64(1 + r.IntN(3))
				w.add(last, r.IntN(40))
			}
			if r.IntN(3) == 0 {
				w.ackTo(uint64(r.IntN(int(last) + 2)))
			}
			sum := 0
			for _, s := range w.sent {
				sum += s.bytes
			}
			if sum != w.bytes || len(w.sent) > w.maxCount {
				return false
			}
		}
		return true
	}
	if err := quick.Check(f, quickly); err != nil {
		t.Fatal(err)
	}
}
