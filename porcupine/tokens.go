package porcupine

import (
	"slices"
	"strings"
)

// tokens reads values that were built by appends: each is a written value, or
// the initial one, and the values appended to it. It needs that no written
// or appended value is the beginning of another, so that every value can be taken
// apart in one way only. Each part then names its operation, or those that
// appended the same.
//
// Of several operations that appended the same, the first called is taken for the first
// place. That loses nothing if they also return in the order of their calls and all places
// are in one chain, whose order is that of time: where a linearization has two of them the
// other way round, they can change places, as each was called before the later place and
// returns after the earlier. If not, it is a guess, and a violation found by it is none.
type tokens struct {
	*blocks
	initial string
	byText  map[string]int32 // text -> the next operation with it
	alike   []int32          // operation -> the next one with the same text, or -1
	guessed bool
	lengths []int // the lengths that texts have
	chains  map[int32]*tokenChain
	taken   []bool // operation -> it is in a chain
}

// maxLengths bounds how many different lengths texts may have: each is tried.
const maxLengths = 200

// tokenChain is what reads have shown so far of one written value and the
// appends to it.
type tokenChain struct {
	text     string  // the longest value seen
	ends     []int   // where each part of it ends
	clusters []int32 // the cluster of each part
}

func newTokens(b *blocks) *tokens {
	t := &tokens{blocks: b, byText: make(map[string]int32, len(b.ops)), chains: make(map[int32]*tokenChain),
		taken: make([]bool, len(b.ops)), alike: make([]int32, len(b.ops))}
	t.initial, _ = b.initial.(string)
	return t
}

func (t *tokens) find() blockVerdict {
	if !t.collect() {
		return blocksUnclear
	}
	for i, id := range t.returns {
		t.budget.poll(i)
		a := &t.accesses[id]
		if a.Kind != AccessRead || !t.completed(id) {
			continue
		}
		value, ok := a.Value.(string)
		if !ok {
			return blocksUnclear
		}
		c, ok := t.locate(value)
		if !ok {
			t.noteUnexplained(id)
			return blocksIllegal
		}
		t.link(id, c)
	}
	t.blocks.guessed = t.guessed
	return blocksLegal
}

// collect gathers the texts and says whether values can be taken apart.
func (t *tokens) collect() bool {
	texts, writes := []string(nil), false
	last := make(map[string]int32, len(t.ops)) // text -> the last operation with it
	for i, id := range t.calls {
		t.budget.poll(i)
		a := &t.accesses[id]
		if a.Kind == AccessRead || id+1 == t.base || !t.called(id) {
			continue
		}
		text, ok := a.Value.(string)
		if !ok || text == "" || a.Kind != AccessWrite && a.Kind != AccessAppend {
			return false
		}
		t.alike[id] = -1
		writes = writes || a.Kind == AccessWrite
		before, repeated := last[text]
		last[text] = id
		if repeated {
			if a.Kind == AccessWrite || t.accesses[before].Kind == AccessWrite {
				return false
			}
			t.alike[before] = id
			t.guessed = t.guessed || t.ret(before) > t.ret(id) || !t.completed(id)
			continue
		}
		t.byText[text] = id
		texts = append(texts, text)
		if !slices.Contains(t.lengths, len(text)) {
			t.lengths = append(t.lengths, len(text))
		}
		if len(t.lengths) > maxLengths {
			return false
		}
	}
	t.guessed = t.guessed || writes && len(texts) < t.writers()
	if t.initial != "" {
		texts = append(texts, t.initial)
	}
	slices.SortFunc(texts, polled(t.budget, strings.Compare))
	for i := 1; i < len(texts); i++ {
		// In sorted order a text's beginnings stand right before it, or before what has them too.
		if strings.HasPrefix(texts[i], texts[i-1]) {
			return false
		}
	}
	return true
}

// writers counts the writes and appends, but for the base.
func (t *tokens) writers() int {
	n := 0
	for i := range t.accesses {
		if t.accesses[i].Kind != AccessRead && int32(i+1) != t.base && t.called(int32(i)) {
			n++
		}
	}
	return n
}

// locate returns the cluster that has the value, or false if no order of the operations makes it.
func (t *tokens) locate(value string) (int32, bool) {
	rest, ok := strings.CutPrefix(value, t.initial)
	base := t.base
	if first := t.match(rest); !ok || first >= 0 && t.accesses[first].Kind == AccessWrite {
		if ok && t.initial != "" {
			return 0, false // a written value in the middle
		}
		if first = t.match(value); first < 0 || t.accesses[first].Kind != AccessWrite {
			return 0, false
		}
		base = first + 1
	}
	chain := t.chains[base]
	if chain == nil {
		chain = t.begin(base)
	}
	return t.follow(chain, value)
}

func (t *tokens) begin(base int32) *tokenChain {
	text := t.initial
	if base != initialCluster {
		text = t.accesses[base-1].Value.(string)
	}
	chain := &tokenChain{text: text, ends: []int{len(text)}, clusters: []int32{base}}
	t.chains[base] = chain
	return chain
}

// follow finds the value in the chain, which it extends by what is new.
func (t *tokens) follow(chain *tokenChain, value string) (int32, bool) {
	if len(value) <= len(chain.text) {
		i, ok := slices.BinarySearch(chain.ends, len(value))
		// Two reads that differ where both have a part show two operations right after the
		// same value.
		if !ok || chain.text[:len(value)] != value {
			return 0, false
		}
		return chain.clusters[i], true
	}
	if !strings.HasPrefix(value, chain.text) {
		return 0, false
	}
	for end := len(chain.text); end < len(value); {
		id := t.match(value[end:])
		if id < 0 || t.accesses[id].Kind != AccessAppend || t.taken[id] {
			return 0, false
		}
		t.taken[id] = true
		if next := t.alike[id]; next >= 0 {
			t.byText[t.accesses[id].Value.(string)] = next
		}
		end += len(t.accesses[id].Value.(string))
		t.clusters[id+1].pred = chain.clusters[len(chain.clusters)-1]
		chain.ends, chain.clusters = append(chain.ends, end), append(chain.clusters, id+1)
	}
	chain.text = value
	return chain.clusters[len(chain.clusters)-1], true
}

// match returns the operation whose text the value begins with, or -1. As no
// text is the beginning of another, there is at most one.
func (t *tokens) match(value string) int32 {
	for _, n := range t.lengths {
		if n <= len(value) {
			if id, ok := t.byText[value[:n]]; ok {
				return id
			}
		}
	}
	return -1
}
