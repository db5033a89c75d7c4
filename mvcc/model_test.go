package mvcc_test

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"raftlab/mvcc"
)

// model is a store that keeps a list of all versions, and looks at each of them for each
// request.
type model struct {
	revision, compacted int64
	versions            []modelVersion // in the order of their writing; none is ever dropped
	leases              map[int64]mvcc.Lease
}

type modelVersion struct {
	mvcc.KeyValue
	deleted bool
}

func newModel() *model {
	return &model{revision: 1, compacted: -1, leases: map[int64]mvcc.Lease{}}
}

// at returns the versions that exist at a revision, by key.
func (m *model) at(revision int64) map[string]mvcc.KeyValue {
	all := make(map[string]mvcc.KeyValue)
	for _, v := range m.versions {
		switch {
		case v.ModRevision > revision:
		case v.deleted:
			delete(all, v.Key)
		default:
			all[v.Key] = v.KeyValue
		}
	}
	return all
}

func inRange(key, first, end string) bool {
	return end == "" && key == first || end != "" && key >= first && (end == mvcc.FromKey || key < end)
}

func (m *model) within(revision int64, first, end string) (found []mvcc.KeyValue) {
	all := m.at(revision)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if inRange(key, first, end) {
			found = append(found, all[key])
		}
	}
	return found
}

func (m *model) readable(revision int64) error {
	switch {
	case revision > m.revision:
		return mvcc.ErrFutureRevision
	case revision > 0 && revision < m.compacted:
		return mvcc.ErrCompacted
	}
	return nil
}

func (m *model) find(r mvcc.RangeRequest) (mvcc.RangeResult, error) {
	if err := m.readable(r.Revision); err != nil {
		return mvcc.RangeResult{}, err
	}
	revision := r.Revision
	if revision <= 0 {
		revision = math.MaxInt64
	}
	found := m.within(revision, r.Key, r.End)
	result := mvcc.RangeResult{Revision: m.revision, Count: int64(len(found))}
	if r.CountOnly {
		return result, nil
	}
	bound := func(n, low, high int64) bool { return (low == 0 || n >= low) && (high == 0 || n <= high) }
	for _, kv := range found {
		if bound(kv.ModRevision, r.MinModRevision, r.MaxModRevision) && bound(kv.CreateRevision, r.MinCreateRevision, r.MaxCreateRevision) {
			result.KVs = append(result.KVs, &kv)
		}
	}
	slices.SortFunc(result.KVs, func(a, b *mvcc.KeyValue) int {
		by := []int{
			strings.Compare(a.Key, b.Key), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.CreateRevision, b.CreateRevision), cmp.Compare(a.ModRevision, b.ModRevision),
			strings.Compare(a.Value, b.Value),
		}
		c := by[r.Target]
		if r.Order == mvcc.Descending {
			c = -c
		}
		return cmp.Or(c, by[0])
	})
	if r.Limit > 0 && int64(len(result.KVs)) > r.Limit {
		result.KVs, result.More = result.KVs[:r.Limit], true
	}
	for _, kv := range result.KVs {
		if r.KeysOnly {
			kv.Value = ""
		}
	}
	return result, nil
}

func (m *model) holds(c mvcc.Compare) bool {
	found := m.within(math.MaxInt64, c.Key, c.End)
	if len(found) == 0 {
		if c.Field == mvcc.FieldValue {
			return false
		}
		found = append(found, mvcc.KeyValue{})
	}
	for _, kv := range found {
		by := []int{
			cmp.Compare(kv.Version, c.Number), cmp.Compare(kv.CreateRevision, c.Number), cmp.Compare(kv.ModRevision, c.Number),
			strings.Compare(kv.Value, c.Value), cmp.Compare(kv.Lease, c.Number),
		}[c.Field]
		if ok := []bool{by == 0, by > 0, by < 0, by != 0}[c.Relation]; !ok {
			return false
		}
	}
	return true
}

// txn executes a transaction whose operations a valid request may have.
func (m *model) txn(r mvcc.TxnRequest) (mvcc.TxnResult, error) {
	// Comparisons and checks look at the state before, so a copy executes.
	after := &model{m.revision, m.compacted, slices.Clone(m.versions), m.leases}
	changed := false
	result, err := m.run(after, r, &changed)
	if err != nil {
		return mvcc.TxnResult{}, err
	}
	*m = *after
	result.Revision = m.revision
	return result, nil
}

func (m *model) run(after *model, r mvcc.TxnRequest, changed *bool) (mvcc.TxnResult, error) {
	result := mvcc.TxnResult{Succeeded: true, Results: []mvcc.OpResult{}}
	for _, c := range r.Compares {
		result.Succeeded = result.Succeeded && m.holds(c)
	}
	ops := r.Then
	if !result.Succeeded {
		ops = r.Else
	}
	for _, op := range ops {
		var o mvcc.OpResult
		switch {
		case op.Range != nil:
			if err := m.readable(op.Range.Revision); err != nil {
				return result, err
			}
			found, _ := after.find(*op.Range)
			o.Range = &found
		case op.Put != nil:
			put, err := m.put(after, *op.Put, changed)
			if err != nil {
				return result, err
			}
			o.Put = &put
		case op.Delete != nil:
			deleted := after.delete(*op.Delete, changed)
			o.Delete = &deleted
		case op.Txn != nil:
			nested, err := m.run(after, *op.Txn, changed)
			if err != nil {
				return result, err
			}
			o.Txn = &nested
		}
		result.Results = append(result.Results, o)
	}
	return result, nil
}

func (m *model) write(v modelVersion, changed *bool) {
	if !*changed {
		*changed = true
		m.revision++
	}
	v.ModRevision = m.revision
	m.versions = append(m.versions, v)
}

func (m *model) put(after *model, r mvcc.PutRequest, changed *bool) (mvcc.PutResult, error) {
	if _, ok := m.leases[r.Lease]; r.Lease != 0 && !ok {
		return mvcc.PutResult{}, mvcc.ErrLeaseNotFound
	}
	old, exists := after.at(math.MaxInt64)[r.Key]
	if (r.IgnoreValue || r.IgnoreLease) && !exists {
		return mvcc.PutResult{}, mvcc.ErrKeyNotFound
	}
	v := modelVersion{KeyValue: mvcc.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease, Version: old.Version + 1, CreateRevision: old.CreateRevision}}
	if r.IgnoreValue {
		v.Value = old.Value
	}
	if r.IgnoreLease {
		v.Lease = old.Lease
	}
	if !exists {
		v.CreateRevision = after.revision
		if !*changed {
			v.CreateRevision++
		}
	}
	after.write(v, changed)
	result := mvcc.PutResult{Revision: after.revision}
	if r.PrevKV && exists {
		result.Prev = &old
	}
	return result, nil
}

func (m *model) delete(r mvcc.DeleteRequest, changed *bool) mvcc.DeleteResult {
	var result mvcc.DeleteResult
	for _, kv := range m.within(math.MaxInt64, r.Key, r.End) {
		m.write(modelVersion{KeyValue: mvcc.KeyValue{Key: kv.Key}, deleted: true}, changed)
		result.Deleted++
		if r.PrevKV {
			result.Prev = append(result.Prev, &kv)
		}
	}
	result.Revision = m.revision
	return result
}

func (m *model) compact(revision int64) error {
	if revision <= m.compacted {
		return mvcc.ErrCompacted
	}
	if revision > m.revision {
		return mvcc.ErrFutureRevision
	}
	m.compacted = revision
	return nil
}

func (m *model) grant(l mvcc.Lease) error {
	if _, ok := m.leases[l.ID]; ok {
		return mvcc.ErrLeaseExists
	}
	m.leases[l.ID] = mvcc.Lease{ID: l.ID, TTL: l.TTL}
	return nil
}

func (m *model) keysOf(lease int64) (keys []string) {
	if lease == 0 {
		return nil
	}
	for _, kv := range m.within(math.MaxInt64, "\x00", mvcc.FromKey) {
		if kv.Lease == lease {
			keys = append(keys, kv.Key)
		}
	}
	return keys
}

func (m *model) revoke(lease int64) error {
	if _, ok := m.leases[lease]; !ok {
		return mvcc.ErrLeaseNotFound
	}
	changed := false
	for _, key := range m.keysOf(lease) {
		m.delete(mvcc.DeleteRequest{Key: key}, &changed)
	}
	delete(m.leases, lease)
	return nil
}

// apply executes any command.
func (m *model) apply(c mvcc.Command) (result mvcc.Result, err error) {
	changed := false
	switch {
	case c.Put != nil:
		var r mvcc.PutResult
		if r, err = m.put(m, *c.Put, &changed); err == nil {
			result.Put = &r
		}
	case c.Delete != nil:
		r := m.delete(*c.Delete, &changed)
		result.Delete = &r
	case c.Txn != nil:
		var r mvcc.TxnResult
		if r, err = m.txn(*c.Txn); err == nil {
			result.Txn = &r
		}
	case c.Compact != nil:
		err = m.compact(c.Compact.Revision)
	case c.Grant != nil:
		err = m.grant(*c.Grant)
	case c.Revoke != nil:
		err = m.revoke(c.Revoke.Lease)
	default:
		for _, p := range c.Checkpoint {
			if l, ok := m.leases[p.Lease]; ok {
				l.Remaining = p.Remaining
				m.leases[p.Lease] = l
			}
		}
	}
	result.Revision = m.revision
	return result, err
}

// event is an event with what came before.
type event struct {
	deleted  bool
	kv, prev mvcc.KeyValue
}

// events returns all events from a revision on.
func (m *model) events(first int64) (all []event) {
	for _, v := range m.versions {
		if v.ModRevision < first {
			continue
		}
		e := event{deleted: v.deleted, kv: v.KeyValue}
		if v.ModRevision-1 >= m.compacted {
			e.prev = m.at(v.ModRevision - 1)[v.Key]
		}
		all = append(all, e)
	}
	return all
}
