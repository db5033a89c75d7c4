//go:build !wasip1

package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"raftlab/raft/core"
	"raftlab/raft/internal/storekit"
	"raftlab/raft/node"
)

// maxPartBytes bounds Options.Part.
const maxPartBytes = 255

func (o *Options) validate() error {
	if err := storekit.CheckIdentity(o.Identity); err != nil {
		return err
	}
	if len(o.Part) > maxPartBytes {
		return fmt.Errorf("Options.Part has %d bytes; the limit is %d", len(o.Part), maxPartBytes)
	}
	return nil
}

func (o *Options) identity() identityRecord {
	return identityRecord{Cluster: o.Identity.Cluster, Host: uint64(o.Identity.Host), Part: o.Part}
}

func (id identityRecord) String() string {
	s := fmt.Sprintf("host %d of cluster %q", id.Host, id.Cluster)
	if id.Part != "" {
		s += fmt.Sprintf(" with part %q", id.Part)
	}
	return s
}

// Identity implements [node.Storage].
func (s *Store) Identity() node.Identity { return s.opts.Identity }

// Part returns what the file holds, see [Options.Part].
func (s *Store) Part() string { return s.opts.Part }

// Identify returns the identity and the part of the file at path, without changing
// the file. Identify does not check the rest of the file.
func Identify(path string) (id node.Identity, part string, err error) {
	opts := Options{}
	opts.setDefaults()
	var found identityRecord
	err = withPages(path, opts, func(f *pageFile) error {
		found, err = f.readIdentity(f.newest)
		if err != nil && f.isInterrupted(err) {
			found, err = f.readIdentity(f.before)
		}
		return damaged(err)
	})
	if err != nil {
		return node.Identity{}, "", fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	return node.Identity{Cluster: found.Cluster, Host: core.NodeID(found.Host)}, found.Part, nil
}

// readIdentity reads the identity in the tree of a meta page.
func (f *pageFile) readIdentity(m meta) (identityRecord, error) {
	r := contentReader{content: newContent()}
	err := f.walkBuckets(m, false, visitor{stateBucket, r.readState, nil})
	return r.identity, err
}

func putState(tx *bbolt.Tx, key []byte, v any) error {
	record, _, err := seal(key, v, 0)
	if err != nil {
		return err
	}
	return tx.Bucket(stateBucket).Put(key, record)
}

// Sequence returns the number of Saves and Removes in the life of the file. An
// older copy of the file has a lower Sequence. A host with a lower Sequence than
// its peers have recorded has lost acknowledged state.
func (s *Store) Sequence() uint64 { return s.sequence.Load() }

// PeerSequences returns the highest recorded Sequence of each other host's file. See
// [Options.PeerSequences].
func (s *Store) PeerSequences() map[core.NodeID]uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.peers)
}

// RecordPeers records the results of Options.PeerSequences, if they have risen. Save
// does so with each update. RecordPeers is for the time after the last update.
func (s *Store) RecordPeers() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if _, risen := s.raisePeers(); !risen {
		return nil
	}
	return s.commit(usesReserve, func(t *transaction) error { return t.putPeers() })
}

// raisePeers returns the higher of the recorded and the present sequences, and
// whether any has risen. The caller holds writer.
func (s *Store) raisePeers() (raised map[core.NodeID]uint64, risen bool) {
	if s.opts.PeerSequences == nil {
		return s.peers, false
	}
	raised = s.peers
	for host, now := range s.opts.PeerSequences() {
		if now <= raised[host] {
			continue
		}
		if !risen {
			raised, risen = maps.Clone(raised), true
		}
		raised[host] = now
	}
	return raised, risen
}

// putPeers raises the recorded sequences to the present ones.
func (t *transaction) putPeers() error {
	raised, risen := t.store.raisePeers()
	if !risen {
		return nil
	}
	t.peers = raised
	return putState(t.tx, peersKey, peerRecords(raised))
}

func peerRecords(peers map[core.NodeID]uint64) []peerRecord {
	records := make([]peerRecord, 0, len(peers))
	for host, sequence := range peers {
		records = append(records, peerRecord{uint64(host), sequence})
	}
	slices.SortFunc(records, func(a, b peerRecord) int { return cmp.Compare(a.Host, b.Host) })
	return records
}

// Position is the end of a group's log, and the group's term.
type Position struct {
	CurrentTerm         uint64
	LastTerm, LastIndex uint64 // of the last entry, or of the snapshot
}

// Behind reports whether the log of q is at least as up to date as the log of p
// (section 5.4.1 of the Raft paper).
func (p Position) Behind(q Position) bool {
	return p.LastTerm < q.LastTerm || p.LastTerm == q.LastTerm && p.LastIndex <= q.LastIndex
}

// Position returns the end of a group's log. The Position of a group that is not
// stored is zero.
func (s *Store) Position(id node.GroupID) (Position, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return Position{}, s.wrap("reading", node.ErrStorageClosed)
	}
	g := s.groups[id]
	if g == nil {
		return Position{}, nil
	}
	return Position{CurrentTerm: g.HardState.CurrentTerm, LastTerm: g.lastTerm(), LastIndex: g.LastIndex}, nil
}

// ErrVersion is matched by the error of a file that another version of this package
// wrote.
var ErrVersion = errors.New("the data file has another format version")

func versionError(found uint8) error {
	if found > formatVersion {
		return fmt.Errorf("%w: %d, and this program reads %d: run the later raftlab that wrote the file", ErrVersion, found, formatVersion)
	}
	return fmt.Errorf("%w: %d, and this program reads %d: serve and export the data with the earlier raftlab that wrote the file, and begin with a new file",
		ErrVersion, found, formatVersion)
}

// damaged marks an error of a check as damage.
func damaged(err error) error {
	if err == nil || errors.Is(err, ErrVersion) {
		return err
	}
	return fmt.Errorf("%w: %w", node.ErrDamaged, err)
}
