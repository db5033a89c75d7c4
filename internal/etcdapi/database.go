package etcdapi

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"raftlab/internal/auth"
	"raftlab/internal/boltfile"
	"raftlab/mvcc"
)

// A backup is a database of etcd's server: a file of bbolt with etcd's buckets, as etcdctl
// snapshot save writes. So etcdutl reads a backup, etcd's servers restore one, and this
// program restores those of etcd. What belongs to the members is left out: members, alarms
// and the place in the log. A restore makes them anew.

// Buckets of a database.
const (
	bucketKeys   = "key"
	bucketMeta   = "meta"
	bucketLeases = "lease"
	bucketAuth   = "auth"
	bucketUsers  = "authUsers"
	bucketRoles  = "authRoles"
)

// emptyBuckets are those that a restore fills.
var emptyBuckets = []string{"alarm", "cluster", "members", "members_removed"}

// databaseVersion is the version of the layout. Etcd 3.6 and all later ones read the
// layout, and earlier ones know no version.
const databaseVersion = "3.6.0"

// Keys of the buckets meta and auth.
const (
	keyScheduled    = "scheduledCompactRev"
	keyFinished     = "finishedCompactRev"
	keyVersion      = "storageVersion"
	keyAuthEnabled  = "authEnabled"
	keyAuthRevision = "authRevision"
)

// tombstone ends the key of a deletion in the bucket of keys.
const tombstone = 't'

// revisionBytes is the size of a revision: the revision, an underscore, and the place of
// the change in its transaction.
const revisionBytes = 17

func appendRevision(to []byte, revision int64, sub int32) []byte {
	to = binary.BigEndian.AppendUint64(to, uint64(revision))
	to = append(to, '_')
	return binary.BigEndian.AppendUint64(to, uint64(sub))
}

func parseRevision(b []byte) (revision int64, sub int32, err error) {
	if len(b) < revisionBytes || b[8] != '_' {
		return 0, 0, fmt.Errorf("%w: the revision %x", ErrBackup, b)
	}
	wide := binary.BigEndian.Uint64(b[9:])
	revision, sub = int64(binary.BigEndian.Uint64(b)), int32(wide)
	if revision < 0 || sub < 0 || uint64(sub) != wide {
		return 0, 0, fmt.Errorf("%w: the revision %x", ErrBackup, b)
	}
	return revision, sub, nil
}

// database is the content of a backup.
type database struct {
	view  *mvcc.View
	users *auth.State
}

// layout computes the layout of the file.
func (d *database) layout() (*boltfile.File, error) {
	users, roles, err := d.accounts()
	if err != nil {
		return nil, err
	}
	buckets := []boltfile.Bucket{
		{Name: bucketKeys, Items: d.changes()}, {Name: bucketMeta, Items: seq(d.meta())}, {Name: bucketLeases, Items: d.leases()},
		{Name: bucketAuth, Items: seq([]item{
			{keyAuthEnabled, []byte{truth(d.users.Enabled())}},
			{keyAuthRevision, binary.BigEndian.AppendUint64(nil, d.users.Revision())},
		})},
		{Name: bucketUsers, Items: seq(users)}, {Name: bucketRoles, Items: seq(roles)},
	}
	for _, name := range emptyBuckets {
		buckets = append(buckets, boltfile.Bucket{Name: name, Items: seq(nil)})
	}
	return boltfile.Layout(buckets...)
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// item is a key and a value of a bucket.
type item struct {
	key   string
	value []byte
}

func seq(items []item) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, one := range items {
			if !yield([]byte(one.key), one.value) {
				return
			}
		}
	}
}

// changes are the items of the bucket of keys. Etcd takes the last revision for that of the
// store. If no change is left at the store's revision, an empty item has the revision, as
// etcdutl writes when it raises revisions.
func (d *database) changes() iter.Seq2[[]byte, []byte] {
	all := d.view.Changes()
	return func(yield func(k, v []byte) bool) {
		last := int64(1)
		var key, value []byte
		for c := range all {
			last = c.KV.ModRevision
			key = appendRevision(key[:0], last, c.Sub)
			if c.Deleted {
				key = append(key, tombstone)
			}
			if value = appendKeyValue(value[:0], c.KV); !yield(key, value) {
				return
			}
		}
		if now := d.view.Revision(); now > last {
			yield(appendRevision(nil, now, 0), nil)
		}
	}
}

// appendKeyValue encodes a mvccpb.KeyValue.
func appendKeyValue(to []byte, kv *mvcc.KeyValue) []byte {
	to = protowire.AppendString(protowire.AppendTag(to, 1, protowire.BytesType), kv.Key)
	for field, number := range []int64{2: kv.CreateRevision, 3: kv.ModRevision, 4: kv.Version} {
		if number != 0 && kv.CreateRevision != 0 { // a deletion has the key alone
			to = protowire.AppendVarint(protowire.AppendTag(to, protowire.Number(field), protowire.VarintType), uint64(number))
		}
	}
	if kv.Value != "" {
		to = protowire.AppendString(protowire.AppendTag(to, 5, protowire.BytesType), kv.Value)
	}
	if kv.Lease != 0 {
		to = protowire.AppendVarint(protowire.AppendTag(to, 6, protowire.VarintType), uint64(kv.Lease))
	}
	return to
}

// leases are the items of the bucket of leases.
func (d *database) leases() iter.Seq2[[]byte, []byte] {
	all := d.view.Leases() // by their ids as signed numbers, and the keys are unsigned
	negative := 0
	for negative < len(all) && all[negative].ID < 0 {
		negative++
	}
	return func(yield func(k, v []byte) bool) {
		for i := range all {
			l := all[(negative+i)%len(all)]
			var value []byte
			for field, number := range []int64{1: l.ID, 2: l.TTL, 3: l.Remaining} {
				if number != 0 {
					value = protowire.AppendVarint(protowire.AppendTag(value, protowire.Number(field), protowire.VarintType), uint64(number))
				}
			}
			if !yield(binary.BigEndian.AppendUint64(nil, uint64(l.ID)), value) {
				return
			}
		}
	}
}

// meta are the items of the bucket meta.
func (d *database) meta() (items []item) {
	if c := d.view.Compacted(); c >= 0 {
		revision := appendRevision(nil, c, 0)
		items = append(items, item{keyFinished, revision}, item{keyScheduled, revision})
	}
	return append(items, item{keyVersion, []byte(databaseVersion)})
}

// accounts are the items of the buckets of users and of roles.
func (d *database) accounts() (users, roles []item, err error) {
	for _, name := range d.users.Users() {
		u, _ := d.users.User(name)
		value, err := proto.Marshal(&authpb.User{Name: []byte(name), Password: u.Hash, Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword}})
		if err != nil {
			return nil, nil, err
		}
		users = append(users, item{name, value})
	}
	for _, name := range d.users.Roles() {
		role := &authpb.Role{Name: []byte(name)}
		all, _ := d.users.Role(name)
		for _, p := range all {
			role.KeyPermission = append(role.KeyPermission, &authpb.Permission{PermType: toAccess(p.Access), Key: []byte(p.Key), RangeEnd: raw(p.End)})
		}
		value, err := proto.Marshal(role)
		if err != nil {
			return nil, nil, err
		}
		roles = append(roles, item{name, value})
	}
	return users, roles, nil
}

// databaseReader collects the content of a database.
type databaseReader struct {
	changes             []mvcc.Change
	revision            int64
	scheduled, finished int64
	leases              []mvcc.Lease
	enabled             bool
	authRevision        uint64
	users               map[string]*auth.User
	roles               map[string][]auth.Permission
}

// readDatabase reads a database of etcd, whose SHA-256 makes the key of simple tokens, the
// same on all members that are restored from the file.
func readDatabase(file io.ReaderAt, size int64, digest Digest) (*mvcc.Store, *auth.State, error) {
	d := &databaseReader{revision: 1, scheduled: -1, finished: -1, users: make(map[string]*auth.User), roles: make(map[string][]auth.Permission)}
	err := boltfile.Read(file, size, d.take)
	if err != nil {
		return nil, nil, asBackupError(err)
	}
	compacted := max(d.scheduled, d.finished)
	store, err := mvcc.Rebuild(max(d.revision, compacted), compacted, d.leases, slices.Values(d.changes))
	if err != nil {
		return nil, nil, asBackupError(err)
	}
	key := sha256.Sum256(append([]byte("raftlab: the key of simple tokens\n"), digest[:]...))
	users, err := auth.Restore(d.enabled, max(d.authRevision, 1), key[:], d.users, d.roles)
	if err != nil {
		return nil, nil, asBackupError(err)
	}
	return store, users, nil
}

func asBackupError(err error) error {
	if errors.Is(err, ErrBackup) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBackup, err)
}

// take takes an item.
func (d *databaseReader) take(bucket string, key, value []byte) error {
	switch bucket {
	case bucketKeys:
		return d.takeChange(key, value)
	case bucketMeta:
		return d.takeMeta(string(key), value)
	case bucketLeases:
		return d.takeLease(value)
	case bucketAuth:
		switch {
		case string(key) == keyAuthEnabled:
			d.enabled = len(value) == 1 && value[0] == 1
		case string(key) == keyAuthRevision && len(value) == 8:
			d.authRevision = binary.BigEndian.Uint64(value)
		}
	case bucketUsers:
		return d.takeUser(value)
	case bucketRoles:
		return d.takeRole(value)
	}
	return nil
}

func (d *databaseReader) takeChange(key, value []byte) error {
	revision, sub, err := parseRevision(key)
	if err != nil {
		return err
	}
	d.revision = max(d.revision, revision)
	if len(value) == 0 { // the revision alone
		return nil
	}
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(value, &kv); err != nil {
		return fmt.Errorf("%w: the change at revision %d: %w", ErrBackup, revision, err)
	}
	c := mvcc.Change{Sub: sub, Deleted: len(key) == revisionBytes+1 && key[revisionBytes] == tombstone}
	c.KV = &mvcc.KeyValue{
		Key: string(kv.Key), Value: string(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: revision, Version: kv.Version, Lease: kv.Lease,
	}
	if !c.Deleted && kv.ModRevision != revision {
		return fmt.Errorf("%w: the change at revision %d is of revision %d", ErrBackup, revision, kv.ModRevision)
	}
	d.changes = append(d.changes, c)
	return nil
}

func (d *databaseReader) takeMeta(key string, value []byte) (err error) {
	switch key {
	case keyScheduled:
		d.scheduled, _, err = parseRevision(value)
	case keyFinished:
		d.finished, _, err = parseRevision(value)
	}
	return err
}

func (d *databaseReader) takeLease(value []byte) error {
	l := mvcc.Lease{}
	for rest := value; len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return fmt.Errorf("%w: the lease %x", ErrBackup, value)
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(field, kind, rest); n < 0 {
			return fmt.Errorf("%w: the lease %x", ErrBackup, value)
		}
		if number, _ := protowire.ConsumeVarint(rest); kind == protowire.VarintType {
			switch field {
			case 1:
				l.ID = int64(number)
			case 2:
				l.TTL = int64(number)
			case 3:
				l.Remaining = int64(number)
			}
		}
		rest = rest[n:]
	}
	d.leases = append(d.leases, l)
	return nil
}

func (d *databaseReader) takeUser(value []byte) error {
	var u authpb.User
	if err := proto.Unmarshal(value, &u); err != nil {
		return fmt.Errorf("%w: a user: %w", ErrBackup, err)
	}
	d.users[string(u.Name)] = &auth.User{Hash: u.Password, NoPassword: u.Options.GetNoPassword(), Roles: u.Roles}
	return nil
}

func (d *databaseReader) takeRole(value []byte) error {
	var r authpb.Role
	if err := proto.Unmarshal(value, &r); err != nil {
		return fmt.Errorf("%w: a role: %w", ErrBackup, err)
	}
	var all []auth.Permission
	for _, p := range r.KeyPermission {
		all = append(all, auth.Permission{Key: string(p.Key), End: string(p.RangeEnd), Access: fromAccess(p.PermType)})
	}
	d.roles[string(r.Name)] = all
	return nil
}
