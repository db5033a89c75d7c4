package node

import (
	"errors"
	"io"

	"raftlab/raft/core"
)

// Storage is a host's durable memory: the hard state, the log and the newest
// snapshot of each of its groups. One Storage serves all groups of a host, so
// that the writes of many groups share one sync.
//
// A Storage belongs to one cluster and one host for its whole life, see
// [Storage.Identity].
//
// Save is called by one goroutine at a time. The other methods may be called
// from any goroutine, also while Save runs. After an error of Save the host
// acknowledges nothing more and stops: a failed sync is never retried.
//
// Package storagetest is the conformance test of implementations.
type Storage interface {
	// Identity returns the cluster and the host that the storage was created
	// for. A host refuses the storage of another host.
	Identity() Identity
	// Groups returns the groups that the storage holds, in ascending order.
	Groups() ([]GroupID, error)
	// Load returns what is stored of a group. The state of a group that was
	// never saved is the zero State.
	Load(group GroupID) (State, error)
	// Save stores the updates. All of them are durable when Save returns nil.
	// After a crash during Save each update is there whole or not at all, and
	// none is there without those before it. The updates name each group at
	// most once. If an update does not fit what is stored, nothing is changed
	// and the error matches [ErrUpdate].
	//
	// Save keeps neither the updates nor the slices of entries. A storage may
	// keep the entries' data, so nobody changes the data once Save is called.
	Save(updates []Update) error
	// Entries returns stored entries of a group from index lo on, in order, up
	// to and including hi, at most about maxBytes of data, but at least one.
	// The error matches [ErrCompacted] if lo is no longer stored, and
	// [ErrNotStored] if hi is beyond the end of the log. The caller does not
	// change the entries' data.
	Entries(group GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error)
	// CreateSnapshot begins a snapshot of a group. An error that matches [ErrNoRoom]
	// leaves the storage as it was. The snapshot does not count
	// before an [Update] names its header. Several writers of one group may be
	// open, and none affects another. A committed snapshot that no Update has
	// named is discarded when an Update names one of the same or a higher index,
	// when the group is removed, and when the storage is closed.
	CreateSnapshot(group GroupID, header SnapshotHeader) (SnapshotWriter, error)
	// OpenSnapshot opens the newest snapshot of a group that an Update named.
	// The error matches [ErrNoSnapshot] if there is none. An open snapshot
	// stays readable when a newer one replaces it.
	OpenSnapshot(group GroupID) (SnapshotReader, error)
	// Remove forgets a group: its log, its hard state and its snapshots. The
	// removal is durable when Remove returns nil. A group that is not stored is
	// no error. The group may be saved anew later.
	Remove(group GroupID) error
	// Usage returns what the storage occupies.
	Usage() Usage
	// Close ends the use of the storage. A later call of any method fails with
	// an error that matches [ErrStorageClosed].
	Close() error
}

// Identity names a host within its cluster.
type Identity struct {
	// Cluster is any name that operators choose, the same on all hosts, of 1 to
	// 255 bytes.
	Cluster string
	// Host is the host's id, unique within the cluster, never 0 and never
	// given to another host again.
	Host core.NodeID
}

// GroupID names a Raft group within a cluster. It is never 0.
type GroupID uint64

// State is what a [Storage] holds of one group.
type State struct {
	// HardState is Figure 2's currentTerm and votedFor.
	HardState core.HardState
	// Snapshot is the header of the newest snapshot. Index 0 means none.
	Snapshot SnapshotHeader
	// CompactedIndex and CompactedTerm are the index and the term of the last
	// dropped entry of the log. CompactedIndex is at most Snapshot.Index. The log
	// begins at CompactedIndex+1.
	CompactedIndex, CompactedTerm uint64
	// LastIndex is the index of the log's last entry; CompactedIndex if the log
	// is empty.
	LastIndex uint64
	// Terms has the term of every stored entry, as runs in ascending order. The
	// first run begins at CompactedIndex+1.
	Terms []TermRun
	// ConfigIndexes are the indexes of the stored entries that carry a
	// configuration, in ascending order.
	ConfigIndexes []uint64
}

// TermRun says that the entries from index First on, up to the next run, have
// the same term.
type TermRun = core.TermRun

// Update is what changes in one group, in this order.
type Update struct {
	Group GroupID
	// HardState replaces the stored one. nil leaves it.
	HardState *core.HardState
	// Snapshot makes a committed [SnapshotWriter]'s snapshot the group's newest.
	// The log stays if its entry at the snapshot's index has the snapshot's term
	// (Figure 13, step 6). Otherwise the whole log is dropped, and is compacted
	// up to the snapshot's index (step 7). nil leaves snapshot and log.
	Snapshot *SnapshotHeader
	// CompactTo drops the log up to and including this index, at most the index
	// of the newest snapshot. An index that is dropped already, and 0, change
	// nothing. The entries between CompactTo and the snapshot's index serve
	// followers that are a little behind.
	CompactTo uint64
	// Entries are consecutive. They are appended after what is stored from the
	// first one's index on is removed. Their first index is at most one past
	// the end of the log.
	Entries []core.Entry
}

// SnapshotHeader identifies a snapshot. The header and the body travel and rest
// together; Size and Checksum describe the body.
type SnapshotHeader struct {
	// Index and Term are those of the last entry that the snapshot includes (§7).
	Index, Term uint64
	// Configuration is the encoded membership in force at Index, of at most
	// [MaxConfigurationBytes].
	Configuration []byte
	// Size is the length of the body in bytes.
	Size uint64
	// Checksum is the CRC-64 (ECMA) of the body.
	Checksum uint64
}

// SnapshotWriter writes the body of a snapshot. One goroutine uses it.
//
// If Write, Finish or Commit fails for want of room, and nothing else of the storage is
// in doubt, the error matches [ErrNoRoom]. The host then aborts the snapshot, goes on, and
// tries again later.
type SnapshotWriter interface {
	io.Writer
	// Finish ends the body and makes the body durable. Write fails after Finish, and
	// Commit and the Update that names the snapshot need no more room for the body. A
	// follower finishes the leader's snapshot before the follower gives up the log for
	// the snapshot.
	Finish() error
	// Commit finishes a body that is not finished yet, and returns the completed
	// header, which is then handed to [Storage.Save]. If the header given to
	// CreateSnapshot had a Size or a Checksum, a body that differs is refused with an
	// error that matches [ErrDamaged]. Size and Checksum 0 are not compared. A
	// snapshot that is not newer than the group's newest cannot be named by an
	// [Update] any more, and Commit discards its body.
	Commit() (SnapshotHeader, error)
	// Abort discards the snapshot. After Commit, Abort does nothing.
	Abort()
}

// SnapshotReader reads a snapshot. ReadAt may be called from any goroutine.
type SnapshotReader interface {
	io.ReaderAt
	io.Closer
	Header() SnapshotHeader
}

// Usage is the space that a [Storage] occupies, in bytes.
type Usage struct {
	Log       int64 // entries and hard states, with what compaction has not freed yet
	Snapshots int64
}

// MaxConfigurationBytes bounds an encoded membership in a [SnapshotHeader].
const MaxConfigurationBytes = 1 << 20

// Errors of a [Storage].
var (
	// ErrUpdate is matched by the error of Save for an [Update] that contradicts
	// the stored log. The error names the field, the value and the limit.
	ErrUpdate = errors.New("the update does not fit what is stored")
	// ErrDamaged is matched by the error of a storage with damaged content. The error names the file and the offset.
	ErrDamaged = errors.New("the storage is damaged")
	// ErrStranger is matched by the error of a storage that belongs to another
	// cluster or another host.
	ErrStranger = errors.New("the storage belongs to another host")
	// ErrInUse is matched by the error of a storage that another process or
	// another host of this process has open.
	ErrInUse = errors.New("the storage is in use")
	// ErrNoRoom is matched by the error of a snapshot without room on the disk. The
	// storage is as if the snapshot had never begun.
	ErrNoRoom = errors.New("the disk has no room for the snapshot")
	// ErrStorageClosed is matched by the errors of a closed storage.
	ErrStorageClosed = errors.New("the storage is closed")
	// ErrCompacted is matched by the error of a read before the log's beginning.
	ErrCompacted = errors.New("the entry is compacted into a snapshot")
	// ErrNotStored is matched by the error of a read beyond the log's end.
	ErrNotStored = errors.New("the entry is not stored")
	// ErrNoSnapshot is matched by the error of OpenSnapshot for a group that has
	// no snapshot.
	ErrNoSnapshot = errors.New("the group has no snapshot")
)
