// Package etcdapi serves etcd's v3 API on a group of package raft/node, with package
// mvcc as the state machine. Clients of etcd (clientv3, etcdctl) work against a [Server]
// unchanged.
//
//	s, err := etcdapi.Start(etcdapi.Config{Host: host, Node: node.Config{Members: members},
//		Name: "n1", ClientURLs: []string{"http://10.0.0.1:2379"}, DialMember: dial})
//	g := grpc.NewServer(s.Options()...)
//	s.Register(g)
//	err = g.Serve(listener)
//
// # Writes
//
// Any member takes writes. A member that does not lead forwards the log entry to the
// leader over a connection of Config.DialMember. The leader proposes the entry, and each
// member applies the entry to its own store. The member that took the request answers
// from its own store. An entry is never proposed again after an unknown outcome, so a
// write takes effect at most once. The client gets one of etcd's timeout errors then.
//
// # Reads
//
// A linearizable read asks the leader for its commit index and waits until the own
// store includes that index (ReadIndex, thesis 6.4). Nothing is written to the log. A
// serializable read is answered from the own store at once. All reads run on an
// immutable view, beside writes.
//
// # Watches
//
// A watch reads its events from the history of the store, from the revision where the
// watch stands. A hub marks the watches for which new events are of interest. A slow
// watch costs a mark and no queue, and misses nothing, until a compaction overtakes the
// watch. The watch is then canceled with the compacted revision.
//
// # Leases
//
// The leader keeps the deadlines of the leases and revokes expired leases through the
// log. A new leader gives each lease its whole time again, or the time of the last
// checkpoint. A keep-alive counts only after a majority has confirmed the leadership,
// so a former leader extends nothing.
//
// # Users
//
// Package auth has the users and roles, which are part of the replicated state. A read is
// checked against the state that the read sees. A write carries the user and the revision
// of the users, and is checked when the members apply the write. The members' own
// commands, such as the revocation of an expired lease, are marked and not checked.
//
// # Members
//
// Members publish their names and client addresses through the log, for MemberList. A
// member's id is the id of its host.
package etcdapi
