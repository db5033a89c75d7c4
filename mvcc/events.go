package mvcc

import (
	"iter"
	"slices"
	"sort"
)

// chunkSize is the number of events in a chunk of the log.
const chunkSize = 256

// eventLog is the changes since the last compaction, in the order of their
// revisions. Copies of an eventLog share their chunks. Each copy sees only its own
// part of them, and only the newest copy appends.
type eventLog struct {
	chunks     []*[chunkSize]*version
	begin, end int // places of the first event and behind the last one
}

func (l *eventLog) len() int { return l.end - l.begin }

func (l *eventLog) at(place int) *version { return l.chunks[place/chunkSize][place%chunkSize] }

func (l *eventLog) append(v *version) {
	if l.end == len(l.chunks)*chunkSize {
		l.chunks = append(l.chunks, new([chunkSize]*version))
	}
	l.chunks[l.end/chunkSize][l.end%chunkSize] = v
	l.end++
}

// trim drops the events before a place, and returns by how much the places of the
// others have become smaller. The list of chunks is copied, because views share the
// list.
func (l *eventLog) trim(place int) (shift int) {
	l.begin = place
	drop := l.begin / chunkSize
	if drop == 0 {
		return 0
	}
	l.chunks = slices.Clone(l.chunks[drop:])
	shift = drop * chunkSize
	l.begin -= shift
	l.end -= shift
	return shift
}

// find returns the place of the first event of a revision or a later one.
func (l *eventLog) find(revision int64) int {
	return l.begin + sort.Search(l.len(), func(i int) bool { return l.at(l.begin+i).ModRevision >= revision })
}

// Event is a change of a key.
type Event struct {
	// Deleted says that the key was deleted. KV then has the key and the
	// ModRevision of the deletion.
	Deleted bool
	KV      *KeyValue
}

// Events returns the changes of the revisions from first to last, in order. The
// changes of one transaction follow each other and have the same ModRevision. A
// first revision before the last compaction is [ErrCompacted]. A range above the
// current revision is empty.
func (v *View) Events(first, last int64) (iter.Seq[Event], error) {
	if first < v.state.compacted {
		return nil, ErrCompacted
	}
	log := &v.state.events
	return func(yield func(Event) bool) {
		for place := log.find(first); place < log.end; place++ {
			e := log.at(place)
			if e.ModRevision > last || !yield(Event{Deleted: e.deleted, KV: &e.KeyValue}) {
				return
			}
		}
	}, nil
}

// Prev returns the version of an event's key before the event's transaction. Prev
// returns nil if the key did not exist or the version is compacted.
func (v *View) Prev(e Event) *KeyValue {
	before := e.KV.ModRevision - 1
	if before < v.state.compacted {
		return nil
	}
	if old := v.state.visible(e.KV.Key, before); old != nil {
		return &old.KeyValue
	}
	return nil
}
