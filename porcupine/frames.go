package porcupine

import (
	"math/bits"
	"slices"
)

// frame is a stage that the search entered at a configuration with several candidates. The search
// first linearizes the operation that returns next. If this fails later, the frame visits the
// configurations that other operations lead to within the stage, nearest first. From each of them
// the search tries the returning operation again.
//
// The order matters with pending operations. Among configurations that differ only in the pending
// operations used, the nearest one used fewest and covers the others.
type frame struct {
	stage  int32
	path   int32 // length of the path at the entry
	nodes  int32 // the index of the first node, which is the entry
	exit   int32 // the next node from which to linearize the returning operation
	expand int32 // the node whose candidates come next
	cands  int32 // the index of the first candidate
	next   int32 // the index of the next candidate
	listed bool  // the candidates are listed
}

// node is a configuration within a frame's stage.
type node struct {
	state              stateID
	suffix, suffixSize int32 // the path beyond the frame's, in search.paths
}

// candidate is an operation that may be linearized next. A pending operation is one candidate for
// each state that may follow.
type candidate struct {
	op   int32
	next stateID // known for a pending operation
}

// unknownNext marks a candidate whose transition is not computed yet.
const unknownNext stateID = -2

// pushFrame makes a frame for the current configuration. The caller then linearizes the returning
// operation.
func (s *search) pushFrame() {
	s.frames = append(s.frames, frame{stage: s.stage, path: int32(len(s.path)), nodes: int32(len(s.nodes)),
		exit: int32(len(s.nodes)) + 1, expand: int32(len(s.nodes)), cands: int32(len(s.cands))})
	s.addNode()
}

// addNode adds the current configuration to the last frame.
func (s *search) addNode() {
	suffix := s.path[s.frames[len(s.frames)-1].path:]
	s.nodes = append(s.nodes, node{state: s.state, suffix: int32(len(s.paths)), suffixSize: int32(len(suffix))})
	s.paths = append(s.paths, suffix...)
	s.masks = append(append(s.masks, s.done...), s.used...)
}

// tryNext makes the next attempt of the last frame and reports whether the search reached a new
// configuration at a later stage.
func (s *search) tryNext() bool {
	f := &s.frames[len(s.frames)-1]
	if int(f.exit) < len(s.nodes) {
		f.exit++
		s.restore(f, f.exit-1)
		return s.linearize(candidate{s.returns[s.stage], unknownNext})
	}
	if int(f.expand) == len(s.nodes) {
		s.popFrame(f)
		return false
	}
	s.restore(f, f.expand)
	if !f.listed {
		f.listed, f.next = true, f.cands
		s.cands = s.cands[:f.cands]
		s.listCandidates()
	}
	if int(f.next) == len(s.cands) {
		f.listed = false
		f.expand++
		return false
	}
	f.next++
	if !s.linearize(s.cands[f.next-1]) {
		return false
	}
	if s.stage > f.stage {
		return true // a pure operation returned, or the last operation did
	}
	s.addNode()
	return false
}

// restore makes a node of the last frame the current configuration.
func (s *search) restore(f *frame, which int32) {
	for s.stage > f.stage {
		s.stage--
		s.slots.retreat(s.part, s.stage)
	}
	n := s.nodes[which]
	s.state = n.state
	s.record.goBack(int(f.path))
	s.levels.pathChanged(int(f.path))
	s.path = append(s.path[:f.path], s.paths[n.suffix:n.suffix+n.suffixSize]...)
	saved := s.masks[int(which)*(len(s.done)+len(s.used)):]
	copy(s.done, saved)
	copy(s.used, saved[len(s.done):])
}

func (s *search) popFrame(f *frame) {
	s.paths = s.paths[:s.nodes[f.nodes].suffix]
	s.nodes = s.nodes[:f.nodes]
	s.masks = s.masks[:int(f.nodes)*(len(s.done)+len(s.used))]
	s.cands = s.cands[:f.cands]
	s.frames = s.frames[:len(s.frames)-1]
}

// listCandidates lists the operations that may be linearized at the current configuration besides
// the returning one. Open operations come first, in the order of their returns, and pending ones
// follow. Of open operations with equal input and output, only the first to return is listed, and
// of equal pending ones only the first called. The list is sufficient. If a completion takes
// another of the equal operations first, the two can change places: both are open, Step treats them
// alike, and the later one returns later.
func (s *search) listCandidates() {
	from := len(s.cands)
	returning := s.returns[s.stage]
	for word, mask := range s.slots.occupied {
		for mask &^= s.done[word]; mask != 0; mask &= mask - 1 {
			if id := s.slots.holder[word*64+bits.TrailingZeros64(mask)]; id != returning {
				s.cands = append(s.cands, candidate{id, unknownNext})
			}
		}
	}
	mine := s.cands[from:]
	slices.SortFunc(mine, func(a, b candidate) int { return int(s.ops[a.op].ret - s.ops[b.op].ret) })
	kept := mine[:0]
	for _, c := range mine {
		twin := func(k candidate) bool { return s.slots.twin(s, k.op, c.op) }
		if !s.slots.twin(s, returning, c.op) && !slices.ContainsFunc(kept, twin) {
			kept = append(kept, c)
		}
	}
	s.cands = s.cands[:from+len(kept)]
	s.listPending()
}

func (s *search) listPending() {
	s.slots.listing++
	for word, mask := range s.slots.pendingOpen {
		for mask &^= s.used[word]; mask != 0; mask &= mask - 1 {
			id := s.slots.pendingHolder[word*64+bits.TrailingZeros64(mask)]
			if s.slots.listed(s, id) {
				continue
			}
			for _, next := range s.states.nextPending(s.state, id) {
				if s.levels != nil {
					s.deferPending(candidate{id, next})
				} else {
					s.cands = append(s.cands, candidate{id, next})
				}
			}
		}
	}
}
