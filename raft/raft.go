package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// ApplyMsg is a message from a server to its service on applyCh: a committed
// command, or a snapshot to replace the service's state.
type ApplyMsg struct {
	CommandValid bool
	Command      any // a copy of Start's argument
	CommandIndex int // from 1, without a gap

	SnapshotValid bool
	Snapshot      []byte // the argument of Snapshot on some server
	SnapshotTerm  int
	SnapshotIndex int // of the last command in the snapshot's state
}

// Raft is one server. Its methods may be called from any goroutine.
type Raft struct {
	node      *node.Node
	transport *transport
	storage   *storage
	applyCh   chan<- ApplyMsg
	// installed is the index of the newest snapshot on applyCh.
	installed atomic.Uint64

	stop     chan struct{} // closed by Kill
	stopOnce sync.Once
}

// Make starts the server me of peers from the state in persister, and returns at
// once. The service must have loaded persister's snapshot: the server applies only
// later commands. Somebody must read applyCh until Kill.
//
// Make panics if the state in persister cannot be read.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	rf, err := start(peers, me, persister, applyCh)
	if err != nil {
		panic(fmt.Sprintf("raft: server %d: %v", me, err))
	}
	return rf
}

func start(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan<- ApplyMsg) (*Raft, error) {
	switch {
	case me < 0 || me >= len(peers):
		return nil, fmt.Errorf("server %d is not one of %d peers", me, len(peers))
	case applyCh == nil:
		return nil, errors.New("applyCh is nil")
	}
	storage, err := openStorage(persister, me)
	if err != nil {
		return nil, err
	}
	rf := &Raft{storage: storage, applyCh: applyCh, stop: make(chan struct{})}
	rf.transport = newTransport(peers, rf.stop)
	host := node.HostConfig{Storage: storage, Transport: rf.transport, Workers: 1, MaxSnapshots: 1}
	rf.node, err = node.Start(host, node.Config{
		StateMachine: (*service)(rf),
		Members:      members(len(peers)),
		CommandsOnly: true,
		// The labs limit the time of an election and the messages of an idle leader.
		ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 100 * time.Millisecond,
		// Start never refuses a command, and a snapshot travels in one RPC.
		MaxCommandBytes: math.MaxInt, MaxPending: math.MaxInt, MaxPendingBytes: math.MaxInt,
		MaxReceiveBytes: math.MaxInt, MaxCacheBytes: math.MaxInt, SnapshotChunkBytes: math.MaxInt,
		// The service decides when to compact the log, and how far.
		SnapshotEntries: -1, SnapshotBytes: -1, TrailingEntries: -1,
	})
	if err != nil {
		return nil, err
	}
	return rf, nil
}

// nodeID is the id of a peer. The core reserves 0 for no server.
func nodeID(peer int) core.NodeID { return core.NodeID(peer) + 1 }

// peer is the inverse of nodeID.
func peer(id core.NodeID) int { return int(id) - 1 }

func members(n int) []node.Member {
	all := make([]node.Member, n)
	for i := range all {
		all[i].ID = nodeID(i)
	}
	return all
}

// Start proposes a command and returns at once. On the leader, index and term are
// the place of the command in the log. The command has committed when the server
// applies index in this term. If the server applies another command at index,
// the command was lost. On any other server isLeader is false and the command is
// dropped. The command's type must be registered with labgob, as basic types are.
// Start panics if labgob cannot encode the command.
func (rf *Raft) Start(command any) (index int, term int, isLeader bool) {
	if term, isLeader = rf.GetState(); !isLeader {
		return -1, term, false
	}
	data, err := labgob.Marshal(command)
	if err != nil {
		panic(fmt.Sprintf("raft: Start cannot encode a command of type %T: %v", command, err))
	}
	i, t, err := rf.node.Append(data)
	if err != nil {
		term, _ = rf.GetState()
		return -1, term, false
	}
	return int(i), int(t), true
}

// GetState returns the current term, and whether this server believes to be the
// leader. A leader without answers from a majority for an election timeout steps
// down. After Kill isLeader is false.
func (rf *Raft) GetState() (term int, isLeader bool) {
	t, leads := rf.node.Leadership()
	return int(t), leads && !rf.killed()
}

// Changed returns a channel that is closed when the answer of GetState next
// changes, or the server stops. To miss nothing, call Changed before GetState.
func (rf *Raft) Changed() <-chan struct{} { return rf.node.Changed() }

// Snapshot replaces the log up to index by a snapshot of the service's state after
// the command at index (section 7), and returns when the snapshot is saved.
// Snapshot ignores an index within the newest snapshot, or one not applied yet.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	// The errors name an index that is to be ignored, or a server that has stopped.
	_ = rf.node.SaveSnapshot(context.Background(), uint64(max(index, 0)), bytes.NewReader(snapshot))
}

// CondInstallSnapshot reports whether a service should switch to a snapshot from
// applyCh. The server delivers snapshots in order with the commands, so the answer
// is true for every snapshot from applyCh.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	return uint64(max(lastIncludedIndex, 0)) <= rf.installed.Load()
}

// PersistBytes returns the size of the saved state without the snapshot, in bytes.
// A service takes a snapshot when this size grows too large.
func (rf *Raft) PersistBytes() int { return rf.storage.ps.RaftStateSize() }

// Err returns the reason of a server that has stopped by itself, for example because
// of a command whose type is not registered with labgob. Err is nil while the server
// works, and after Kill.
func (rf *Raft) Err() error {
	if rf.killed() {
		return nil
	}
	return rf.node.Err()
}

// Kill stops the server, and returns without waiting for its goroutines. Kill may
// be called more than once, at any time. Nobody needs to read applyCh after Kill.
func (rf *Raft) Kill() {
	rf.stopOnce.Do(func() {
		close(rf.stop)
		rf.storage.Close() // another server may use the persister from now on
		go rf.node.Close() // ends the goroutines of the node
	})
}

func (rf *Raft) killed() bool {
	select {
	case <-rf.stop:
		return true
	default:
		return false
	}
}
