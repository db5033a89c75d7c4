package porcupine

// visitedSet holds the visited configurations of a search. A configuration consists of the stage,
// the open operations already linearized (done), the pending operations used, and the state.
//
// One configuration covers another if the two differ only in pending operations, and the first one
// used fewer. An unused pending operation can be used later or never, so every completion of the
// second is a completion of the first. The search drops a covered configuration even if the
// covering one is still being explored (see search.run).
type visitedSet struct {
	states *stateTable
	done   int // words in a done mask
	used   int // words in a used mask
	// entries holds the stage and state of each configuration in one word, followed by the masks.
	entries []uint64
	// table maps hashes to entries by open addressing. Zero is an empty place.
	table []uint32
	n     int
}

func newVisitedSet(states *stateTable, done, used int) *visitedSet {
	return &visitedSet{states: states, done: done, used: used, table: make([]uint32, 64)}
}

func (v *visitedSet) stride() int { return 1 + v.done + v.used }

// bytes returns the memory of the set.
func (v *visitedSet) bytes() int64 { return 8*int64(cap(v.entries)) + 4*int64(len(v.table)) }

// hash leaves out the parts in which a covering configuration may differ: the used mask and, if the
// states scan, the state.
func (v *visitedSet) hash(word uint64, done []uint64) uint64 {
	if v.states.scan {
		word >>= 32
	}
	h := (word + 1) * 0x9e3779b97f4a7c15
	for _, w := range done {
		h = (h ^ h>>29 ^ w) * 0xbf58476d1ce4e5b9
	}
	return h ^ h>>32
}

// has says whether the set covers the given configuration.
func (v *visitedSet) has(stage int32, done, used []uint64, state stateID) bool {
	_, found := v.find(uint64(stage)<<32|uint64(uint32(state)), done, used)
	return found
}

// find returns the place of a covering configuration, or the place for the given one.
func (v *visitedSet) find(word uint64, done, used []uint64) (place uint64, found bool) {
	mask := uint64(len(v.table) - 1)
	for place = v.hash(word, done) & mask; v.table[place] != 0; place = (place + 1) & mask {
		entry := v.entries[int(v.table[place]-1)*v.stride():][:v.stride()]
		if v.covers(entry, word, done, used) {
			return place, true
		}
	}
	return place, false
}

// insert adds the configuration and reports true, unless the set covers the configuration.
func (v *visitedSet) insert(stage int32, done, used []uint64, state stateID) bool {
	word := uint64(stage)<<32 | uint64(uint32(state))
	place, found := v.find(word, done, used)
	if found {
		return false
	}
	v.entries = append(v.entries, word)
	v.entries = append(v.entries, done...)
	v.entries = append(v.entries, used...)
	v.n++
	v.table[place] = uint32(v.n)
	if 4*v.n >= 3*len(v.table) {
		v.grow()
	}
	return true
}

// covers says whether the entry covers the given configuration.
func (v *visitedSet) covers(entry []uint64, word uint64, done, used []uint64) bool {
	if entry[0] != word {
		if entry[0]>>32 != word>>32 || !v.states.equal(stateID(uint32(entry[0])), stateID(uint32(word))) {
			return false
		}
	}
	for i, w := range done {
		if entry[1+i] != w {
			return false
		}
	}
	return subset(entry[1+v.done:], used)
}

// subset says whether every bit of a is set in b.
func subset(a, b []uint64) bool {
	for i, w := range a {
		if w&^b[i] != 0 {
			return false
		}
	}
	return true
}

func (v *visitedSet) grow() {
	v.table = make([]uint32, 2*len(v.table))
	for i := range v.n {
		v.states.budget.poll(i)
		entry := v.entries[i*v.stride():]
		place := v.hash(entry[0], entry[1:1+v.done]) & uint64(len(v.table)-1)
		for v.table[place] != 0 {
			place = (place + 1) & uint64(len(v.table)-1)
		}
		v.table[place] = uint32(i + 1)
	}
}
