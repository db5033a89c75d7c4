package node_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal/simdisk"
)

// postponements counts the events of snapshots without room.
type postponements struct {
	mu     sync.Mutex
	events []node.Event
}

func (p *postponements) observe(e node.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == node.SnapshotPostponed {
		p.events = append(p.events, e)
	}
}

func (p *postponements) all() []node.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// fill leaves a disk more bytes of room.
func (c *cluster) fill(id core.NodeID, more int64) {
	c.disks[id].SetCapacity(c.disks[id].Used() + more)
}

// crash ends a host whose machine loses power, and starts the host again.
func (c *cluster) crash(id core.NodeID) *node.Node {
	c.Helper()
	disk := c.disks[id]
	c.disks[id] = disk.Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose})
	_ = c.nodes[id].Close() // the disk is gone
	return c.start(id)
}

// A full disk costs a member its snapshots, and not its life. The member keeps the log,
// says so, tries again after longer and longer times, and loses nothing.
func TestFullDiskPostponesSnapshots(t *testing.T) {
	var seen postponements
	prepare := func(c *cluster) {
		c.disks = make(map[core.NodeID]*simdisk.Disk)
		c.host.Observe = seen.observe
	}
	runWith(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: 5}, prepare, func(c *cluster) {
		leader := c.leader()
		id := leader.ID()
		time.Sleep(time.Second) // the log has the next segment
		c.fill(id, 0)
		for i := range 60 {
			c.propose(fmt.Sprint(i))
		}
		testkit.WaitFor(c, time.Second, "a snapshot without room", leader.NoRoom)
		begun := time.Now()
		require.ErrorIs(c, leader.Snapshot(ctx), node.ErrNoRoom)
		require.ErrorIs(c, leader.Snapshot(ctx), syscall.ENOSPC)
		time.Sleep(10*time.Minute - time.Since(begun))
		require.NoError(c, leader.Err())
		require.NoError(c, leader.Host().Err())
		st, err := leader.Status(ctx)
		require.NoError(c, err)
		require.True(c, st.NoRoom)
		require.Zero(c, st.SnapshotIndex)
		attempts := leader.Stats().SnapshotsPostponed
		require.InDelta(c, 16, attempts, 4, "attempts in ten minutes")
		events := seen.all()
		require.EqualValues(c, attempts, len(events))
		require.ErrorIs(c, events[0].Err, node.ErrNoRoom)
		require.Positive(c, events[0].Index)
		for i := range 60 {
			c.propose(fmt.Sprint(60 + i))
		}
		names, err := c.disks[id].List()
		require.NoError(c, err)
		require.False(c, slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, ".snap") }), "%v", names)

		c.disks[id].SetCapacity(-1)
		testkit.WaitFor(c, 2*time.Minute, "a snapshot by itself", func() bool { return leader.Stats().SnapshotsSaved > 0 })
		require.False(c, leader.NoRoom())
		require.Greater(c, c.snapshotIndex(leader), uint64(100), "the log is compacted")
		for i := range 60 {
			c.propose(fmt.Sprint(120 + i))
		}
		testkit.WaitFor(c, time.Minute, "snapshots as before", func() bool { return leader.Stats().SnapshotsSaved > 2 })
		c.crash(id)
		require.Len(c, c.agree(180), 180)
	})
}

// What the log acknowledges survives a power cut while the disk is full.
func TestPowerCutOnAFullDisk(t *testing.T) {
	runOnDisks(t, 1, node.Config{SnapshotEntries: 20, TrailingEntries: 5}, func(c *cluster) {
		c.leader()
		time.Sleep(time.Second)
		c.fill(1, 0)
		for i := range 50 {
			c.propose(fmt.Sprint(i))
		}
		testkit.WaitFor(c, time.Second, "a snapshot without room", c.nodes[1].NoRoom)
		c.crash(1)
		require.Len(c, c.agree(50), 50)
		require.False(c, c.nodes[1].NoRoom())
		c.propose("50")
	})
}

// A disk without room for the log stops the host.
func TestFullDiskStopsTheLog(t *testing.T) {
	runOnDisks(t, 1, node.Config{SnapshotEntries: 20}, func(c *cluster) {
		leader := c.leader()
		c.fill(1, 0)
		var err error
		for i := 0; err == nil && i < 100; i++ {
			_, err = leader.Propose(ctx, make([]byte, diskSegment/16))
		}
		require.ErrorIs(c, err, node.ErrStopped)
		require.ErrorIs(c, leader.Host().Err(), syscall.ENOSPC)
		c.disks[1].SetCapacity(-1)
		_, err = leader.Propose(ctx, []byte("again"))
		require.ErrorIs(c, err, node.ErrStopped, "a host that has failed stays so")
	})
}

// A follower without room for the leader's snapshot goes on as a follower, wherever in
// the snapshot the room ends, and takes the snapshot later.
func TestFullDiskPostponesTheLeadersSnapshot(t *testing.T) {
	const commands, size = 200, 1000
	for name, room := range map[string]func(size int64) int64{
		"no room":               func(int64) int64 { return 0 },
		"half of the room":      func(size int64) int64 { return size / 2 },
		"room but for one byte": func(size int64) int64 { return size - 1 },
		"no room for the name":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			config := node.Config{SnapshotEntries: 50, TrailingEntries: -1, SnapshotChunkBytes: 16 << 10}
			runOnDisks(t, 3, config, func(c *cluster) {
				follower := c.follower()
				id := follower.ID()
				time.Sleep(time.Second)
				c.network.Partition([]core.NodeID{id})
				for i := range commands {
					c.propose(fmt.Sprintf("%0*d", size, i))
				}
				require.NoError(c, c.leader().Snapshot(ctx))
				if room != nil {
					c.fill(id, room(c.leader().Host().Stats().Storage.Snapshots))
				} else {
					c.disks[id].FailNames(syscall.ENOSPC)
				}
				c.network.Heal()
				testkit.WaitFor(c, time.Minute, "the leader's snapshot", func() bool { return follower.Stats().SnapshotsPostponed > 0 })
				sent := c.leader().Stats().SnapshotBytesSent
				time.Sleep(5 * time.Minute)
				require.NoError(c, follower.Err())
				require.True(c, follower.NoRoom())
				require.InDelta(c, 10, follower.Stats().SnapshotsPostponed, 4, "attempts in five minutes")
				leader, _ := follower.Leader()
				require.Equal(c, c.leader().ID(), leader)
				require.Less(c, c.leader().Stats().SnapshotBytesSent-sent, int64(40*commands*size), "the leader does not send at full speed")

				c.disks[id].SetCapacity(-1)
				c.disks[id].FailNames(nil)
				testkit.WaitFor(c, 3*time.Minute, "the snapshot", func() bool { return follower.Stats().SnapshotsInstalled > 0 })
				require.False(c, follower.NoRoom())
				c.propose("last")
				c.agree(commands + 1)
				c.crash(id)
				c.agree(commands + 1)
			})
		})
	}
}

// brokenStore is a storage whose snapshots fail.
type brokenStore struct {
	node.Storage
	err error
}

func (s *brokenStore) CreateSnapshot(id node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	w, err := s.Storage.CreateSnapshot(id, header)
	return &brokenWriter{w, s.err}, err
}

type brokenWriter struct {
	node.SnapshotWriter
	err error
}

func (w *brokenWriter) Commit() (node.SnapshotHeader, error) { return node.SnapshotHeader{}, w.err }

// hidingView is a view that has an error of its own for any error of the writer.
type hidingView struct{ commands []string }

func (v hidingView) WriteTo(w io.Writer) (int64, error) {
	if _, err := (journalView{commands: v.commands}).WriteTo(w); err != nil {
		return 0, errors.New("the view has failed")
	}
	return 0, nil
}

type hidingJournal struct{ *journal }

func (j hidingJournal) Snapshot() (io.WriterTo, error) { return hidingView{j.all()}, nil }

// Any other error of a snapshot stops the member, also an ENOSPC of which the storage
// does not say that nothing else is in doubt.
func TestOtherErrorsOfASnapshotStopTheMember(t *testing.T) {
	for _, broken := range []error{syscall.EIO, syscall.ENOSPC, node.ErrDamaged} {
		run(t, 1, node.Config{}, func(c *cluster) {
			c.stop(1)
			host, config := c.host, c.config
			host.Storage, host.Transport = &brokenStore{c.stores[1].Reopen(), broken}, c.network.Join(1)
			config.StateMachine = &journal{}
			n, err := node.Start(host, config)
			require.NoError(c, err)
			c.nodes[1] = n
			c.propose("command")
			require.ErrorIs(c, n.Snapshot(ctx), node.ErrStopped)
			require.ErrorIs(c, n.Err(), broken)
			require.Zero(c, n.Stats().SnapshotsPostponed)
		})
	}
}

// A state machine may hide the error of the storage.
func TestViewThatHidesAFullDisk(t *testing.T) {
	runOnDisks(t, 1, node.Config{}, func(c *cluster) {
		c.stop(1)
		host, config := c.host, c.config
		host.Storage, host.Transport = c.storage(1), c.network.Join(1)
		config.StateMachine = hidingJournal{&journal{}}
		n, err := node.Start(host, config)
		require.NoError(c, err)
		c.nodes[1] = n
		c.propose(strings.Repeat("x", 100_000)) // more than a block
		c.fill(1, 0)
		require.ErrorIs(c, n.Snapshot(ctx), node.ErrNoRoom)
		c.disks[1].SetCapacity(-1)
		require.NoError(c, n.Snapshot(ctx))
		require.False(c, n.NoRoom())
	})
}

// A service that chooses the moments of snapshots gets the error, and tries again itself.
func TestSaveSnapshotOnAFullDisk(t *testing.T) {
	runOnDisks(t, 1, node.Config{SnapshotEntries: -1, SnapshotBytes: -1}, func(c *cluster) {
		leader := c.leader()
		place := c.propose("command").Index
		view := journalView{commands: c.states[1].all()}
		time.Sleep(time.Second)
		c.fill(1, 0)
		require.ErrorIs(c, leader.SaveSnapshot(ctx, place, view), node.ErrNoRoom)
		require.True(c, leader.NoRoom())
		time.Sleep(10 * time.Minute)
		require.EqualValues(c, 1, leader.Stats().SnapshotsPostponed)
		c.propose("another")
		c.disks[1].SetCapacity(-1)
		require.NoError(c, leader.SaveSnapshot(ctx, place, view))
		require.False(c, leader.NoRoom())
		c.crash(1)
		c.agree(2)
	})
}
