package shardstore_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// world is the processes of a store in virtual time, with networks and disks in memory.
type world struct {
	*testing.T
	groups  int
	bytes   int // Config.SnapshotBytes
	members []shardstore.Member
	raft    *memnet.Network
	calls   *labrpc.Network

	mu        sync.Mutex
	disks     map[string]*memstore.Store
	logs      map[string]*simdisk.Disk // of processes with a log on a disk, in place of disks
	processes map[string]*process
	sides     map[string]int // of the partition, by member
	links     map[string]link
	made      int
	hosts     core.NodeID     // so far
	joined    map[string]bool // processes that are not among the first ones
	levels    map[string]int  // of processes of an earlier version
}

// link is an end from a process to a process.
type link struct{ from, to string }

// process is a running process.
type process struct {
	*shardstore.Part
	host   *node.Host
	member string
	world  *world
	served []string
}

// run runs a test of three processes.
func run(t *testing.T, groups, snapshotBytes int, body func(w *world)) {
	runWith(t, groups, snapshotBytes, nil, body)
}

// runWith is run with a call of prepare before the processes start.
func runWith(t *testing.T, groups, snapshotBytes int, prepare, body func(w *world)) {
	testkit.Run(t, func(t *testing.T) {
		w := newWorld(t, groups, 3, snapshotBytes)
		defer w.end()
		if prepare != nil {
			prepare(w)
		}
		for _, m := range w.members {
			w.start(m.Name)
		}
		body(w)
	})
}

// newWorld returns processes that do not run yet.
func newWorld(t *testing.T, groups, processes, snapshotBytes int) *world {
	w := &world{
		T: t, groups: groups, bytes: snapshotBytes,
		raft:      memnet.New(memnet.Options{Seed: uint64(testkit.Seed(t)), Faults: memnet.Faults{Latency: 200 * time.Microsecond}}),
		calls:     labrpc.MakeNetworkSeed(testkit.Seed(t)),
		disks:     make(map[string]*memstore.Store),
		logs:      make(map[string]*simdisk.Disk),
		processes: make(map[string]*process),
		sides:     make(map[string]int),
		links:     make(map[string]link),
		hosts:     core.NodeID(processes),
		joined:    make(map[string]bool),
		levels:    make(map[string]int),
	}
	for i := range processes {
		m := shardstore.Member{Name: fmt.Sprint("n", i+1), ID: core.NodeID(i + 1)}
		w.members = append(w.members, m)
		w.disks[m.Name] = memstore.New(node.Identity{Cluster: "test", Host: m.ID})
	}
	return w
}

// end ends the processes in order, and then the network.
func (w *world) end() {
	for _, p := range w.running() {
		p.HandOver(context.Background())
		require.NoError(w, w.stop(p))
	}
	w.calls.Cleanup()
	time.Sleep(10 * time.Second) // calls end
}

// start starts a process on its disk.
func (w *world) start(member string) {
	w.Helper()
	p := &process{member: member, world: w}
	var err error
	storage := w.storage(member)
	p.host, err = node.NewHost(node.HostConfig{Storage: storage, Transport: w.raft.Join(storage.Identity().Host)})
	require.NoError(w, err)
	p.Part, err = shardstore.Start(shardstore.Config{
		Host: p.host, Name: member, Roster: shardstore.NewRoster(w.members), Groups: w.groups, Network: p, SnapshotBytes: w.bytes,
		Join: w.joined[member], Level: w.levels[member],
	})
	require.NoError(w, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processes[member] = p
}

// newcomer starts a process without data that is to join the store.
func (w *world) newcomer(member string) shardstore.Member {
	w.Helper()
	w.hosts++
	w.disks[member], w.joined[member] = memstore.New(node.Identity{Cluster: "test", Host: w.hosts}), true
	w.start(member)
	return shardstore.Member{Name: member, ID: w.hosts}
}

// storage opens the storage of a process.
func (w *world) storage(member string) node.Storage {
	w.Helper()
	if w.logs[member] == nil {
		return w.disks[member]
	}
	store, err := wal.OpenIn(w.logs[member], wal.Options{Identity: w.disks[member].Identity(), SegmentBytes: 1 << 20})
	require.NoError(w, err)
	return store
}

// useDisk has a process that has not run start with a log on a disk.
func (w *world) useDisk(member string) *simdisk.Disk {
	w.Helper()
	w.logs[member] = simdisk.New()
	require.NoError(w, wal.CreateIn(w.logs[member], wal.Options{Identity: w.disks[member].Identity(), SegmentBytes: 1 << 20}))
	return w.logs[member]
}

// crash ends a process like a loss of power.
func (w *world) crash(member string) {
	w.Helper()
	p := w.processes[member]
	if w.logs[member] != nil {
		w.logs[member] = w.logs[member].Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose})
		require.ErrorIs(w, w.stop(p), simdisk.ErrCrashed)
		return
	}
	w.disks[member] = w.disks[member].Reopen() // the process saves nothing more
	require.ErrorIs(w, w.stop(p), node.ErrStorageClosed)
}

// stop takes a process off the network, and ends the process.
func (w *world) stop(p *process) error {
	w.mu.Lock()
	for _, name := range p.served {
		w.calls.DeleteServer(name)
	}
	for id, l := range w.links {
		if l.from == p.member {
			w.calls.Enable(id, false)
			delete(w.links, id)
		}
	}
	delete(w.processes, p.member)
	w.mu.Unlock()
	p.Kill()
	err := p.host.Close()
	p.Wait()
	return err
}

// process returns a running process.
func (w *world) process(member string) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.processes[member]
}

// running returns the running processes, in order.
func (w *world) running() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*process
	for _, name := range slices.Sorted(maps.Keys(w.processes)) {
		all = append(all, w.processes[name])
	}
	return all
}

// partition splits the processes. A process reaches only the processes on its side.
func (w *world) partition(sides map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sides = sides
	parts := make([][]core.NodeID, 2)
	for _, m := range w.members {
		parts[sides[m.Name]] = append(parts[sides[m.Name]], m.ID)
	}
	w.raft.Partition(parts...)
	for id, l := range w.links {
		w.calls.Enable(id, w.open(l))
	}
}

func (w *world) open(l link) bool { return w.sides[l.from] == w.sides[l.to] }

// MakeEnd implements shardstore.Network.
func (p *process) MakeEnd(server string) *labrpc.ClientEnd {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	to, _, _ := strings.Cut(server, "/")
	w.made++
	id := fmt.Sprintf("%s>%s#%d", p.member, server, w.made)
	end := w.calls.MakeEnd(id)
	w.calls.Connect(id, server)
	w.links[id] = link{p.member, to}
	w.calls.Enable(id, w.open(w.links[id]))
	return end
}

// Serve implements shardstore.Network.
func (p *process) Serve(server string, rs *labrpc.Server) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.served = append(p.served, server)
	p.world.calls.AddServer(server, rs)
}

// settle waits until all groups serve their shards, as the running processes see it.
func (w *world) settle() shardstore.Layout {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	p := w.running()[0]
	require.NoError(w, p.Settled(ctx))
	l, err := p.Layout(ctx)
	require.NoError(w, err)
	return l
}
