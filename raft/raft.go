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

// ApplyMsg is what a server hands to its service through applyCh: a committed
// command, or a snapshot that takes the place of the service's state.
type ApplyMsg struct {
	CommandValid bool
	Command      any // as it was given to Start, copied
	CommandIndex int // from 1, without a gap

	SnapshotValid bool
	Snapshot      []byte // as it was given to Snapshot, on some server
	SnapshotTerm  int
	SnapshotIndex int // the last command that the snapshot's state includes
}

// Options are what a server may be given beyond the lab's parameters. The zero
// value of each field means its default.
type Options struct {
	// TickInterval is the unit of Raft's time; default 10 ms.
	TickInterval time.Duration
	// HeartbeatTicks is how often a leader sends heartbeats; default 10 ticks.
	HeartbeatTicks int
	// ElectionTicks is the minimum election timeout; each timeout is drawn from
	// once to twice as much. Default 30 ticks.
	ElectionTicks int
	// StorageTimeout bounds how long a save may take while the others have saved
	// the same entries. After that time the server counts as stalled: a leader
	// steps down, and the server answers no requests until the save returns (see
	// [ErrStalled]). A save gets another second for each 8 MiB, and four times as
	// long while the others have not saved its entries either. The server counts
	// in ticks. Default 0: no bound, so a slow disk costs nobody the leadership.
	StorageTimeout time.Duration
	// Rand draws election timeouts; default: math/rand/v2's global source.
	Rand core.Rand
	// Logger is told of changes of term, role and storage; default: silent.
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
	changed  chan struct{} // closed when standing changes
	lastCall uint64
	replies  map[uint64]chan core.Body // RPC handlers that wait, by call number
	failure  error                     // why the server stopped, if its storage failed
	// installed is the last index of the newest snapshot put on applyCh.
	installed int
}

// standing is what a service wants to know of changes in.
type standing struct {
	term     uint64
	isLeader bool
}

// Make starts the server me of peers, with what persister holds from before,
// and returns at once. The service has loaded persister's snapshot, if there is
// one: what that includes is not applied again. applyCh must be read until Kill.
//
// Make panics if persister holds a state that cannot be read.
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

// Open is [Make] over any storage, with options. The server owns the storage
// from then on; [Raft.Close] closes it.
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

// nodeID is the core's name for a peer: the core keeps 0 for "no server".
func nodeID(peer int) core.NodeID { return core.NodeID(peer) + 1 }

// peer is the inverse of nodeID; -1 for no server.
func peer(id core.NodeID) int { return int(id) - 1 }

func voters(n int) []core.NodeID {
	ids := make([]core.NodeID, n)
	for i := range ids {
		ids[i] = nodeID(i)
	}
	return ids
}

// Start proposes a command. On the leader it returns at once with the index at
// which the command will be applied if it commits, and the term; it is lost if
// something else is applied there. On another server isLeader is false and
// nothing was done. The command's type must be registered with labgob, as basic
// types are; Start panics if it cannot be encoded.
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
		at, in, err := c.Propose(data)
		if err != nil {
			term = int(c.Status().CurrentTerm)
			return
		}
		index, term, isLeader = int(at), int(in), true
	})
	return index, term, isLeader
}

// GetState returns the current term, and whether this server believes that it
// is the leader. A leader that has heard from no majority for an election
// timeout no longer believes so. After Kill no server is the leader.
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

// Snapshot tells that the service has put its state after the command at index
// into snapshot, so that the log up to there can go (section 7). It returns when
// the snapshot is saved. An index that is older than the newest snapshot, or
// not yet applied, is ignored.
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
		// A newer snapshot may have come from the leader meanwhile, which is as good.
		_ = c.Compact(uint64(index))
	})
}

// CondInstallSnapshot says whether a service should switch to a snapshot that
// it received on applyCh. Every one that was put there is in its place, so the
// answer is true for each.
func (rf *Raft) CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return lastIncludedIndex <= rf.installed
}

// PersistBytes returns the size of the saved state without the snapshot, in
// bytes: what a service watches to decide when to take a snapshot.
func (rf *Raft) PersistBytes() int { return rf.storage.StateSize() }

// Status returns what the server is now, for people and monitoring. Servers are
// numbered from 1 in it: server me is me+1, and 0 is none.
func (rf *Raft) Status() core.Status {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	return rf.core.Status()
}

// Err returns why the server does not serve. The error matches [ErrStalled]
// while the storage does not answer. Any other error is final: the storage
// failed, and the server has stopped. Err is nil while the server works, and
// after Kill.
func (rf *Raft) Err() error {
	rf.mu.Lock()
	defer rf.mu.Unlock()
	if rf.failure == nil && !rf.killed() {
		return rf.stall.err
	}
	return rf.failure
}

// Kill stops the server, and returns without waiting for its goroutines. It may
// be called more than once, at any time, and nobody needs to read applyCh then.
func (rf *Raft) Kill() {
	rf.stopOnce.Do(func() {
		close(rf.stop)
		rf.mu.Lock()
		defer rf.mu.Unlock()
		close(rf.changed)
		rf.changed = make(chan struct{}) // nothing will change any more
	})
}

// Close stops the server, waits until its goroutines have ended, and closes its
// storage.
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

// fail stops a server whose storage no longer keeps what it is given: going on
// would acknowledge what may be lost.
func (rf *Raft) fail(err error) {
	rf.mu.Lock()
	if rf.failure == nil && !rf.killed() {
		rf.failure = err
		rf.log.Error("server stops", "error", err)
	}
	rf.mu.Unlock()
	rf.Kill()
}
