// Package abd has a linearizable register on several nodes without consensus (Attiya, Bar-Noy
// and Dolev, Sharing Memory Robustly in Message-Passing Systems, JACM 1995; several
// writers by Lynch and Shvartsman, 1997).
//
// Each node stores a value with a tag, a number and the writer's id. Every operation has two
// rounds, each to a majority.
//
//   - A write reads the tags of a majority, and stores its value at a majority with a larger tag.
//   - A read reads a majority and picks the value with the largest tag. Then the read
//     stores the value at a majority before returning it (the write-back).
//
// The write-back is the famous step. Without it a read returns a new value that one node has, and
// a later read asks other nodes and returns the old value. "Reads must write."
//
// Operations proceed while a majority answers, under any delays. Consensus cannot promise as
// much (Fischer, Lynch and Paterson 1985). A register is weaker than consensus. Nobody can build
// compare-and-swap on registers (Herlihy 1991).
package abd

import (
	"sync"
	"time"

	"raftlab/labrpc"
	"raftlab/protocols/quorum"
)

// A Tag orders writes.
type Tag struct{ Number, Client int }

// Less reports whether a tag is older.
func (t Tag) Less(o Tag) bool {
	return t.Number < o.Number || t.Number == o.Number && t.Client < o.Client
}

// A Version is a value with its tag. The zero Version is the initial value.
type Version struct {
	Tag   Tag
	Value string
}

// A Replica is a node's copy of the register. A real node keeps the copy on its disk, because a
// majority may need a version that only crashed nodes have.
type Replica struct {
	mu      sync.Mutex
	version Version
}

// Read answers the copy.
func (r *Replica) Read(_ int, reply *Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*reply = r.version
}

// Store keeps a version that is newer than the copy. Late and repeated messages are harmless.
func (r *Replica) Store(v Version, _ *bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version.Tag.Less(v.Tag) {
		r.version = v
	}
}

// A Client reads and writes. One goroutine at a time uses a client.
type Client struct {
	nodes  []*labrpc.ClientEnd
	id     int
	number int // of the newest tag that the client has made
	// NoWriteBack lets reads return without the second round, which breaks the register.
	NoWriteBack bool
}

// NewClient returns a client with an id of its own.
func NewClient(nodes []*labrpc.ClientEnd, id int) *Client {
	return &Client{nodes: nodes, id: id}
}

// retryPause is the time between two attempts at a round, and attempts bounds them.
const (
	retryPause = 20 * time.Millisecond
	attempts   = 20
)

// Write sets the value. After false, the write may or may not take effect, even later.
func (c *Client) Write(value string) bool {
	newest, ok := c.newest()
	if !ok {
		return false
	}
	c.number = max(c.number, newest.Tag.Number) + 1
	return c.store(Version{Tag{c.number, c.id}, value})
}

// Read returns the value, "" before the first write. Read returns false without a majority.
func (c *Client) Read() (string, bool) {
	newest, ok := c.newest()
	if !ok {
		return "", false
	}
	if !c.NoWriteBack && !c.store(newest) {
		return "", false
	}
	return newest.Value, true
}

// newest returns the newest version at a majority.
func (c *Client) newest() (newest Version, ok bool) {
	versions, ok := round[Version](c, "Replica.Read", 0)
	for _, v := range versions {
		if newest.Tag.Less(v.Tag) {
			newest = v
		}
	}
	return newest, ok
}

// store stores a version at a majority.
func (c *Client) store(v Version) bool {
	_, ok := round[bool](c, "Replica.Store", v)
	return ok
}

// round calls until a majority has answered one attempt.
func round[R any](c *Client, method string, args any) (replies []R, ok bool) {
	for range attempts {
		if replies, ok = quorum.Call[R](c.nodes, method, args); ok {
			return replies, true
		}
		time.Sleep(retryPause)
	}
	return nil, false
}
