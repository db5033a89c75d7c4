package mvcc

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"
)

// Change is a change of a key that a store has kept.
type Change struct {
	// KV is the version that the change has written. Of a deletion KV has the key and
	// ModRevision alone.
	KV *KeyValue
	// Sub is the place of the change among those of one transaction.
	Sub     int32
	Deleted bool
}

// Changes returns all changes that the last compaction has left, in the order of their
// revisions. Among them is the last change before the compaction of each key that existed
// then. The sequence may be used again and again, and takes 8 bytes of memory for each
// change.
func (v *View) Changes() iter.Seq[Change] {
	var all []*version
	v.state.keys.Scan(func(_ string, r record) bool {
		for i := v.state.firstKept(r); i < r.count(); i++ {
			all = append(all, r.at(i))
		}
		return true
	})
	slices.SortFunc(all, compareChanges)
	return func(yield func(Change) bool) {
		for _, one := range all {
			if !yield(Change{KV: &one.KeyValue, Sub: one.sub, Deleted: one.deleted}) {
				return
			}
		}
	}
}

// compareChanges orders changes by their revisions.
func compareChanges(a, b *version) int {
	return cmp.Or(cmp.Compare(a.ModRevision, b.ModRevision), cmp.Compare(a.sub, b.sub))
}

// Rebuild returns a store with the changes of another one, in any order. Changes that a
// compaction at the revision compacted drops may be among them. compacted is -1 without a
// compaction. A key whose lease is not among the leases is attached to none. The error
// matches [ErrSnapshot] if no store can have the changes.
func Rebuild(revision, compacted int64, leases []Lease, changes iter.Seq[Change]) (*Store, error) {
	d := &restorer{state: newState()}
	if err := d.begin(revision, compacted); err != nil {
		return nil, err
	}
	for _, l := range leases {
		if err := d.lease(l); err != nil {
			return nil, err
		}
	}
	var all []*version
	for c := range changes {
		v := &version{KeyValue: *c.KV, sub: c.Sub, deleted: c.Deleted}
		if v.deleted {
			v.KeyValue = KeyValue{Key: v.Key, ModRevision: v.ModRevision}
		}
		if v.Key == "" {
			return nil, damaged("a version without a key")
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *version) int { return cmp.Or(strings.Compare(a.Key, b.Key), compareChanges(a, b)) })
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Key == all[0].Key {
			n++
		}
		if err := d.addKey(all[:n]); err != nil {
			return nil, err
		}
		all = all[n:]
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	return &Store{state: d.state}, nil
}

// addKey takes the versions of a key that the compaction leaves.
func (d *restorer) addKey(versions []*version) error {
	var r record
	if last := versions[len(versions)-1]; last.Lease != 0 {
		if _, ok := d.state.leases.Get(last.Lease); !ok {
			last.Lease = 0
		}
	}
	for _, v := range versions {
		v.Key = versions[0].Key // so that all share the bytes
		r = r.with(v)
	}
	var all []error
	for i := d.state.firstKept(r); i < r.count(); i++ {
		all = append(all, d.add(r.at(i)))
	}
	return errors.Join(all...)
}
