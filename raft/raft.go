package raft

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft/core"
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

// Options are a server's settings beyond the lab's parameters. The zero value of
// each field means its default.
type Options struct {
	// TickInterval is the unit of Raft's time. Default 10 ms.
	TickInterval time.Duration
	// HeartbeatTicks is the interval of a leader's heartbeats. Default 10 ticks.
	HeartbeatTicks int
	// ElectionTicks is the minimum election timeout. Each timeout is drawn between
	// the minimum and twice the minimum. Default 30 ticks.
	ElectionTicks int
	// StorageTimeout bounds how long a save may take while the others have saved
	// the same entries. After that time the server counts as stalled: a leader
	// steps down, and the server answers no requests until the save returns (see
	// [ErrStalled]). A save gets another second for each 8 MiB, and four times as
	// long while the others have not saved its entries either. The server counts
	// in ticks. Default 0: no bound, so a slow disk costs nobody the leadership.
	StorageTimeout time.Duration
	// Rand draws election timeouts. Default: math/rand/v2's global source.
	Rand core.Rand
	// Logger receives changes of term, role and storage. Default: silent.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.TickInterval == 0 {
		o.TickInterval = 10 * time.Millisecond
	}
	if o.HeartbeatTicks == 0 {
		o.HeartbeatTicks = 10
	}
	if o.ElectionTicks == 0 {
		o.ElectionTicks = 30
	}
	if o.Rand == nil {
		o.Rand = globalRand{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// globalRand is math/rand/v2's global source.
type globalRand struct{}

func (globalRand) IntN(n int) int { return rand.IntN(n) }

// Raft is one server. Its methods may be called from any goroutine.
type Raft struct {
	peers    []*labrpc.ClientEnd
	me       int
	storage  Storage
	applyCh  chan ApplyMsg
	log      *slog.Logger
	interval time.Duration

	stop     chan struct{} // closed by Kill
	stopOnce sync.Once
	running  sync.WaitGroup  // driver, saver and applier
	wake     chan struct{}   // capacity 1: the core may have something to do
	applying chan struct{}   // capacity 1: there may be something to apply
	toSave   chan core.Ready // capacity 1: from the driver to the saver

	mu       sync.Mutex
	core     *core.Core
	saving   bool          // from a Ready that needs a save to its Saved
	stall    stall         // how long that save takes
	seen     standing      // as of the last look
	changed  chan struct{} // closed at the next change of standing or of Err
	lastCall uint64
	replies  map[uint64]chan core.Body // of waiting RPC handlers, by call number
	failure  error                     // of the storage; the server has then stopped
	// installed is the last index of the newest snapshot on applyCh.
	installed int
}

// standing is the part of the state with notifications for services.
type standing struct {
	term     uint64
	isLeader bool
}

// Make starts the server me of peers from the state in persister, and returns at
// once. The service must have loaded persister's snapshot: the server applies only
// later commands. Somebody must read applyCh until Kill.
//
// Make panics if the state in persister cannot be read.
func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft {
	storage, err := openPersister(persister)
	if err != nil {
		panic(fmt.Sprintf("raft: server %d: %v", me, err))
	}
	rf, err := Open(peers, me, storage, applyCh, Options{})
	if err != nil {
		panic(fmt.Sprintf("raft: server %d: %v", me, err))
	}
	return rf
}

// Open is [Make] over any storage, with options. The server owns the storage from
// then on, and [Raft.Close] closes the storage.
func Open(peers []*labrpc.ClientEnd, me int, storage Storage, applyCh chan ApplyMsg, opts Options) (*Raft, error) {
	opts.setDefaults()
	switch {
	case me < 0 || me >= len(peers):
		return nil, fmt.Errorf("raft: server %d is not one of %d peers", me, len(peers))
	case applyCh == nil:
		return nil, errors.New("raft: applyCh is nil")
	case opts.TickInterval < 0:
		return nil, fmt.Errorf("raft: Options.TickInterval is %v; want more than 0", opts.TickInterval)
	case opts.StorageTimeout < 0:
		return nil, fmt.Errorf("raft: Options.StorageTimeout is %v; want at least 0", opts.StorageTimeout)
	}
	saved, err := storage.Load()
	if err != nil {
		return nil, err
	}
	node, err := core.New(core.Config{
		ID:             nodeID(me),
		Voters:         voters(len(peers)),
		ElectionTicks:  opts.ElectionTicks,
		HeartbeatTicks: opts.HeartbeatTicks,
		Rand:           opts.Rand,
	}, saved)
	if err != nil {
		return nil, err
	}
	rf := &Raft{
		peers:    peers,
		me:       me,
		storage:  storage,
		applyCh:  applyCh,
		log:      opts.Logger.With("server", me),
		interval: opts.TickInterval,
		stall:    stall{limit: ticksIn(opts.StorageTimeout, opts.TickInterval)},
		stop:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		applying: make(chan struct{}, 1),
		toSave:   make(chan core.Ready, 1),
		core:     node,
		seen:     standing{term: saved.HardState.CurrentTerm},
		changed:  make(chan struct{}),
		replies:  make(map[uint64]chan core.Body),
	}
	rf.running.Go(rf.drive)
	rf.running.Go(rf.saveAll)
	rf.running.Go(rf.apply)
	return rf, nil
}

// nodeID is the core's number of a peer. The core reserves 0 for no server.
func nodeID(peer int) core.NodeID { return core.NodeID(peer) + 1 }

// peer is the inverse of nodeID, and -1 for no server.
func peer(id core.NodeID) int { return int(id) - 1 }

func voters(n int) []core.NodeID {
	ids := make([]core.NodeID, n)
	for i := range ids {
		ids[i] = nodeID(i)
	}
	return ids
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
	index, isLeader = -1, false
	rf.with(func(c *core.Core) {
		proposed, current, err := c.Propose(data)
		if err != nil {
			term = int(c.Status().CurrentTerm)
			return
		}
		index, term, isLeader = int(proposed), int(current), true
	})
	return index, term, isLeader
}

// GetState returns the current term, and whether this server believes to be the
// leader. A leader without answers from a majority for an election timeout steps
// down. After Kill isLeader is false.
func (rf *Raft) GetState() (term int, isLeader bool) {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return int(rf.seen.term), rf.seen.isLeader && !rf.killed()
}

// Changed returns a channel that is closed when the answer of GetState or Err
// next changes, or the server stops. To miss nothing, call Changed before them.
func (rf *Raft) Changed() <-chan struct{} {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.changed
}

// Snapshot replaces the log up to index by a snapshot of the service's state after
// the command at index (section 7), and returns when the snapshot is saved.
// Snapshot ignores an index within the newest snapshot, or one not applied yet.
func (rf *Raft) Snapshot(index int, snapshot []byte) {
	rf.mu.Lock()
	term, err := rf.core.SnapshotTerm(uint64(max(index, 0)))
	rf.mu.Unlock()
	if err != nil || rf.killed() {
		return
	}
	err = rf.storage.SaveSnapshot(core.Snapshot{
		LastIncludedIndex: uint64(index),
		LastIncludedTerm:  term,
		Data:              snapshot,
	})
	if err != nil {
		rf.fail(fmt.Errorf("raft: saving a snapshot: %w", err))
		return
	}
	rf.with(func(c *core.Core) {
		// The error means that the leader has sent a newer snapshot meanwhile.
		_ = c.Compact(uint64(index))
	})
}

// CondInstallSnapshot reports whether a service should switch to a snapshot from
// applyCh. The server delivers snapshots in order with the commands, so the answer
// is true for every snapshot from applyCh.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return lastIncludedIndex <= rf.installed
}

// PersistBytes returns the size of the saved state without the snapshot, in bytes.
// A service takes a snapshot when this size grows too large.
func (rf *Raft) PersistBytes() int { return rf.storage.StateSize() }

// Status returns a picture of the server, for people and monitoring. The picture
// numbers servers from 1: server me is me+1, and 0 is no server.
func (rf *Raft) Status() core.Status {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.core.Status()
}

// Err returns the reason of a server that does not serve. The error matches
// [ErrStalled] while the storage does not answer. Any other error is final, because
// the server has stopped after a failure of its storage. Err is nil while the
// server works, and after Kill.
func (rf *Raft) Err() error {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.failure == nil && !rf.killed() {
		return rf.stall.err
	}
	return rf.failure
}

// Kill stops the server, and returns without waiting for its goroutines. Kill may
// be called more than once, at any time. Nobody needs to read applyCh after Kill.
func (rf *Raft) Kill() {
	rf.stopOnce.Do(func() {
		close(rf.stop)
		rf.mu.Lock()
		defer rf.mu.Unlock()
		close(rf.changed)
		rf.changed = make(chan struct{}) // stays open: after Kill nothing changes
	})
}

// Close stops the server, waits for its goroutines, and closes the storage.
func (rf *Raft) Close() error {
	rf.Kill()
	rf.running.Wait()
	return rf.storage.Close()
}

func (rf *Raft) killed() bool {
	select {
	case <-rf.stop:
		return true
	default:
		return false
	}
}

// fail stops the server after a failure of its storage, because the server could
// acknowledge entries without keeping them.
func (rf *Raft) fail(err error) {
	rf.mu.Lock()
	if rf.failure == nil && !rf.killed() {
		rf.failure = err
		rf.log.Error("server stops", "error", err)
	}
	rf.mu.Unlock()
	rf.Kill()
}
