package mvcc

// scavengeShare is how many compacted changes a write takes care of.
const scavengeShare = 16

// Store is a multi-version store. One goroutine at a time uses a Store.
type Store struct {
	state     state
	counts    Counts
	scavenged int // place in the log of events up to which compacted versions are released
}

// New returns an empty store, of revision 1.
func New() *Store { return &Store{state: newState()} }

// View returns the state as of now, in constant time.
func (s *Store) View() *View { return &View{state: s.state.share()} }

// Revision returns the current revision.
func (s *Store) Revision() int64 { return s.state.revision }

// Size returns the accounted memory, as [View.Size] does.
func (s *Store) Size() int64 { return s.state.size() }

// Put writes a key.
func (s *Store) Put(r PutRequest) (PutResult, error) {
	if err := r.validate(); err != nil {
		return PutResult{}, err
	}
	if err := s.state.checkPut(&r); err != nil {
		return PutResult{}, err
	}
	t := s.begin()
	result := t.put(&r)
	t.end()
	return result, nil
}

// Delete deletes the keys of a range in one transaction.
func (s *Store) Delete(r DeleteRequest) (DeleteResult, error) {
	if err := r.validate(); err != nil {
		return DeleteResult{}, err
	}
	t := s.begin()
	result := t.delete(&r)
	t.end()
	return result, nil
}

func (r *PutRequest) validate() error {
	switch {
	case r.Key == "":
		return ErrEmptyKey
	case r.IgnoreValue && r.Value != "":
		return ErrValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

func (r *DeleteRequest) validate() error {
	if r.Key == "" {
		return ErrEmptyKey
	}
	return nil
}

// checkPut returns the error of a put that the state does not allow.
func (s *state) checkPut(r *PutRequest) error {
	if r.Lease != 0 {
		if _, ok := s.leases.Get(r.Lease); !ok {
			return ErrLeaseNotFound
		}
	}
	if (r.IgnoreValue || r.IgnoreLease) && s.visible(r.Key, newest) == nil {
		return ErrKeyNotFound
	}
	return nil
}

// writer executes the changes of one transaction.
type writer struct {
	state    *state
	store    *Store // nil for a reader
	revision int64  // of the changes
	sub      int32  // of the next change
	ops      int    // that were executed
}

func (s *Store) begin() *writer {
	return &writer{state: &s.state, store: s, revision: s.state.revision + 1}
}

// end closes the transaction and returns the store's revision.
func (t *writer) end() int64 {
	if t.ops > 1 {
		t.store.counts.Txns++
	}
	t.store.Scavenge(scavengeShare)
	return t.state.revision
}

// add writes a version of the transaction.
func (t *writer) add(v *version) {
	v.ModRevision = t.revision
	v.sub = t.sub
	t.sub++
	t.state.revision = t.revision
	t.state.add(v)
}

func (t *writer) put(r *PutRequest) PutResult {
	t.ops++
	t.store.counts.Puts++
	t.store.counts.PutBytes += int64(len(r.Key) + len(r.Value))
	old := t.state.visible(r.Key, newest)
	v := &version{KeyValue: KeyValue{Key: r.Key, Value: r.Value, CreateRevision: t.revision, Version: 1, Lease: r.Lease}}
	var result PutResult
	if old != nil {
		v.CreateRevision, v.Version = old.CreateRevision, old.Version+1
		if r.IgnoreValue {
			v.Value = old.Value
		}
		if r.IgnoreLease {
			v.Lease = old.Lease
		}
		if r.PrevKV {
			result.Prev = &old.KeyValue
		}
	}
	t.add(v)
	result.Revision = t.state.revision
	return result
}

func (t *writer) delete(r *DeleteRequest) DeleteResult {
	t.ops++
	t.store.counts.Deletes++
	var found []*version
	t.state.ascend(r.Key, r.End, newest, func(v *version) bool {
		found = append(found, v)
		return true
	})
	result := DeleteResult{Deleted: int64(len(found))}
	for _, v := range found {
		t.add(&version{KeyValue: KeyValue{Key: v.Key}, deleted: true})
	}
	if r.PrevKV {
		for _, v := range found {
			result.Prev = append(result.Prev, &v.KeyValue)
		}
	}
	result.Revision = t.state.revision
	return result
}
