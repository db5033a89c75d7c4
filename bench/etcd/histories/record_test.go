//go:build linux

package histories

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"raftlab/porcupine"
)

// event is a change that a watch has delivered.
type event struct {
	revision        int64
	key, value      string
	deleted         bool
	create, version int64
	lease           int64
	at              int64 // time of the arrival
}

// same reports whether two watches have delivered the same change.
func (e event) same(other event) bool {
	e.at, other.at = 0, 0
	return e == other
}

// change is a put or a deletion of a key.
type change struct {
	key, value string
	deleted    bool
}

// pair is a key with what a client has seen of it.
type pair struct {
	key, value string
	mod        int64
}

// operation is a request with its answer. Times are nanoseconds since the beginning.
type operation struct {
	kind      string
	client    int
	call, ret int64
	// known is set if the request was answered. Then revision is that of the header.
	known    bool
	revision int64
	// changes are what the request has changed. If known is not set, they are what the
	// request may have changed.
	changes []change
	// read is set for a read of all keys, stale for a serializable one.
	read, stale bool
	pairs       []pair
	// prev are the versions before the changes, as the answer has them.
	prev []pair
}

// hold is the life of a lease and its key.
type hold struct {
	lease   int64
	key     string
	ttl     time.Duration
	renewed int64 // time of the call of the last renewal that was answered
	revoked bool  // a client may have revoked the lease
	// gone is the time of an answer that the lease does not exist, 0 for none.
	gone int64
}

// watched is what one watch has delivered.
type watched struct {
	name   string
	prefix string
	from   int64 // revision
	events []event
}

// record is all that the clients have seen.
type record struct {
	history    []event // of all keys, from revision 2 on
	operations []operation
	watches    []watched
	holds      []hold
	last       int64 // a revision that each watch has reached
}

// version is a version of a key.
type version struct {
	mod     int64
	value   string
	deleted bool
	lease   int64
}

// store is the versions of all keys, from the history.
type store map[string][]version

// at returns the version of a key at a revision, nil if the key does not exist.
func (s store) at(key string, revision int64) *version {
	versions := s[key]
	i := sort.Search(len(versions), func(i int) bool { return versions[i].mod > revision })
	if i == 0 || versions[i-1].deleted {
		return nil
	}
	return &versions[i-1]
}

// pairs returns all keys at a revision.
func (s store) pairs(revision int64) []pair {
	var all []pair
	for key := range s {
		if v := s.at(key, revision); v != nil {
			all = append(all, pair{key, v.value, v.mod})
		}
	}
	slices.SortFunc(all, func(a, b pair) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return all
}

// checker collects what is wrong with a record.
type checker struct {
	*record
	store    store
	byRev    map[int64][]event
	claimed  map[int64]bool // revisions of operations
	problems []string
}

// check returns what is wrong with a record.
func (r *record) check() []string {
	c := &checker{record: r, store: make(store), byRev: make(map[int64][]event), claimed: make(map[int64]bool)}
	c.replay()
	for i := range r.operations {
		c.match(&r.operations[i])
	}
	c.linearize()
	c.checkWatches()
	c.checkLeases()
	return c.problems
}

func (c *checker) wrong(format string, args ...any) {
	if len(c.problems) < 20 {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// replay builds the store. The revisions of the history have no gaps, and each version
// goes on from the one before.
func (c *checker) replay() {
	type life struct{ create, version int64 }
	lives := make(map[string]life)
	next := int64(2)
	for i, e := range c.history {
		if i > 0 && e.revision == c.history[i-1].revision {
			next--
		}
		if e.revision != next {
			c.wrong("history: revision %d follows %d", e.revision, next-1)
		}
		next = e.revision + 1
		c.byRev[e.revision] = append(c.byRev[e.revision], e)
		l := lives[e.key]
		switch {
		case e.deleted && l.version == 0:
			c.wrong("history: revision %d deletes %s, which does not exist", e.revision, e.key)
		case e.deleted:
			l = life{}
		case l.version == 0:
			l = life{e.revision, 1}
		default:
			l.version++
		}
		if !e.deleted && (e.create != l.create || e.version != l.version) {
			c.wrong("history: revision %d of %s is version %d of %d; want %d of %d", e.revision, e.key, e.version, e.create, l.version, l.create)
		}
		lives[e.key] = l
		c.store[e.key] = append(c.store[e.key], version{e.revision, e.value, e.deleted, e.lease})
	}
	if next-1 < c.last {
		c.wrong("history: it ends at revision %d; want %d", next-1, c.last)
	}
}

// match compares the answer of an operation with the history. An operation without an
// answer gets its revision from the history, if the operation took effect.
func (c *checker) match(o *operation) {
	if !o.known {
		c.find(o)
		return
	}
	if o.read {
		if want := c.store.pairs(o.revision); !slices.Equal(want, o.pairs) {
			c.wrong("%s of client %d at revision %d has %v; want %v", o.kind, o.client, o.revision, o.pairs, want)
		}
		return
	}
	if len(o.changes) == 0 {
		return
	}
	if !c.has(o.revision, o.changes) {
		c.wrong("%s of client %d at revision %d has changed %v; the history has %v", o.kind, o.client, o.revision, o.changes, c.byRev[o.revision])
	}
	if c.claimed[o.revision] {
		c.wrong("%s of client %d has revision %d, as another operation has", o.kind, o.client, o.revision)
	}
	c.claimed[o.revision] = true
	for _, p := range o.prev {
		v := c.store.at(p.key, o.revision-1)
		if v == nil || v.mod != p.mod || v.value != p.value {
			c.wrong("%s of client %d at revision %d replaces %v; the history has %v", o.kind, o.client, o.revision, p, v)
		}
	}
}

// has reports whether a revision has exactly these changes.
func (c *checker) has(revision int64, changes []change) bool {
	events := c.byRev[revision]
	if len(events) != len(changes) {
		return false
	}
	for i, e := range events {
		if changes[i] != (change{e.key, e.value, e.deleted}) {
			return false
		}
	}
	return true
}

// find looks for the effect of an operation without an answer by its value, which is
// unique. Deletions have none, and are found by leftOver.
func (c *checker) find(o *operation) {
	for _, want := range o.changes {
		if want.deleted {
			return
		}
		for _, v := range c.store[want.key] {
			if v.value == want.value {
				if !c.has(v.mod, o.changes) {
					c.wrong("a part of %s of client %d took effect at revision %d: %v of %v", o.kind, o.client, v.mod, c.byRev[v.mod], o.changes)
				}
				if c.claimed[v.mod] {
					c.wrong("%s of client %d has the revision %d of another operation", o.kind, o.client, v.mod)
				}
				o.known, o.revision, o.ret, c.claimed[v.mod] = true, v.mod, porcupine.Pending, true
				return
			}
		}
	}
}

// leftOver returns operations for the revisions that no operation has: deletions
// without an answer, and the end of leases. Other changes come from nowhere.
func (c *checker) leftOver() (all []operation) {
	for revision, events := range c.byRev {
		if c.claimed[revision] {
			continue
		}
		o := operation{kind: "left over", known: true, revision: revision, call: math.MaxInt64, ret: porcupine.Pending, changes: []change{{}}}
		for _, e := range events {
			if !e.deleted {
				c.wrong("revision %d puts %s=%s, which no client has asked for%s", revision, e.key, e.value, c.twice(e))
				o.call = 0
				continue
			}
			if v := c.store.at(e.key, revision-1); v != nil && v.lease != 0 {
				o.call = 0
			}
			for i := range c.operations {
				if d := &c.operations[i]; !d.known && len(d.changes) == 1 && d.changes[0] == (change{key: e.key, deleted: true}) {
					o.call = min(o.call, d.call)
				}
			}
		}
		if o.call == math.MaxInt64 {
			c.wrong("revision %d has %v, which no client has asked for", revision, events)
			o.call = 0
		}
		all = append(all, o)
	}
	return all
}

// twice describes the operation whose value an event has, if the operation took effect at
// another revision, too.
func (c *checker) twice(e event) (text string) {
	for _, o := range c.operations {
		if slices.Contains(o.changes, change{e.key, e.value, false}) {
			text += fmt.Sprintf(": %s of client %d from %v to %v has had revision %d (known: %t)", o.kind, o.client, time.Duration(o.call), time.Duration(o.ret), o.revision, o.known)
		}
	}
	return text
}

// linearize checks the real-time order of all operations and their revisions.
func (c *checker) linearize() {
	type input struct {
		writes   bool
		revision int64
	}
	model := porcupine.Model{
		Init: func() any { return int64(1) },
		Step: func(state, in, _ any) (bool, any) {
			at, o := state.(int64), in.(input)
			if o.writes {
				return o.revision == at+1, o.revision
			}
			return o.revision == at, at
		},
	}
	var history []porcupine.Operation
	for _, o := range append(c.leftOver(), c.operations...) {
		if !o.known || o.stale {
			continue
		}
		history = append(history, porcupine.Operation{
			ClientId: o.client, Call: o.call, Return: o.ret,
			Input: input{len(o.changes) > 0, o.revision},
		})
	}
	if result := porcupine.CheckOperationsTimeout(model, history, 2*time.Minute); result != porcupine.Ok {
		c.wrong("the operations are not linearizable by their revisions: %v", result)
	}
	c.checkStale()
}

// checkStale checks that no serializable read has seen a revision before its write began.
func (c *checker) checkStale() {
	began := make(map[int64]int64)
	for _, o := range c.operations {
		if o.known && len(o.changes) > 0 {
			began[o.revision] = o.call
		}
	}
	for _, o := range c.operations {
		if o.known && o.stale && began[o.revision] > o.ret {
			c.wrong("a serializable read has revision %d before its write", o.revision)
		}
	}
}

// checkWatches compares each watch with the history: order, completeness, no event twice.
func (c *checker) checkWatches() {
	for _, w := range c.watches {
		var want []event
		for _, e := range c.history {
			if e.revision >= w.from && e.revision <= c.last && len(e.key) >= len(w.prefix) && e.key[:len(w.prefix)] == w.prefix {
				want = append(want, e)
			}
		}
		for i, e := range w.events {
			if e.revision > c.last {
				break
			}
			if i >= len(want) || !e.same(want[i]) {
				c.wrong("%s: event %d is %+v; want %+v", w.name, i, e, at(want, i))
				break
			}
			want[i].at = 1
		}
		if i := slices.IndexFunc(want, func(e event) bool { return e.at != 1 }); i >= 0 {
			c.wrong("%s: event %d of %d is missing: %+v", w.name, i, len(want), want[i])
		}
	}
}

func at(events []event, i int) any {
	if i < len(events) {
		return events[i]
	}
	return "no event"
}

// checkLeases checks that no lease ended before its time. The time of a lease begins at
// the call of the last answered renewal or later.
func (c *checker) checkLeases() {
	for _, h := range c.holds {
		if h.revoked {
			continue
		}
		earliest := h.renewed + int64(h.ttl)
		if h.gone != 0 && h.gone < earliest {
			c.wrong("lease %x was gone %v before its time", h.lease, time.Duration(earliest-h.gone))
		}
		for _, e := range c.history {
			if e.key == h.key && e.deleted && e.at < earliest {
				c.wrong("lease %x ended %v before its time", h.lease, time.Duration(earliest-e.at))
			}
		}
	}
}
