package etcdapi

import (
	"context"
	"maps"
	"slices"

	"raftlab/internal/auth"
	"raftlab/kv"
	"raftlab/mvcc"
	"raftlab/raft/core"
)

// PutEntry returns a log entry, for a test that has one member apply what the others do
// not.
func PutEntry(key, value string) []byte {
	e := entry{origin: 9, command: &mvcc.Command{Put: &mvcc.PutRequest{Key: key, Value: value}}}
	data, err := e.encode()
	if err != nil {
		panic(err)
	}
	return data
}

// UserPutEntry returns the log entry of a user's put.
func UserPutEntry(user string, revision uint64, key string) []byte {
	e := entry{origin: 9, caller: caller{Identity: auth.Identity{User: user, Revision: revision}}, command: &mvcc.Command{Put: &mvcc.PutRequest{Key: key}}}
	data, err := e.encode()
	if err != nil {
		panic(err)
	}
	return data
}

// AuthEntry returns the log entry of a change of users.
func AuthEntry(c auth.Change) []byte {
	data, err := (&entry{origin: 9, auth: &c}).encode()
	if err != nil {
		panic(err)
	}
	return data
}

// ForgetEntry returns the log entry that forgets what a member has published.
func ForgetEntry(id core.NodeID) []byte {
	data, err := (&entry{origin: 9, publish: &attributes{member: id}}).encode()
	if err != nil {
		panic(err)
	}
	return data
}

// ForwardSingly has a leader renew leases as earlier versions do.
func (s *Server) ForwardSingly(ctx context.Context, to core.NodeID, leases []int64) ([]int64, error) {
	return s.forwardSingly(ctx, to, leases)
}

// AuthRevision returns the revision of the users.
func (s *Server) AuthRevision() uint64 { return s.picture().auth.Revision() }

// Machine returns the state machine, for a test that applies what the log does not have.
func (s *Server) Machine() *Machine { return s.machine }

// Execute has a machine apply a write that the log does not have, or answers a read.
func Execute(m *Machine, w Write) (kv.Result, error) {
	if w.Op.Kind == kv.KindScan {
		return scan(m.store.View(), &w.Op), nil
	}
	defer m.publish()
	return m.execute(&w)
}

// WriteEntry returns the log entry of a write.
func WriteEntry(w Write) []byte {
	data, err := (&entry{origin: 9, write: &w}).encode()
	if err != nil {
		panic(err)
	}
	return data
}

// CompactEntry returns the log entry of a compaction.
func CompactEntry(revision int64) []byte {
	e := entry{origin: 9, caller: caller{own: true}, command: &mvcc.Command{Compact: &mvcc.CompactCommand{Revision: revision}}}
	data, err := e.encode()
	if err != nil {
		panic(err)
	}
	return data
}

// Release releases compacted versions until ctx ends.
func Release(ctx context.Context, m *Machine) { m.release(ctx) }

// Released waits until compacted versions are released.
func Released(ctx context.Context, m *Machine) error { return m.released(ctx) }

// Versions returns the number of versions in a machine.
func Versions(m *Machine) int { return m.current.Load().view.Versions() }

// Ranges is the index of watches by their ranges.
type Ranges struct{ index watchRanges }

// Watched is a watch of a range.
type Watched = watch

// Add adds a watch of a range.
func (r *Ranges) Add(key, end string) *Watched {
	w := &watch{key: key, end: end}
	r.index.add(w)
	return w
}

// Remove removes a watch.
func (r *Ranges) Remove(w *Watched) { r.index.remove(w) }

// Find returns the watches that have a key.
func (r *Ranges) Find(key string) map[*Watched]bool {
	found := make(map[*Watched]bool)
	r.index.find(key, func(all map[*Watched]bool) { maps.Copy(found, all) })
	return found
}

// All returns the number of all watches.
func (r *Ranges) All() (n int) {
	r.index.all(func(all map[*Watched]bool) { n += len(all) })
	return n
}

// Covers is the plain way to find a watch.
func (w *watch) Covers(key string) bool { return w.covers(key) }

// Users returns the users as of the last applied entry.
func (m *Machine) Users() *auth.State { return m.current.Load().auth }

// PeerConnections returns the members to which the server keeps a connection.
func (s *Server) PeerConnections() []core.NodeID {
	s.peers.mu.Lock()
	defer s.peers.mu.Unlock()
	return slices.Collect(maps.Keys(s.peers.conns))
}

// BeginCall takes the connection to a member, as a call does, until end.
func (s *Server) BeginCall(member core.NodeID) (end func(), err error) {
	c, err := s.peers.acquire(member)
	return func() { s.peers.release(c) }, err
}
