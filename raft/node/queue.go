package node

// queue is a first-in first-out queue whose memory is used again.
type queue[T any] struct {
	elements []T
	first    int // elements before it are gone
}

func (q *queue[T]) len() int { return len(q.elements) - q.first }

func (q *queue[T]) push(e T) {
	if q.first == len(q.elements) {
		q.elements, q.first = keep(q.elements), 0
	} else if q.first > maxKept && 2*q.first > len(q.elements) {
		q.elements = append(q.elements[:0], q.elements[q.first:]...)
		q.first = 0
	}
	q.elements = append(q.elements, e)
}

// front returns the oldest element. The queue is not empty.
func (q *queue[T]) front() *T { return &q.elements[q.first] }

// pop removes the oldest element. The queue is not empty.
func (q *queue[T]) pop() T {
	var zero T
	e := q.elements[q.first]
	q.elements[q.first] = zero
	q.first++
	return e
}

// maxKept bounds the length of slices that are kept for their next use.
const maxKept = 4096

// keep empties a slice for its next use.
func keep[T any](s []T) []T {
	if cap(s) > maxKept {
		return nil
	}
	return s[:0]
}
