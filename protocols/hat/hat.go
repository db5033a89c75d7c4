// Package hat checks histories for anomalies of weak isolation, on a toy store with four levels.
//
// Serializable transactions need coordination, so they stop in a partition. Bailis et al. (Highly
// Available Transactions, VLDB 2014) sort out the levels of isolation without
// coordination. [Check] finds the anomalies in a history (after Adya's thesis, 1999). The store has
// these levels, and each adds to the one before.
//
//   - [Dirty] sends each write at once. Others read values of transactions that abort later.
//   - [ReadCommitted] buffers the writes until the commit, and sends the last value of each key.
//   - [MonotonicAtomicView] shows all writes of a transaction after one of them has been seen. A
//     commit first prepares all writes, each with the names of the other keys. A reader of
//     one write asks for the others by transaction, and a node answers with a prepared
//     version (RAMP, Bailis et al., SIGMOD 2014).
//   - [ItemCut] repeats the first read of a key to the end of the transaction. A version whose
//     transaction also wrote a newer version of a key read before is not shown, because
//     the repeated read would be a vanishing one. The reader takes an older version.
//
// No level prevents lost updates or write skew, and Check looks for neither. Phantoms and
// cycles of reads (G1c) are left out, too.
package hat

import (
	"maps"
	"slices"
	"sync"
	"time"

	"raftlab/labrpc"
)

// A Level is a level of isolation.
type Level int

// The levels. Their order counts: a level does all that the levels before do.
const (
	Dirty Level = iota
	ReadCommitted
	MonotonicAtomicView
	ItemCut
)

// A Version is a version of a key with the other keys of its transaction.
type Version struct {
	Key      string
	Of       Write
	Siblings []string
}

// A Node stores the keys of one part of the store.
type Node struct {
	mu       sync.Mutex
	newest   map[string]Version
	prepared map[place]Version // kept for readers; a real store drops old ones
}

// NewNode returns an empty node.
func NewNode() *Node {
	return &Node{newest: make(map[string]Version), prepared: make(map[place]Version)}
}

// Prepare stores a version for readers that ask for its transaction.
func (n *Node) Prepare(v Version, _ *bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.prepared[place{v.Of.Transaction, v.Key}] = v
}

// Install makes a version visible. The newest transaction wins.
func (n *Node) Install(v Version, _ *bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	have := n.newest[v.Key].Of
	if have.Transaction < v.Of.Transaction || have.Transaction == v.Of.Transaction && have.Number < v.Of.Number {
		n.newest[v.Key] = v
	}
}

// A Query asks for a version of a key, at least as new as a transaction.
type Query struct {
	Key     string
	AtLeast int
	Exactly bool // asks for the version of this very transaction
}

// Get answers the newest visible version, or the prepared one if the visible one is too old or
// the query is for one version exactly.
func (n *Node) Get(q Query, v *Version) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*v = n.newest[q.Key]
	if q.Exactly || v.Of.Transaction < q.AtLeast {
		*v = n.prepared[place{q.AtLeast, q.Key}]
	}
}

// A Session runs one transaction. One goroutine uses a session.
type Session struct {
	level   Level
	nodeOf  func(key string) *labrpc.ClientEnd
	log     Transaction
	writes  int
	buffer  map[string]Write
	atLeast map[string]int // the newest seen transaction that wrote a key
	cache   map[string]Write
}

// Begin starts a transaction with an id that no other one has, from 1.
func Begin(level Level, id int, nodeOf func(key string) *labrpc.ClientEnd) *Session {
	return &Session{
		level: level, nodeOf: nodeOf, log: Transaction{ID: id},
		buffer: make(map[string]Write), atLeast: make(map[string]int), cache: make(map[string]Write),
	}
}

// retryPause is the time between two attempts at a call.
const retryPause = 20 * time.Millisecond

// call retries until the node answers. A node that stays away blocks the transaction.
func call[R any](s *Session, method, key string, args any) (reply R) {
	for !s.nodeOf(key).Call(method, args, &reply) {
		time.Sleep(retryPause)
	}
	return reply
}

// Write writes a new version of a key.
func (s *Session) Write(key string) {
	s.writes++
	w := Write{s.log.ID, s.writes}
	s.log.Ops = append(s.log.Ops, Op{key, true, w})
	s.buffer[key] = w
	if s.level == Dirty {
		call[bool](s, "Node.Install", key, Version{Key: key, Of: w})
	}
}

// Read reads a key.
func (s *Session) Read(key string) Write {
	w, own := s.buffer[key]
	cached, again := s.cache[key]
	switch {
	case own:
	case again && s.level >= ItemCut:
		w = cached
	default:
		q := Query{Key: key}
		if s.level >= MonotonicAtomicView {
			q.AtLeast = s.atLeast[key]
		}
		v := call[Version](s, "Node.Get", key, q)
		if s.level >= ItemCut && s.outruns(v) {
			q.Exactly = true
			v = call[Version](s, "Node.Get", key, q)
		}
		for _, sibling := range v.Siblings {
			s.atLeast[sibling] = max(s.atLeast[sibling], v.Of.Transaction)
		}
		w = v.Of
		s.cache[key] = w
	}
	s.log.Ops = append(s.log.Ops, Op{key, false, w})
	return w
}

// outruns reports whether a version's transaction is newer than a read that ItemCut repeats, of a
// key that the transaction wrote. The version named by atLeast never is.
func (s *Session) outruns(v Version) bool {
	return slices.ContainsFunc(v.Siblings, func(key string) bool {
		read, again := s.cache[key]
		return again && read.Transaction < v.Of.Transaction
	})
}

// Abort ends the transaction without effect, except for level Dirty.
func (s *Session) Abort() Transaction { return s.log }

// Commit makes the writes visible, and returns the transaction for the history.
func (s *Session) Commit() Transaction {
	s.log.Committed = true
	keys := slices.Sorted(maps.Keys(s.buffer))
	if s.level >= MonotonicAtomicView {
		for _, key := range keys {
			call[bool](s, "Node.Prepare", key, Version{key, s.buffer[key], keys})
		}
	}
	for _, key := range keys {
		call[bool](s, "Node.Install", key, Version{key, s.buffer[key], keys})
	}
	return s.log
}
