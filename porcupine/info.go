package porcupine

// A LinearizationInfo holds the result of a verbose check. This is the history with the
// linearizations, part by part. [Visualize] draws the info and [Explain] puts the info into words.
type LinearizationInfo struct {
	parts       []partInfo
	annotations []Annotation
}

// partInfo is the result of a verbose check for one part.
type partInfo struct {
	*part
	result   CheckResult
	partials [][]int // operations by their index in the part, longest first
	stuck    int32   // the first operation, by return, that cannot be placed, or noOperation
	settled  bool    // stuck is exact, and not only near the first operation
}

// PartialLinearizations returns the linearizations of each partition as sequences of operation ids.
// The id of an operation is its index in the partition. In a history of events, the id is the index
// of the call among the calls.
//
// A linearizable partition has one complete linearization. An illegal partition has the longest
// partial ones found, longest first, up to a limit of 100. Together they contain each operation
// that the search placed. A partition whose check was stopped by an illegal one has the results so
// far.
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

// PartialLinearizationsOperations is PartialLinearizations with operations in place of ids. In a
// history of events, the times of an operation are the indexes of its events in the partition.
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

// An Annotation is a remark in the picture of a history. Without a Tag, an annotation is an
// operation of a client that the check ignores. With a Tag, an annotation is an event of something
// else, such as a server or the test itself.
type Annotation struct {
	ClientId        int    // the client of the lane, if Tag is empty
	Tag             string // the name of the lane, if the lane is not a client's
	Start           int64  // the beginning, in the unit of the history's times
	End             int64  // the end, where a value before Start means Start
	Description     string // the text in the picture
	Details         string // the text when the mouse is over the annotation (optional)
	TextColor       string // a CSS colour, such as "#efaefc" (optional)
	BackgroundColor string // a CSS colour (optional)
	_               struct{}
}

// AddAnnotations adds remarks to the picture of [Visualize].
func (li *LinearizationInfo) AddAnnotations(annotations []Annotation) {
	for _, a := range annotations {
		a.End = max(a.End, a.Start)
		li.annotations = append(li.annotations, a)
	}
}
