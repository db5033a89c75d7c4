// Package mvcc is a multi-version key-value store: the state machine behind a
// replicated store with the semantics of etcd's v3 API. Package mvcc has no IO,
// clock or goroutine. Replicas that apply the same commands hold the same state.
//
//	s := mvcc.New()
//	s.Put(mvcc.PutRequest{Key: "color", Value: "red"})  // revision 2
//	s.Put(mvcc.PutRequest{Key: "color", Value: "blue"}) // revision 3
//	v := s.View()
//	r, err := v.Range(mvcc.RangeRequest{Key: "color", Revision: 2}) // red
//
// # Revisions
//
// The store has one revision, a counter of the transactions that changed a key. An
// empty store has revision 1. A [Store.Put], a [Store.Delete] or a whole
// [Store.Txn] raises the revision by one, and every change within the transaction
// has this revision and a sub-revision of its own. A request without a change
// leaves the revision alone.
//
// Each change writes a new version of a key. A version knows the revision of its
// write (ModRevision), the revision that created the key (CreateRevision) and the
// number of writes since the creation (Version). A deletion writes a tombstone. A
// later put creates the key again, with Version 1.
//
// Old versions stay readable until [Store.Compact]. A range request names a
// revision and gets the keys as of this revision. A request for a compacted
// revision fails with [ErrCompacted], a request for a revision to come with
// [ErrFutureRevision].
//
// # Views
//
// A [View] is the immutable state as of one moment. [Store.View] takes a view in
// constant time. Any number of goroutines read a view while the store's owner goes
// on to write. A view shares its content with the store, so a view that is kept
// costs the memory of what the store has replaced since.
//
// A view answers ranges and read-only transactions, lists the [Event] of each
// change for watchers, computes a hash of the content, and writes itself as a
// snapshot. [Restore] reads a snapshot.
//
// # Leases
//
// A lease is a number with a time to live in seconds. A key may be attached to one
// lease. [Store.RevokeLease] deletes all attached keys in one transaction. The store
// counts no time. The owner of the store watches the deadlines and revokes leases
// that have expired. [Store.CheckpointLease] records how much of a lease's time is
// left, so that the next owner of the deadlines does not begin anew.
//
// # Commands
//
// [Command] is a write in the form of a value. [Command.Append] encodes a command for
// a replicated log, [Decode] decodes the command, and [Store.Apply] executes the
// command. Results and errors of Apply follow from the state and the command alone. A
// request with an error changes nothing.
//
// # Memory
//
// A version takes the bytes of its value, a key the bytes of the key once, and each
// version less than 200 bytes in addition. [View.Size] accounts the memory, for a
// quota. A compaction takes effect at once. The memory of compacted versions is
// released in small portions by the following writes, or by [Store.Scavenge].
//
// # Concurrency
//
// One goroutine at a time uses a Store. Views are for any goroutine. Strings and
// the *KeyValue of results are shared with the store. Callers do not change a
// KeyValue.
//
// # Reading order
//
// Start with types.go, the vocabulary. state.go has the tree of keys and the
// versions of a key, and events.go the log of changes. Writes stand in store.go,
// txn.go and lease.go, reads in range.go and view.go, and compaction in compact.go.
package mvcc
