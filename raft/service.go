package raft

import (
	"errors"
	"fmt"
	"io"

	"raftlab/labgob"
	"raftlab/raft/node"
)

// service is the state machine behind applyCh. The state machine counts as durable up
// to the newest snapshot, because the service loads the newest snapshot before Make.
type service Raft

var _ node.Durable = (*service)(nil)

// Applied returns the index of the snapshot that the service has loaded.
func (s *service) Applied() (uint64, error) { return s.storage.snapshotIndex(), nil }

// Apply hands commands to the service. Apply holds no lock while it waits for the
// service, so the service may call any method meanwhile.
func (s *service) Apply(commands []node.Command) {
	for _, c := range commands {
		command, err := labgob.Unmarshal(c.Data)
		if err != nil {
			panic(fmt.Sprintf("raft: decoding the command at index %d: %v", c.Index, err))
		}
		if !s.deliver(ApplyMsg{CommandValid: true, Command: command, CommandIndex: int(c.Index)}) {
			return
		}
	}
}

// Restore hands a leader's snapshot to the service.
func (s *service) Restore(body io.Reader) error {
	snapshot, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	header := body.(node.SnapshotBody).Header()
	s.installed.Store(header.Index)
	s.deliver(ApplyMsg{
		SnapshotValid: true,
		Snapshot:      snapshot,
		SnapshotTerm:  int(header.Term),
		SnapshotIndex: int(header.Index),
	})
	return nil
}

// deliver puts a message on applyCh, and returns false after Kill.
func (s *service) deliver(msg ApplyMsg) bool {
	select {
	case s.applyCh <- msg:
		return true
	case <-s.stop:
		return false
	}
}

// Snapshot is never called, because the service decides when to take a snapshot.
func (s *service) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("raft: the service calls Raft.Snapshot")
}

// Sync has nothing to do, because Raft.Snapshot saves the service's state.
func (s *service) Sync() error { return nil }
