package raft

// OpenPersister returns the storage over ps that Make uses.
func OpenPersister(ps *Persister) (Storage, error) { return openPersister(ps) }
