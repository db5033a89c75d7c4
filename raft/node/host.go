package node

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
)

// Host is one process's part in a cluster: one storage, one transport and any
// number of groups. The number of its goroutines does not depend on the number
// of groups. Methods may be called from any goroutine.
type Host struct {
	cfg       HostConfig
	identity  Identity
	storage   Storage
	transport Transport
	limited   Limited // the transport, nil if its messages have no bound
	log       *slog.Logger

	workers    *pool // run the cores
	appliers   *pool // run the state machines
	background *pool // write snapshots
	chunks     *pool // read and write the pieces of snapshots under way between hosts
	loaders    *pool // read entries for members that are behind
	saver      *saver
	events     *notifier
	stats      hostStats

	stop    chan struct{} // closed by Close and by a failure
	ticking sync.WaitGroup

	groups atomic.Pointer[groupSet] // replaced, never changed
	exited atomic.Bool              // see ExitError

	mu       sync.Mutex // held to replace groups
	starting map[GroupID]bool
	peers    peerTable
	closed   bool
	failure  error
	closeErr error // of transport and storage, until Close returns it

	closing sync.Once
	ending  *stages // set by closing
}

// groupSet are the running groups of a host.
type groupSet struct {
	byID map[GroupID]*Node
	all  []*Node // in ascending order
}

// NewHost starts a host without groups.
func NewHost(cfg HostConfig) (*Host, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	h := &Host{
		cfg:        cfg,
		identity:   cfg.Storage.Identity(),
		storage:    cfg.Storage,
		transport:  cfg.Transport,
		log:        cfg.Logger.With("host", uint64(cfg.Storage.Identity().Host)),
		workers:    newPool(cfg.Workers),
		appliers:   newPool(cfg.Workers),
		background: newPool(cfg.MaxSnapshots),
		chunks:     newPool(cfg.MaxSnapshots),
		loaders:    newPool(1),
		events:     newNotifier(cfg.Observe, cfg.MaxEvents),
		stop:       make(chan struct{}),
		starting:   make(map[GroupID]bool),
	}
	h.limited, _ = h.transport.(Limited)
	h.groups.Store(&groupSet{})
	h.saver = newSaver(h)
	if err := h.transport.Start(h.identity, (*receiver)(h)); err != nil {
		return nil, errors.Join(while(err, "starting the transport"), h.Close())
	}
	h.ticking.Go(h.tickAll)
	return h, nil
}

// Identity returns the cluster and the host that the storage belongs to.
func (h *Host) Identity() Identity { return h.identity }

// Start starts the host's member of a group, from what the storage holds.
func (h *Host) Start(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(h.cfg.TickInterval); err != nil {
		return nil, err
	}
	if limit := h.maxMessageBytes(core.None); limit > 0 && cfg.MaxCommandBytes > limit-commandOverhead {
		return nil, fmt.Errorf("%w: Config.MaxCommandBytes is %d; the transport has room for commands of %d bytes", ErrConfig, cfg.MaxCommandBytes, limit-commandOverhead)
	}
	if err := h.reserve(cfg.Group); err != nil {
		return nil, err
	}
	defer h.unreserve(cfg.Group) // also if the state machine ends the goroutine
	n, err := h.open(cfg)
	if err == nil {
		err = h.admit(n)
	}
	if err != nil {
		return nil, while(err, "starting group %d on host %d", cfg.Group, h.identity.Host)
	}
	n.poke()
	return n, nil
}

// admit makes a member one of the running groups, unless the host has ended meanwhile.
func (h *Host) admit(n *Node) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrStopped
	case h.failure != nil:
		return &outcome{ErrStopped, h.failure}
	}
	h.replaceGroups(func(groups map[GroupID]*Node) { groups[n.cfg.Group] = n })
	return nil
}

// reserve makes sure that a group is started once.
func (h *Host) reserve(group GroupID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return while(ErrStopped, "host %d", h.identity.Host)
	case h.failure != nil:
		return while(&outcome{ErrStopped, h.failure}, "host %d", h.identity.Host)
	case h.starting[group] || h.groups.Load().byID[group] != nil:
		return while(ErrStarted, "host %d: group %d", h.identity.Host, group)
	}
	h.starting[group] = true
	return nil
}

// unreserve ends a reservation.
func (h *Host) unreserve(group GroupID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.starting, group)
}

// replaceGroups changes the set of running groups. h.mu is held.
func (h *Host) replaceGroups(change func(map[GroupID]*Node)) {
	groups := make(map[GroupID]*Node)
	maps.Copy(groups, h.groups.Load().byID)
	change(groups)
	set := &groupSet{byID: groups}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		set.all = append(set.all, groups[id])
	}
	h.groups.Store(set)
}

// forget takes a closed member out of the host.
func (h *Host) forget(n *Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups.Load().byID[n.cfg.Group] == n {
		h.replaceGroups(func(groups map[GroupID]*Node) { delete(groups, n.cfg.Group) })
	}
}

// entries reads a group's log, and refuses other entries than those asked for. The state
// machines of the members would differ.
func (h *Host) entries(group GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	entries, err := h.storage.Entries(group, lo, hi, maxBytes)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if want := lo + uint64(i); entries[i].Index != want || want > hi {
			return nil, fmt.Errorf("%w: Entries returned index %d in the place of %d; want %d to %d", ErrDamaged, entries[i].Index, want, lo, hi)
		}
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w: Entries returned none of %d to %d", ErrDamaged, lo, hi)
	}
	return entries, nil
}

// Group returns the host's running member of a group, nil if there is none.
func (h *Host) Group(id GroupID) *Node { return h.groups.Load().byID[id] }

// Remove stops the host's member of a group and removes the group's log, hard
// state and snapshots from the storage. A host that was removed from a group calls
// Remove to free the space. Remove forgets the member's votes. If the group still
// has the member, the member must not start again under the same id.
func (h *Host) Remove(group GroupID) error {
	if n := h.Group(group); n != nil {
		if err := n.end(); err != nil {
			return err
		}
	}
	if err := h.reserve(group); err != nil {
		return err
	}
	defer h.unreserve(group)
	if err := h.storage.Remove(group); err != nil {
		return while(err, "removing group %d from host %d", group, h.identity.Host)
	}
	return nil
}

// tickAll is the goroutine that gives all groups their time.
func (h *Host) tickAll() {
	// A random first tick keeps hosts with a common start from timing out together.
	ticker := time.NewTicker(1 + rand.N(h.cfg.TickInterval))
	defer ticker.Stop()
	returned := false
	defer func() {
		if !returned {
			_ = h.exit()
		}
	}()
	dropped := time.Now()
	for first := true; ; first = false {
		select {
		case <-h.stop:
			returned = true
			return
		case <-ticker.C:
		}
		if first {
			ticker.Reset(h.cfg.TickInterval)
		}
		if now := time.Now(); now.Sub(dropped) > time.Second {
			dropped = now
			h.dropPeers()
		}
		busy, bytes := h.saver.busy()
		for _, n := range h.groups.Load().all {
			n.tick(busy, bytes)
		}
	}
}

// receiver is a Host as the Receiver of its transport.
type receiver Host

func (r *receiver) Receive(from core.NodeID, messages []Message) {
	h := (*Host)(r)
	groups := h.groups.Load().byID
	for len(messages) > 0 {
		group := messages[0].Group
		same := 1
		for same < len(messages) && messages[same].Group == group {
			same++
		}
		if n := groups[group]; n != nil {
			n.receive(from, messages[:same])
		} else {
			h.stats.strangers.Add(int64(same))
		}
		messages = messages[same:]
	}
}

func (r *receiver) PeerUp(id core.NodeID) {
	h := (*Host)(r)
	h.events.add(Event{Kind: PeerUp, Peer: id})
	limit := h.maxMessageBytes(id)
	for _, n := range h.groups.Load().all {
		if limit > 0 && n.cfg.MaxCommandBytes > limit-commandOverhead {
			n.log.Warn("the largest commands do not reach the peer", "peer", uint64(id), "Config.MaxCommandBytes", n.cfg.MaxCommandBytes, "limit", limit-commandOverhead)
		}
	}
}

// commandOverhead is more than a message with one command occupies beside the command.
const commandOverhead = appendOverhead + entryOverhead

// maxMessageBytes returns the bound of the transport on a message to a host, 0 if there is
// no bound.
func (h *Host) maxMessageBytes(to core.NodeID) int {
	if h.limited == nil {
		return 0
	}
	return h.limited.MaxMessageBytes(to)
}

func (r *receiver) PeerDown(id core.NodeID, reason error) {
	h := (*Host)(r)
	h.events.add(Event{Kind: PeerDown, Peer: id, Err: reason})
	for _, n := range h.groups.Load().all {
		n.call(func() { n.lostPeer(id) })
	}
}

// fail stops a host after a failed save. A host that went on would acknowledge
// writes that may be lost. A second try could report a lost write as durable.
func (h *Host) fail(err error) {
	h.mu.Lock()
	if h.failure == nil && !h.closed {
		h.failure = err
		h.log.Error("the host stops", "error", err)
	}
	groups := h.groups.Load().all
	h.mu.Unlock()
	for _, n := range groups {
		n.stop(err)
	}
}

// Err returns why the host stopped by itself; nil while it runs, and after Close.
func (h *Host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}

// Close stops all groups and the host, closes transport and storage, and returns
// when the host's goroutines have ended. Close may be called at any time, but not by
// a state machine or by [HostConfig.Observe].
//
// Close returns after [HostConfig.CloseTimeout] if something hangs. The error then
// matches [ErrBlocked] if a state machine or Observe does not return, and [ErrStalled]
// if the storage does not answer or a view does not return from WriteTo. The waiting
// goroutines end when the hanging call returns. The storage is closed then.
//
// Close may be called more than once. Each call waits for the end, and returns nil if
// everything has ended. A failure to close the transport or the storage is returned
// by one call, the first to see the failure.
func (h *Host) Close() error {
	h.closing.Do(h.beginClose)
	hangs := h.ending.wait(h.cfg.CloseTimeout)
	h.mu.Lock()
	err := h.closeErr
	h.closeErr = nil
	h.mu.Unlock()
	if hangs != nil {
		err = errors.Join(err, while(hangs, "closing host %d", h.identity.Host))
	}
	return err
}

// beginClose stops everything, and does not wait for what may hang.
func (h *Host) beginClose() {
	h.mu.Lock()
	h.closed = true
	groups := h.groups.Load().all
	h.mu.Unlock()
	close(h.stop)
	h.ticking.Wait()
	for _, n := range groups {
		n.stop(nil)
	}
	h.noteCloseError(h.transport.Close(), "closing the transport")
	h.saver.close()
	h.ending = runStages(
		stage{ErrBlocked, func() {
			for _, n := range groups {
				n.ended.Wait()
			}
			h.workers.close()
			h.appliers.close()
		}},
		stage{ErrStalled, func() {
			for _, n := range groups {
				n.awaitStorage()
			}
			h.background.close()
			h.chunks.close()
			h.loaders.close()
			h.saver.running.Wait()
			h.noteCloseError(h.storage.Close(), "closing the storage")
		}},
		stage{ErrBlocked, h.events.close},
	)
}

// noteCloseError keeps an error for the next return of Close.
func (h *Host) noteCloseError(err error, doing string) {
	if err == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeErr = errors.Join(h.closeErr, while(err, "%s", doing))
}

// stage is a part of closing that may hang, with the error of a stage that hangs.
type stage struct {
	hangs error
	run   func()
}

// stages are parts of closing under way, one after the other.
type stages struct {
	all   []stage
	now   atomic.Int64
	ended chan struct{}
}

// runStages runs the stages on a goroutine that ends with the last one.
func runStages(all ...stage) *stages {
	s := &stages{all: all, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for i, stage := range all {
			s.now.Store(int64(i))
			stage.run()
		}
	}()
	return s
}

// wait returns nil at the end of the last stage. After the timeout wait returns the
// error of the stage under way.
func (s *stages) wait(timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-s.ended:
		return nil
	case <-timer.C:
		return s.all[s.now.Load()].hangs
	}
}
