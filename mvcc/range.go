package mvcc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// readable returns the revision that a request for a revision reads.
func (s *state) readable(revision int64) (int64, error) {
	switch {
	case revision <= 0:
		return newest, nil
	case revision > s.revision:
		return 0, ErrFutureRevision
	case revision < s.compacted:
		return 0, ErrCompacted
	}
	return revision, nil
}

func (r *RangeRequest) validate() error {
	switch {
	case r.Key == "":
		return ErrEmptyKey
	case r.Order > Descending:
		return fmt.Errorf("%w: order %d of a range; the last one is %d", ErrInvalid, r.Order, Descending)
	case r.Target > ByValue:
		return fmt.Errorf("%w: target %d of a range; the last one is %d", ErrInvalid, r.Target, ByValue)
	}
	return nil
}

// bounded reports whether the request has bounds on revisions.
func (r *RangeRequest) bounded() bool {
	return r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0
}

// includes reports whether a version lies within the bounds.
func (r *RangeRequest) includes(v *version) bool {
	return (r.MinModRevision == 0 || v.ModRevision >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || v.ModRevision <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || v.CreateRevision >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || v.CreateRevision <= r.MaxCreateRevision)
}

// sorted reports whether the order differs from that of the keys.
func (r *RangeRequest) sorted() bool {
	return r.Target != ByKey || r.Order == Descending
}

// find executes a valid range.
func (s *state) find(r *RangeRequest) (RangeResult, error) {
	revision, err := s.readable(r.Revision)
	if err != nil {
		return RangeResult{}, err
	}
	result := RangeResult{Revision: s.revision}
	if r.CountOnly {
		result.Count = s.countRange(r.Key, r.End, revision)
		return result, nil
	}
	keep := int64(newest) // how many versions are of use
	if r.Limit > 0 && !r.sorted() {
		keep = r.Limit
	}
	bounded := r.bounded()
	s.ascend(r.Key, r.End, revision, func(v *version) bool {
		result.Count++
		switch {
		case bounded && !r.includes(v):
		case int64(len(result.KVs)) < keep:
			result.KVs = append(result.KVs, &v.KeyValue)
		default:
			result.More = true
		}
		return !result.More
	})
	if result.More {
		result.Count = s.countRange(r.Key, r.End, revision)
	}
	if r.sorted() {
		r.sort(result.KVs)
	}
	if r.Limit > 0 && int64(len(result.KVs)) > r.Limit {
		result.More = true
		result.KVs = slices.Clone(result.KVs[:r.Limit]) // the rest is freed
	}
	if r.KeysOnly {
		withoutValues(result.KVs)
	}
	return result, nil
}

// sort orders versions that are in the order of their keys.
func (r *RangeRequest) sort(kvs []*KeyValue) {
	if r.Target == ByKey {
		if r.Order == Descending {
			slices.Reverse(kvs)
		}
		return
	}
	slices.SortStableFunc(kvs, func(a, b *KeyValue) int {
		if r.Order == Descending {
			a, b = b, a
		}
		switch r.Target {
		case ByVersion:
			return cmp.Compare(a.Version, b.Version)
		case ByCreateRevision:
			return cmp.Compare(a.CreateRevision, b.CreateRevision)
		case ByModRevision:
			return cmp.Compare(a.ModRevision, b.ModRevision)
		}
		return strings.Compare(a.Value, b.Value)
	})
}

// withoutValues replaces versions by copies without the values.
func withoutValues(kvs []*KeyValue) {
	copies := make([]KeyValue, len(kvs))
	for i, kv := range kvs {
		copies[i] = *kv
		copies[i].Value = ""
		kvs[i] = &copies[i]
	}
}
