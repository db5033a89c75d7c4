package mvcc

import "fmt"

// GrantLease begins a lease. The id is not 0 and is chosen by the caller. The time to
// live is in seconds.
func (s *Store) GrantLease(id, ttl int64) error {
	if id == 0 {
		return fmt.Errorf("%w: a lease with the id 0", ErrInvalid)
	}
	if ttl < 1 || ttl > MaxLeaseTTL {
		return fmt.Errorf("%w: %d s; want 1 to %d", ErrLeaseTTL, ttl, int64(MaxLeaseTTL))
	}
	if _, ok := s.state.leases.Get(id); ok {
		return ErrLeaseExists
	}
	s.state.leases.Set(id, Lease{ID: id, TTL: ttl})
	s.counts.Grants++
	return nil
}

// RevokeLease ends a lease and deletes the attached keys in one transaction, in the
// order of the keys. RevokeLease returns the current revision.
func (s *Store) RevokeLease(id int64) (revision int64, err error) {
	if _, ok := s.state.leases.Delete(id); !ok {
		return 0, ErrLeaseNotFound
	}
	s.counts.Revocations++
	t := s.begin()
	for _, key := range s.state.attachedKeys(id) {
		t.delete(&DeleteRequest{Key: key})
	}
	return t.end(), nil
}

// CheckpointLease records the time that is left of a lease, in seconds. A lease that
// is unknown was revoked in the meantime, which is no error. A time outside of 0 and
// the lease's TTL counts as the nearest one inside. 0 is the whole TTL.
func (s *Store) CheckpointLease(id, remaining int64) {
	if l, ok := s.state.leases.Get(id); ok {
		l.Remaining = min(max(remaining, 0), l.TTL)
		s.state.leases.Set(id, l)
	}
}

// LeaseKeys returns the keys that are attached to a lease, in order.
func (s *Store) LeaseKeys(id int64) []string { return s.state.attachedKeys(id) }
