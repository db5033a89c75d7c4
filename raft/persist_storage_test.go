package raft_test

import (
	"testing"

	"raftlab/raft"
	"raftlab/raft/storagetest"
)

func TestPersisterIsAStorage(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Open {
		ps := raft.MakePersister()
		return func() (raft.Storage, error) { return raft.OpenPersister(ps) }
	})
}
