package mvcc

// versionBytes is what a version takes in memory beside its key and value.
const versionBytes = 160

// View is the immutable state of a store as of one moment. Any goroutine may use a
// View.
type View struct{ state state }

// Revision returns the current revision of the view.
func (v *View) Revision() int64 { return v.state.revision }

// Compacted returns the revision of the last compaction, -1 before the first one.
// Revisions from there on are readable.
func (v *View) Compacted() int64 { return v.state.compacted }

// Keys returns the number of keys that exist.
func (v *View) Keys() int { return v.state.live }

// Versions returns the number of versions and tombstones in memory.
func (v *View) Versions() int { return v.state.versions }

// Size returns the accounted memory in bytes: keys and values, and 160 bytes for each
// version. Compacted versions count until they are released.
func (v *View) Size() int64 { return v.state.size() }

// KeysSize returns the part of Size that the existing keys and their values take. The
// rest is history.
func (v *View) KeysSize() int64 { return v.state.current + int64(v.state.live)*versionBytes }

func (s *state) size() int64 { return s.bytes + int64(s.versions)*versionBytes }

// Range reads the keys of a range.
func (v *View) Range(r RangeRequest) (RangeResult, error) {
	if err := r.validate(); err != nil {
		return RangeResult{}, err
	}
	return v.state.find(&r)
}

// Get returns a key as of now, nil for a missing key.
func (v *View) Get(key string) *KeyValue { return v.state.get(key) }

// Get returns a key as of now, nil for a missing key.
func (s *Store) Get(key string) *KeyValue { return s.state.get(key) }

func (s *state) get(key string) *KeyValue {
	v := s.visible(key, newest)
	if v == nil {
		return nil
	}
	return &v.KeyValue
}

// Ascend passes the keys from start on and below end to do, in their order, while do
// returns true. An empty start stands for the first key, and an empty end for no end.
func (v *View) Ascend(start, end string, do func(*KeyValue) bool) {
	switch end {
	case "":
		end = FromKey
	case FromKey:
		return // no key is below
	}
	if start == "" {
		start = FromKey
	}
	v.state.ascend(start, end, newest, func(one *version) bool { return do(&one.KeyValue) })
}

// Lease returns a granted lease.
func (v *View) Lease(id int64) (Lease, bool) { return v.state.leases.Get(id) }

// LeaseKeys returns the keys that are attached to a lease, in order.
func (v *View) LeaseKeys(id int64) []string { return v.state.attachedKeys(id) }

// LeaseCount returns the number of granted leases.
func (v *View) LeaseCount() int { return v.state.leases.Len() }

// Leases returns all leases in the order of their ids.
func (v *View) Leases() []Lease { return v.state.leases.Values() }
