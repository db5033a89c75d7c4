package raft

import "raftlab/raft/node"

// OpenPersister opens the storage that Make puts a server on.
func OpenPersister(ps *Persister) (node.Storage, error) {
	s, err := openStorage(ps, 0)
	if err != nil {
		return nil, err
	}
	return s, nil
}
