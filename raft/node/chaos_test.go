package node_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// store is a key/value state machine. A command is "key value", and puts.
type store struct {
	mu     sync.Mutex
	values map[string]string
}

func (s *store) Apply(commands []node.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range commands {
		key, value, _ := strings.Cut(string(commands[i].Data), " ")
		if s.values == nil {
			s.values = make(map[string]string)
		}
		s.values[key] += value
		commands[i].Result = []byte(s.values[key])
	}
}

type storeView map[string]string

func (v storeView) WriteTo(w io.Writer) (int64, error) {
	return 0, gob.NewEncoder(w).Encode(map[string]string(v))
}

func (s *store) Snapshot() (io.WriterTo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return storeView(maps.Clone(s.values)), nil
}

func (s *store) Restore(body io.Reader) error {
	var values map[string]string
	if err := gob.NewDecoder(body).Decode(&values); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = values
	return nil
}

func (s *store) get(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// world is a group under faults that a seed draws, with clients whose history is
// checked.
type world struct {
	*testing.T
	rng     *rand.Rand
	network *memnet.Network
	config  node.Config

	mu      sync.Mutex // guards the hosts, and rng
	disks   map[core.NodeID]disk
	hosts   map[core.NodeID]*member
	history []porcupine.Operation
	acked   int
}

// disk is what a host's storage stands on.
type disk interface {
	// open opens the storage.
	open() (node.Storage, error)
	// crash ends the use of the storage at any moment. What was not synced may be
	// lost or torn.
	crash()
	// hang makes the disk hang until the result is called.
	hang() (resume func())
	// fill leaves the disk little room until the result is called.
	fill(room int64) (free func())
}

// memory is a disk that loses nothing that was saved.
type memory struct{ store *memstore.Store }

func (m *memory) open() (node.Storage, error) { return m.store, nil }

func (m *memory) crash() { m.store = m.store.Reopen() }

func (m *memory) hang() func() {
	release, hung := make(chan struct{}), m.store
	hung.BeforeSave(func([]node.Update) error { <-release; return nil })
	return func() {
		hung.BeforeSave(nil)
		close(release)
	}
}

func (m *memory) fill(int64) func() { return func() {} }

// simulated is a log on a simulated disk.
type simulated struct {
	disk *simdisk.Disk
	opts wal.Options
	rng  *rand.Rand
}

func newSimulated(id node.Identity, rng *rand.Rand) (*simulated, error) {
	s := &simulated{simdisk.New(), wal.Options{Identity: id, SegmentBytes: 16 << 10}, rng}
	return s, wal.CreateIn(s.disk, s.opts)
}

func (s *simulated) open() (node.Storage, error) { return wal.OpenIn(s.disk, s.opts) }

func (s *simulated) crash() {
	fates := []simdisk.Fate{simdisk.Keep, simdisk.Lose, simdisk.Tear, simdisk.Scatter}
	s.disk = s.disk.Crash(simdisk.Loss{Writes: fates[s.rng.IntN(4)], Names: fates[s.rng.IntN(3)], Rand: s.rng})
}

func (s *simulated) hang() func() {
	hung := s.disk
	hung.Hang()
	return hung.Resume
}

func (s *simulated) fill(room int64) func() {
	full := s.disk
	full.SetCapacity(full.Used() + room)
	return func() { full.SetCapacity(-1) }
}

type member struct {
	*node.Node
	store *store
}

const chaosHosts = 5

// TestChaos breaks a group of hosts in all ways at once: cut links, lost and
// repeated messages, crashes, hanging and full disks, changes of membership, transfers of
// leadership. Client histories are linearizable, and when the faults end, the
// group serves again and all members agree.
func TestChaos(t *testing.T) {
	for i := range 4 * testkit.SoakFactor() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			testkit.Run(t, func(t *testing.T) { newWorld(t).live() })
		})
	}
}

func newWorld(t *testing.T) *world {
	seed := uint64(testkit.Seed(t))
	w := &world{
		T: t, rng: rand.New(rand.NewPCG(seed, 1)),
		network: memnet.New(memnet.Options{Seed: seed, Faults: memnet.Faults{Latency: latency, Jitter: 3 * time.Millisecond}}),
		disks:   make(map[core.NodeID]disk),
		hosts:   make(map[core.NodeID]*member),
	}
	w.config = node.Config{
		ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond,
		SnapshotEntries: 20 + w.rng.IntN(200), TrailingEntries: 1 + w.rng.IntN(50),
		SnapshotChunkBytes: 10 + w.rng.IntN(200), MaxCacheBytes: 1 + w.rng.IntN(10_000),
		MaxBatchBytes: 1 + w.rng.IntN(5000), MaxInflight: 1 + w.rng.IntN(64),
		Quiesce: w.rng.IntN(2) == 0,
	}
	if w.rng.IntN(2) == 0 {
		w.config.LeaseDuration = 100 * time.Millisecond
	}
	onDisk := w.rng.IntN(2) == 0
	for id := core.NodeID(1); id <= chaosHosts; id++ {
		identity := node.Identity{Cluster: "chaos", Host: id}
		w.disks[id] = &memory{memstore.New(identity)}
		if onDisk {
			d, err := newSimulated(identity, w.rng)
			require.NoError(t, err)
			w.disks[id] = d
		}
		w.config.Members = append(w.config.Members, node.Member{ID: id, Address: address(id), Learner: id > 3})
	}
	return w
}

func (w *world) live() {
	for id := core.NodeID(1); id <= chaosHosts; id++ {
		w.start(id)
	}
	defer w.closeAll()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		seed := w.rng.Uint64()
		clients.Go(func() { w.client(i, rand.New(rand.NewPCG(seed, 2)), stop) })
	}
	for range 40 {
		w.disturb()
		time.Sleep(time.Duration(w.intN(300)) * time.Millisecond)
	}
	w.repair()
	before := w.ackedNow()
	testkit.WaitFor(w, 60*time.Second, "progress after the faults", func() bool { return w.ackedNow() > before+20 })
	close(stop)
	clients.Wait()
	w.agree()
	w.check()
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) ackedNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

func (w *world) start(id core.NodeID) {
	w.Helper()
	m := &member{store: &store{}}
	config := w.config
	config.StateMachine = m.store
	config.PromptCommits = id%2 == 0
	w.mu.Lock()
	d := w.disks[id]
	w.mu.Unlock()
	storage, err := d.open()
	if err != nil {
		w.Errorf("opening the storage of host %d: %v", id, err)
		return
	}
	m.Node, err = node.Start(node.HostConfig{Storage: storage, Transport: w.network.Join(id), CloseTimeout: time.Millisecond}, config)
	if err != nil {
		w.Errorf("starting host %d: %v", id, err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[id] = m
}

// crash ends a host at any moment: what is not saved by now never will be.
func (w *world) crash(id core.NodeID) {
	w.mu.Lock()
	m := w.hosts[id]
	delete(w.hosts, id)
	w.disks[id].crash()
	w.mu.Unlock()
	if m != nil {
		_ = m.Close() // the storage is gone
	}
}

func (w *world) running() []core.NodeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.hosts))
}

func (w *world) host(id core.NodeID) *member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[id]
}

// anyHost returns a running host, or nil.
func (w *world) anyHost(n int) *member {
	ids := w.running()
	if len(ids) == 0 {
		return nil
	}
	return w.host(ids[n%len(ids)])
}

// disturb does one thing that the group must survive.
func (w *world) disturb() {
	id := core.NodeID(1 + w.intN(chaosHosts))
	faults := memnet.Faults{Latency: latency, Jitter: time.Duration(1+w.intN(20)) * time.Millisecond}
	switch w.intN(13) {
	case 0:
		w.network.Partition([]core.NodeID{id})
	case 1:
		w.network.Partition([]core.NodeID{id, 1 + id%chaosHosts})
	case 2:
		faults.Drop, faults.Duplicate = 0.2, 0.1
		w.network.SetFaults(faults)
	case 3:
		faults.Cut = true
		w.network.SetLink(id, core.NodeID(1+w.intN(chaosHosts)), faults)
	case 4, 5:
		w.network.SetFaults(faults)
	case 6, 7:
		if w.host(id) != nil {
			w.crash(id)
		}
	case 8, 9:
		for other := core.NodeID(1); other <= chaosHosts; other++ {
			if w.host(other) == nil && w.intN(2) == 0 {
				w.start(other)
			}
		}
	case 10:
		w.hang(id)
	case 11:
		w.changeSomething(id)
	case 12:
		w.fill(id)
	}
}

// fill makes a disk full for a while. A log without room stops the host, which then starts
// again like after a crash. A snapshot without room does not.
func (w *world) fill(id core.NodeID) {
	w.mu.Lock()
	free := w.disks[id].fill(w.rng.Int64N(60 << 10))
	w.mu.Unlock()
	time.AfterFunc(time.Duration(w.intN(5000))*time.Millisecond, func() {
		free()
		if m := w.host(id); m != nil && m.Host().Err() != nil {
			w.crash(id)
		}
	})
}

// hang makes a disk hang for a while.
func (w *world) hang(id core.NodeID) {
	w.mu.Lock()
	resume := w.disks[id].hang()
	w.mu.Unlock()
	time.AfterFunc(time.Duration(w.intN(1000))*time.Millisecond, resume)
}

// changeSomething changes the membership, or who leads.
func (w *world) changeSomething(id core.NodeID) {
	for _, leader := range w.running() {
		m := w.host(leader)
		if m == nil || !m.IsLeader() {
			continue
		}
		short, cancel := context.WithTimeout(ctx, time.Duration(w.intN(1000))*time.Millisecond)
		defer cancel()
		switch w.intN(4) {
		case 0:
			_ = m.TransferLeadership(short, id)
		case 1:
			_ = m.ChangeMembers(short, node.Promote(id))
		case 2:
			_ = m.ChangeMembers(short, node.Demote(id))
		case 3:
			_ = m.ChangeMembers(short, node.Promote(id), node.Demote(1+id%chaosHosts))
		}
		return
	}
}

// repair ends all faults and starts all hosts.
func (w *world) repair() {
	w.network.SetFaults(memnet.Faults{Latency: latency})
	time.Sleep(5 * time.Second) // the hung disks go on, and the full ones have room
	for id := core.NodeID(1); id <= chaosHosts; id++ {
		if m := w.host(id); m == nil {
			w.start(id)
		} else if m.Host().Err() != nil {
			require.ErrorIs(w, m.Host().Err(), syscall.ENOSPC)
			w.crash(id)
			w.start(id)
		} else if err := m.Err(); err != nil {
			w.Errorf("host %d stopped: %v", id, err)
		}
	}
}

// client puts and reads, one operation at a time, on hosts that it guesses.
func (w *world) client(number int, rng *rand.Rand, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		}
		m := w.anyHost(rng.IntN(chaosHosts))
		if m == nil {
			continue
		}
		key := fmt.Sprint("k", rng.IntN(3))
		if rng.IntN(2) == 0 {
			w.read(number, m, key)
		} else {
			w.write(number, m, key, fmt.Sprintf("%d.%d,", number, n))
		}
	}
}

func (w *world) read(client int, m *member, key string) {
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := m.ReadIndex(short); err != nil {
		return // a read without an answer says nothing
	}
	value := m.store.get(key)
	w.record(porcupine.Operation{
		ClientId: client, Call: begun.UnixNano(), Return: time.Now().UnixNano(),
		Input: models.KVInput{Op: models.KVGet, Key: key}, Output: models.KVOutput{Value: value},
	})
}

func (w *world) write(client int, m *member, key, value string) {
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := m.Propose(short, []byte(key+" "+value))
	op := porcupine.Operation{
		ClientId: client, Call: begun.UnixNano(), Return: time.Now().UnixNano(),
		Input: models.KVInput{Op: models.KVAppend, Key: key, Value: value}, Output: models.KVOutput{},
	}
	switch {
	case err == nil:
	case errors.Is(err, node.ErrUnknown):
		op.Return = porcupine.Pending
		op.Output = nil
	case errors.Is(err, node.ErrRefused):
		return
	default:
		w.Errorf("Propose: %v matches neither ErrRefused nor ErrUnknown", err)
	}
	w.record(op)
}

func (w *world) record(op porcupine.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, op)
	if op.Return != porcupine.Pending {
		w.acked++
	}
}

// agree waits until all members of the group have the same state.
func (w *world) agree() {
	testkit.WaitFor(w, 60*time.Second, "the same state on all members", func() bool {
		var want map[string]string
		for _, id := range w.running() {
			m := w.host(id)
			m.store.mu.Lock()
			have := maps.Clone(m.store.values)
			m.store.mu.Unlock()
			if want == nil {
				want = have
			}
			if !maps.Equal(have, want) {
				return false
			}
		}
		return true
	})
}

func (w *world) check() {
	if len(w.history) < 100 {
		w.Logf("only %d operations", len(w.history))
	}
	if result := porcupine.CheckOperationsTimeout(models.KV, w.history, 0); result != porcupine.Ok {
		w.Errorf("the history of %d operations is %v", len(w.history), result)
	}
}

func (w *world) closeAll() {
	for _, id := range w.running() {
		if err := w.host(id).Close(); err != nil {
			w.Errorf("closing host %d: %v", id, err)
		}
	}
}
