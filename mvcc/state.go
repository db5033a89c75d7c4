package mvcc

import (
	"math"
	"sort"

	"github.com/tidwall/btree"
)

// newest is a revision above all others.
const newest = math.MaxInt64

// treeDegree makes nodes of at most 31 keys. A write after a View copies one node
// of each level, so smaller nodes copy less, and larger ones take less memory.
const treeDegree = 16

// version is one version of a key, or a tombstone. A version never changes.
type version struct {
	KeyValue
	sub     int32 // sub-revision: the place of the change within its transaction
	deleted bool
}

// record is the versions of a key.
type record struct {
	last *version
	old  *history // the versions before last; nil for none
}

// history is the versions of a key before the last one, in the order of their
// revisions. Successive histories of a key share one array. Each sees only its own
// length of the array, and only the newest one is extended.
type history struct{ versions []*version }

// visible returns the version that a reader of a revision sees, or nil.
func (r record) visible(revision int64) *version {
	v := r.last
	if v.ModRevision > revision {
		if v = r.before(revision); v == nil {
			return nil
		}
	}
	if v.deleted {
		return nil
	}
	return v
}

// before returns the newest old version up to a revision, or nil.
func (r record) before(revision int64) *version {
	if r.old == nil {
		return nil
	}
	all := r.old.versions
	i := sort.Search(len(all), func(i int) bool { return all[i].ModRevision > revision })
	if i == 0 {
		return nil
	}
	return all[i-1]
}

// with returns the record with another last version.
func (r record) with(v *version) record {
	if r.last == nil {
		return record{last: v}
	}
	var all []*version
	if r.old != nil {
		all = r.old.versions
	}
	return record{last: v, old: &history{append(all, r.last)}}
}

// count returns the number of versions, tombstones included.
func (r record) count() int {
	if r.old == nil {
		return 1
	}
	return len(r.old.versions) + 1
}

// at returns a version by its place in the order of revisions.
func (r record) at(place int) *version {
	if r.old != nil && place < len(r.old.versions) {
		return r.old.versions[place]
	}
	return r.last
}

// attachment says that a key is attached to a lease.
type attachment struct {
	lease int64
	key   string
}

func attachmentLess(a, b attachment) bool {
	return a.lease < b.lease || a.lease == b.lease && a.key < b.key
}

// state is the content of a store. A copy of a state is a view, after its trees were
// copied, too.
type state struct {
	revision  int64
	compacted int64 // revision of the last compaction; -1 before the first one

	keys   *btree.Map[string, record]
	gone   *btree.Map[string, struct{}] // keys whose last version is a tombstone
	events eventLog

	leases   *btree.Map[int64, Lease]
	attached *btree.BTreeG[attachment] // current keys with leases

	live     int   // keys that exist
	versions int   // all versions and tombstones
	bytes    int64 // of all keys and values
	current  int64 // of the keys that exist and their values
}

func newState() state {
	return state{
		revision:  1,
		compacted: -1,
		keys:      btree.NewMap[string, record](treeDegree),
		gone:      btree.NewMap[string, struct{}](treeDegree),
		leases:    btree.NewMap[int64, Lease](treeDegree),
		attached:  btree.NewBTreeGOptions(attachmentLess, btree.Options{NoLocks: true, Degree: treeDegree}),
	}
}

// share returns a copy in constant time. The copies share what neither changes.
func (s *state) share() state {
	c := *s
	c.keys = s.keys.Copy()
	c.gone = s.gone.Copy()
	c.leases = s.leases.Copy()
	c.attached = s.attached.Copy()
	return c
}

// add writes a version that is newer than all others.
func (s *state) add(v *version) {
	r, _ := s.keys.Get(v.Key)
	if r.last == nil {
		s.bytes += int64(len(v.Key))
	} else {
		v.Key = r.last.Key // so that all versions share the bytes of the key
	}
	s.keys.Set(v.Key, r.with(v))
	s.events.append(v)
	s.versions++
	s.bytes += int64(len(v.Value))
	s.track(r.last, v)
}

// track follows a change of a key in the numbers of keys and in the attachments.
func (s *state) track(from, to *version) {
	switch {
	case to.deleted:
		s.gone.Set(to.Key, struct{}{})
	case from != nil && from.deleted:
		s.gone.Delete(to.Key)
	}
	if from != nil && !from.deleted {
		s.live--
		s.current -= int64(len(from.Key) + len(from.Value))
		if from.Lease != 0 && (to.deleted || to.Lease != from.Lease) {
			s.attached.Delete(attachment{from.Lease, to.Key})
		}
	}
	if !to.deleted {
		s.live++
		s.current += int64(len(to.Key) + len(to.Value))
		if to.Lease != 0 {
			s.attached.Set(attachment{to.Lease, to.Key})
		}
	}
}

// visible returns the version of a key that a reader of a revision sees, or nil.
func (s *state) visible(key string, revision int64) *version {
	r, ok := s.keys.Get(key)
	if !ok {
		return nil
	}
	return r.visible(revision)
}

// ascend passes the visible versions of a range to do, in the order of the keys,
// while do returns true.
func (s *state) ascend(key, end string, revision int64, do func(*version) bool) {
	switch end {
	case "":
		if v := s.visible(key, revision); v != nil {
			do(v)
		}
	case FromKey:
		s.keys.Ascend(key, func(_ string, r record) bool {
			v := r.visible(revision)
			return v == nil || do(v)
		})
	default:
		s.keys.Ascend(key, func(k string, r record) bool {
			if k >= end {
				return false
			}
			v := r.visible(revision)
			return v == nil || do(v)
		})
	}
}

// attachedKeys returns the keys that are attached to a lease, in order.
func (s *state) attachedKeys(lease int64) (keys []string) {
	s.attached.Ascend(attachment{lease: lease}, func(a attachment) bool {
		if a.lease == lease {
			keys = append(keys, a.key)
		}
		return a.lease == lease
	})
	return keys
}
