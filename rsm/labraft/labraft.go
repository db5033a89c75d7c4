// Package labraft runs package rsm on any lab's Raft. The lab's interface is Start,
// GetState, Snapshot, Kill and the messages on applyCh. Two more methods are used
// if the Raft has them: Changed of package raft, and CondInstallSnapshot of the
// lab's editions until 2021.
package labraft

import (
	"bytes"
	"fmt"
	"time"

	"raftlab/raft"
	"raftlab/rsm"
)

// Raft is a lab's Raft server.
type Raft interface {
	Start(command any) (index int, term int, isLeader bool)
	GetState() (term int, isLeader bool)
	Snapshot(index int, snapshot []byte)
	Kill()
}

// notifier is a Raft that announces changes. The channel is closed when the result
// of GetState next changes.
type notifier interface {
	Changed() <-chan struct{}
}

// conditional is a Raft that decides whether a snapshot from applyCh is installed.
type conditional interface {
	CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool
}

// pollInterval is the time between two looks at a Raft that is no notifier.
const pollInterval = 50 * time.Millisecond

// Log is an [rsm.Log] on a lab's Raft.
type Log struct {
	rf      Raft
	applyCh <-chan raft.ApplyMsg
}

var _ rsm.Log = (*Log)(nil)

// New returns a log on rf, which was started with applyCh. Only [Log.Deliver] reads
// applyCh.
func New(rf Raft, applyCh <-chan raft.ApplyMsg) *Log { return &Log{rf: rf, applyCh: applyCh} }

// Start makes applyCh, starts a lab's Raft with it, and returns the Raft and a log on
// the Raft.
func Start[R Raft](start func(applyCh chan raft.ApplyMsg) R) (R, *Log) {
	applyCh := make(chan raft.ApplyMsg)
	rf := start(applyCh)
	return rf, New(rf, applyCh)
}

// Propose implements [rsm.Log].
func (l *Log) Propose(command []byte) (rsm.Place, error) {
	index, term, isLeader := l.rf.Start(command)
	if !isLeader {
		return rsm.Place{}, rsm.ErrNotLeader
	}
	return rsm.Place{Index: uint64(index), Term: uint64(term)}, nil
}

// Leadership implements [rsm.Log].
func (l *Log) Leadership() rsm.Leadership {
	term, isLeader := l.rf.GetState()
	return rsm.Leadership{Term: uint64(term), Leads: isLeader}
}

// Changed implements [rsm.Log].
func (l *Log) Changed() <-chan struct{} {
	if n, ok := l.rf.(notifier); ok {
		return n.Changed()
	}
	changed := make(chan struct{})
	time.AfterFunc(pollInterval, func() { close(changed) })
	return changed
}

// Deliver implements [rsm.Log].
func (l *Log) Deliver(r rsm.Receiver, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case msg, open := <-l.applyCh:
			if !open {
				return l.closed(stop)
			}
			if err := l.deliver(r, msg); err != nil {
				return err
			}
		}
	}
}

// closed returns the error of Deliver after the Raft server has closed applyCh. Some lab
// servers do so in Kill, which may come before the end of the replica.
func (l *Log) closed(stop <-chan struct{}) error {
	select {
	case <-stop:
		return nil
	default:
		return fmt.Errorf("labraft: the Raft server closed applyCh: %w", rsm.ErrStopped)
	}
}

func (l *Log) deliver(r rsm.Receiver, msg raft.ApplyMsg) error {
	switch {
	case msg.CommandValid:
		command, ok := msg.Command.([]byte)
		if !ok {
			return fmt.Errorf("labraft: the command at index %d is a %T; want []byte", msg.CommandIndex, msg.Command)
		}
		return r.Apply(uint64(msg.CommandIndex), command)
	case msg.SnapshotValid:
		c, ok := l.rf.(conditional)
		if !ok || c.CondInstallSnapshot(msg.SnapshotTerm, msg.SnapshotIndex, msg.Snapshot) {
			return r.Install(msg.Snapshot)
		}
	}
	return nil
}

// SaveSnapshot implements [rsm.Log]. The lab's interface takes a snapshot in one
// piece.
func (l *Log) SaveSnapshot(s rsm.Snapshot) (size int, err error) {
	var snapshot bytes.Buffer
	snapshot.Grow(s.Expected) // growing later would double the memory
	if err := s.Write(&snapshot); err != nil {
		return 0, err
	}
	l.rf.Snapshot(int(s.Index), snapshot.Bytes())
	return snapshot.Len(), nil
}

// Stop implements [rsm.Log].
func (l *Log) Stop() { l.rf.Kill() }
