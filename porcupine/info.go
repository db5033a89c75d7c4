package porcupine

// A LinearizationInfo holds what a verbose check found: the history, part by
// part, and its linearizations. [Visualize] draws it and [Explain] puts it into words.
type LinearizationInfo struct {
	parts       []partInfo
	annotations []Annotation
}

// partInfo is what a verbose check found about one part.
type partInfo struct {
	*part
	result   CheckResult
	partials [][]int // operations by their place in the part, longest first
	stuck    int32   // the first operation, by return, that cannot be placed, or noOperation
	settled  bool    // stuck is not only near it
}

// PartialLinearizations returns, for each partition, the linearizations that
// the check found, each as a sequence of operation ids. An operation's id is
// its place in its partition (of events: the place of its call among the
// calls).
//
// Of a linearizable partition this is one complete linearization. Otherwise
// they are the longest partial ones found, longest first, so that each operation
// that can be placed at all is on one (up to a limit of 100). A partition that the check
// had not come to, because another was found illegal first, has what was
// found so far.
func (li *LinearizationInfo) PartialLinearizations() [][][]int {
	if li.parts == nil {
		return nil
	}
	result := make([][][]int, len(li.parts))
	for i := range li.parts {
		result[i] = li.parts[i].partials
	}
	return result
}

// PartialLinearizationsOperations returns what PartialLinearizations returns,
// with the operations themselves in place of their ids. In a history of events,
// an operation's times are the places of its events in its partition.
func (li *LinearizationInfo) PartialLinearizationsOperations() [][][]Operation {
	result := make([][][]Operation, len(li.parts))
	for i, p := range li.parts {
		result[i] = make([][]Operation, len(p.partials))
		for j, partial := range p.partials {
			result[i][j] = make([]Operation, len(partial))
			for k, id := range partial {
				result[i][j][k] = p.ops[id].Operation
			}
		}
	}
	return result
}

// An Annotation is a remark to be drawn into a picture of a history: a client's
// operation that is not part of the check, or, with a Tag, an event of
// something else, such as a server or the test itself.
type Annotation struct {
	ClientId        int    // the client in whose lane it is drawn, if Tag is empty
	Tag             string // the lane in which it is drawn, if not a client's
	Start           int64  // when it begins, in the unit of the history's times
	End             int64  // when it ends; a value before Start stands for Start, a moment
	Description     string // shown in the picture
	Details         string // shown when it is pointed at; optional
	TextColor       string // a CSS colour, such as "#efaefc"; optional
	BackgroundColor string // a CSS colour; optional
	_               struct{}
}

// AddAnnotations adds remarks to the picture that [Visualize] draws.
func (li *LinearizationInfo) AddAnnotations(annotations []Annotation) {
	for _, a := range annotations {
		a.End = max(a.End, a.Start)
		li.annotations = append(li.annotations, a)
	}
}
