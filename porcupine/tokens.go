package porcupine

import (
	"slices"
	"strings"
)

// tokens reads values that appends have built. Such a value is a written or the initial value,
// followed by appended ones. No written or appended text may be a prefix of another, so that every
// value can be split in only one way. Each piece then names its operation, or several operations
// that appended equal texts.
//
// Of operations with equal texts, the first called takes the first place. The choice is exact if
// the operations also return in the order of their calls and all places are in one chain. A
// linearization with two of them in the other order can then exchange the two, because each was
// called before the later place and returns after the earlier one. Otherwise the choice is a guess,
// and a violation found with it does not count.
type tokens struct {
	*blocks
	initial string
	byText  map[string]int32 // text -> the next operation with this text
	alike   []int32          // operation -> the next one with an equal text, or -1
	guessed bool
	lengths []int // the different lengths of texts
	chains  map[int32]*tokenChain
	taken   []bool // operation -> whether a chain contains it
}

// maxLengths bounds the number of different lengths, because match tries each.
const maxLengths = 200

// tokenChain is the knowledge so far about a written value and the appends to it.
type tokenChain struct {
	text     string  // the longest value that a read saw
	ends     []int   // the end of each piece
	clusters []int32 // the cluster of each piece
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

// collect gathers the texts and says whether values can be split.
func (t *tokens) collect() bool {
	texts, writes := []string(nil), false
	last := make(map[string]int32, len(t.ops)) // text -> the last operation with this text
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
		// In sorted order, the prefixes of a text stand directly before it, or before another text
		// with the same prefix.
		if strings.HasPrefix(texts[i], texts[i-1]) {
			return false
		}
	}
	return true
}

// writers counts the writes and appends without the base.
func (t *tokens) writers() int {
	n := 0
	for i := range t.accesses {
		if t.accesses[i].Kind != AccessRead && int32(i+1) != t.base && t.called(int32(i)) {
			n++
		}
	}
	return n
}

// locate returns the cluster of the value, or false if no order of the operations makes the value.
func (t *tokens) locate(value string) (int32, bool) {
	rest, ok := strings.CutPrefix(value, t.initial)
	base := t.base
	if first := t.match(rest); !ok || first >= 0 && t.accesses[first].Kind == AccessWrite {
		if ok && t.initial != "" {
			return 0, false // a written value stands in the middle
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

// follow finds the value in the chain, and extends the chain if the value is longer.
func (t *tokens) follow(chain *tokenChain, value string) (int32, bool) {
	if len(value) <= len(chain.text) {
		i, ok := slices.BinarySearch(chain.ends, len(value))
		// Two reads differ in a piece, so two operations would directly follow one value.
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

// match returns the operation whose text is a prefix of the value, or -1. There is at most one, as
// no text is a prefix of another.
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
