package raft

// OpenPersister is the storage that Make puts a server on.
func OpenPersister(ps *Persister) (Storage, error) {
	s, err := openPersister(ps)
	if err != nil {
		return nil, err
	}
	return s, nil
}
