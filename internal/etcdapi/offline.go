package etcdapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/boltfile"
	"raftlab/kv"
	"raftlab/mvcc"
	"raftlab/raft/core"
)

// ErrBackup is matched by the error of a file that is not a whole backup.
var ErrBackup = errors.New("the backup is damaged")

// View returns the store as of the last applied entry.
func (m *Machine) View() *mvcc.View { return m.current.Load().view }

// Alarms returns the raised alarms.
func (m *Machine) Alarms() []*pb.AlarmMember {
	var all []*pb.AlarmMember
	for _, a := range m.current.Load().alarms {
		all = append(all, toAlarm(a))
	}
	return all
}

// Published returns the name and the client URLs that a member has published, "" and
// nil if the member has not.
func (m *Machine) Published(id core.NodeID) (name string, clientURLs []string) {
	a := m.current.Load().members[id]
	return a.name, a.clientURLs
}

// CheckEntry returns the reason why this version cannot apply a log entry.
func CheckEntry(data []byte) error {
	e, err := decodeEntry(data)
	if err == nil {
		err = checkLevel(e.level, Level)
	}
	return err
}

// Level returns the level of the cluster.
func (m *Machine) Level() int { return m.current.Load().level }

// Renew makes the state that of a new cluster. The keys, the leases and the users stay.
// What the members of the old cluster have published, their alarms and their promotions
// go. Renew raises the revision by advance, and then compacts all earlier revisions if
// compact is set. Watchers of the old cluster learn from the compaction that they have
// missed events. Nobody else uses the machine.
func (m *Machine) Renew(advance int64, compact bool) error {
	m.alarms, m.members, m.promotions, m.level = nil, nil, nil, firstLevel
	m.store.Advance(m.store.Revision() + advance)
	if compact {
		if err := m.store.Compact(m.store.Revision()); err != nil && !errors.Is(err, mvcc.ErrCompacted) {
			return err
		}
		for m.store.Scavenge(scavengeBatch) {
		}
	}
	m.publish()
	return nil
}

// WriteBackup writes the state as a backup, in the form that Maintenance.Snapshot streams
// and etcdctl snapshot save writes to a file: a database of etcd, and its SHA-256.
func (m *Machine) WriteBackup(w io.Writer) error {
	file, err := m.current.Load().layout()
	if err != nil {
		return err
	}
	return writeBackup(file, w, func() error { return nil })
}

// layout computes the layout of the picture's database.
func (p *picture) layout() (*boltfile.File, error) {
	return (&database{view: p.view, users: p.auth}).layout()
}

// writeBackup calls flush before the checksum, which is a message of its own in a stream.
func writeBackup(file *boltfile.File, w io.Writer, flush func() error) error {
	sum := sha256.New()
	if _, err := file.WriteTo(io.MultiWriter(sum, w)); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// backupPage divides the size of a backup without the checksum. etcdctl and etcdutl look
// for the checksum by the rest of the whole size.
const backupPage = 512

// Digest is the SHA-256 at the end of a backup, which names the backup's content.
type Digest [sha256.Size]byte

// ReadBackup reads a backup from a file, and returns the state and the digest. A backup of
// etcd is one, and so is one of earlier versions, which is a snapshot with zeros up to a
// whole page of 512 bytes, and the SHA-256. ReadBackup compares the checksum of the whole
// file before the content is used.
func ReadBackup(file *os.File) (*Machine, Digest, error) {
	var stored Digest
	info, err := file.Stat()
	if err != nil {
		return nil, stored, err
	}
	body := info.Size() - sha256.Size
	if body < backupPage || body%backupPage != 0 {
		return nil, stored, fmt.Errorf("%w: the file has %d bytes; want pages of %d bytes and a checksum of %d", ErrBackup, info.Size(), backupPage, sha256.Size)
	}
	begin := make([]byte, 64)
	if _, err := file.ReadAt(begin, 0); err != nil {
		return nil, stored, err
	}
	isDatabase := boltfile.Is(begin)
	if err := checkPictureMagic(begin); err != nil && !isDatabase {
		if !errors.Is(err, ErrFormat) {
			err = fmt.Errorf("%w: %w", ErrBackup, err)
		}
		return nil, stored, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, body)); err != nil {
		return nil, stored, err
	}
	if _, err := file.ReadAt(stored[:], body); err != nil {
		return nil, stored, err
	}
	if found := Digest(sum.Sum(nil)); found != stored {
		return nil, stored, fmt.Errorf("%w: the SHA-256 of the content is %x; want %x", ErrBackup, found, stored)
	}
	m := NewMachine(core.None)
	if isDatabase {
		if m.store, m.auth, err = readDatabase(file, body, stored); err != nil {
			return nil, stored, err
		}
		m.publish()
		return m, stored, nil
	}
	if err := m.Restore(io.NewSectionReader(file, 0, body)); err != nil {
		return nil, stored, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return m, stored, nil
}

// Import returns a state with keys of package kv, in the order of their versions. The
// state keeps the versions, and gives later writes versions above last. Earlier revisions
// are compacted.
func Import(pairs []kv.Pair, last uint64) (*Machine, error) {
	m := NewMachine(core.None)
	for _, p := range pairs {
		m.store.Advance(int64(p.Version))
		done, err := m.store.Put(mvcc.PutRequest{Key: p.Key, Value: p.Value})
		if err == nil && uint64(done.Revision-1) != p.Version {
			err = fmt.Errorf("the version %d follows version %d", p.Version, done.Revision-2)
		}
		if err != nil {
			return nil, fmt.Errorf("importing the key %q: %w", p.Key, err)
		}
	}
	m.store.Advance(int64(last) + 1)
	return m, m.Renew(0, true)
}
