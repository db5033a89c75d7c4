//go:build !wasip1

package boltstore

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Identity names the replica of a data file. [Create] writes the identity into the
// file, and [Open] refuses a file of another identity.
type Identity struct {
	Cluster  string // the name of the whole store, different from all other stores
	Group    string // the Raft group within the store; may be empty
	Replica  int    // the number within the group, from 1
	Replicas int    // the size of the group
}

// ErrIdentity reports a file of another replica, another group, another store, or a
// group of another size.
var ErrIdentity = errors.New("the data file belongs to another replica")

func (id Identity) String() string {
	s := fmt.Sprintf("replica %d of %d", id.Replica, id.Replicas)
	if id.Group != "" {
		s += fmt.Sprintf(" of group %s", id.Group)
	}
	return fmt.Sprintf("%s of cluster %s", s, id.Cluster)
}

func (id Identity) validate() error {
	if id.Cluster == "" || id.Replica < 1 || id.Replica > id.Replicas {
		return fmt.Errorf("the identity %+v is not complete: want a cluster and a replica from 1 to the number of replicas", id)
	}
	return nil
}

var (
	identityKey = []byte("identity")
	peersKey    = []byte("peers")
)

func readIdentity(tx *bbolt.Tx) (Identity, error) {
	var id Identity
	if _, err := unseal(identityKey, tx.Bucket(stateBucket).Get(identityKey), &id, 0); err != nil {
		return id, fmt.Errorf("the identity: %w", err)
	}
	return id, nil
}

func putRecord(tx *bbolt.Tx, key []byte, v any) error {
	record, _, err := seal(key, v, 0)
	if err != nil {
		return err
	}
	return tx.Bucket(stateBucket).Put(key, record)
}

// Sequence returns the number of updates in the life of the file. An older copy of
// the file has a lower Sequence. A replica with a lower Sequence than its peers have
// recorded has lost acknowledged state.
func (s *Store) Sequence() uint64 { return s.sequence.Load() }

// PeerSequences returns the highest recorded Sequence of each replica of the group,
// by replica number less one. See [Options.PeerSequences].
func (s *Store) PeerSequences() (peers []uint64, err error) {
	err = s.view("reading", func(tx *bbolt.Tx) error {
		peers, err = readPeers(tx)
		return err
	})
	return peers, err
}

// RecordPeers records the results of Options.PeerSequences, if they have risen. Save
// does so with each update. RecordPeers is for the time after the last update.
func (s *Store) RecordPeers() error {
	recorded, err := s.PeerSequences()
	if err != nil {
		return err
	}
	if _, risen := s.raise(recorded); !risen {
		return nil
	}
	return s.update(s.putPeers)
}

func readPeers(tx *bbolt.Tx) ([]uint64, error) {
	record := tx.Bucket(stateBucket).Get(peersKey)
	if record == nil {
		return nil, nil
	}
	var peers []uint64
	if _, err := unseal(peersKey, record, &peers, 0); err != nil {
		return nil, fmt.Errorf("the sequences of the peers: %w", err)
	}
	return peers, nil
}

// putPeers raises the recorded sequences to the present ones.
func (s *Store) putPeers(tx *bbolt.Tx) error {
	recorded, err := readPeers(tx)
	if err != nil {
		return err
	}
	raised, risen := s.raise(recorded)
	if !risen {
		return nil
	}
	return putRecord(tx, peersKey, raised)
}

// raise returns the higher of the recorded and the present sequences, by replica,
// and whether any has risen.
func (s *Store) raise(recorded []uint64) (raised []uint64, risen bool) {
	if s.opts.PeerSequences == nil {
		return recorded, false
	}
	for i, now := range s.opts.PeerSequences() {
		if i == len(recorded) {
			recorded = append(recorded, 0)
		}
		if now > recorded[i] {
			recorded[i], risen = now, true
		}
	}
	return recorded, risen
}

// Position is the end of a file's log, and the file's term.
type Position struct {
	CurrentTerm         uint64
	LastTerm, LastIndex uint64 // of the last entry, or of the snapshot
}

// Behind reports whether the log of q is at least as up to date as the log of p
// (section 5.4.1 of the Raft paper).
func (p Position) Behind(q Position) bool {
	return p.LastTerm < q.LastTerm || p.LastTerm == q.LastTerm && p.LastIndex <= q.LastIndex
}

// Position returns the end of the file's log.
func (s *Store) Position() (p Position, err error) {
	err = s.view("reading", func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		p = Position{CurrentTerm: h.CurrentTerm, LastTerm: h.Snapshot.Term, LastIndex: h.LastIndex}
		if h.LastIndex > h.Snapshot.Index {
			c := change{tx: tx, head: h}
			p.LastTerm, err = c.termAt(h.LastIndex)
		}
		return err
	})
	return p, err
}

// Identify returns the identity in the file at path, without changing the file.
// Identify does not check the rest of the file.
func Identify(path string) (id Identity, err error) {
	defer contain(&err)()
	var opts Options
	opts.setDefaults()
	db, err := openDatabase(path, opts.bolt(true))
	if err == nil {
		err = db.view(func(tx *bbolt.Tx) error {
			id, err = readIdentity(tx)
			return err
		})
		err = errors.Join(err, db.close())
	}
	if err != nil {
		return Identity{}, fmt.Errorf("boltstore: opening %s: %w", path, err)
	}
	return id, nil
}
