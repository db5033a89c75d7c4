package node_test

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// trap ends the goroutine of the first caller after trap is armed.
type trap struct {
	armed atomic.Bool
	end   func()
}

func (t *trap) step() {
	if t.armed.CompareAndSwap(true, false) {
		t.end()
	}
}

type trappedTransport struct {
	node.Transport
	send, remove *trap
}

func (t trappedTransport) Send(to core.NodeID, messages []node.Message) {
	t.send.step()
	t.Transport.Send(to, messages)
}

func (t trappedTransport) RemovePeer(id core.NodeID) {
	t.remove.step()
	t.Transport.RemovePeer(id)
}

type trappedStorage struct {
	node.Storage
	save, entries, create, open, close *trap
}

func (s trappedStorage) Save(updates []node.Update) error {
	s.save.step()
	return s.Storage.Save(updates)
}

func (s trappedStorage) Entries(group node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	s.entries.step()
	return s.Storage.Entries(group, lo, hi, maxBytes)
}

func (s trappedStorage) CreateSnapshot(group node.GroupID, header node.SnapshotHeader) (node.SnapshotWriter, error) {
	s.create.step()
	return s.Storage.CreateSnapshot(group, header)
}

func (s trappedStorage) OpenSnapshot(group node.GroupID) (node.SnapshotReader, error) {
	s.open.step()
	r, err := s.Storage.OpenSnapshot(group)
	return trappedReader{r, s.close}, err
}

type trappedReader struct {
	node.SnapshotReader
	close *trap
}

func (r trappedReader) Close() error {
	defer r.close.step()
	return r.SnapshotReader.Close()
}

// volatileStorage keeps the face of memstore, whose saves run on the cores' goroutines.
type volatileStorage struct{ trappedStorage }

func (volatileStorage) Volatile() bool { return true }

// startTrapped starts a host with a trap everywhere. next is the trap to arm.
func (c *cluster) startTrapped(id core.NodeID, where string, end func()) (n *node.Node, next *trap) {
	c.Helper()
	c.stop(id)
	next = &trap{end: end}
	at := func(name string) *trap {
		if name == where {
			return next
		}
		return &trap{}
	}
	host, config := c.host, c.config
	storage := trappedStorage{nil, at("Save"), at("Entries"), at("CreateSnapshot"), at("OpenSnapshot"), at("SnapshotReader.Close")}
	host.Storage = &storage
	if c.disks == nil {
		c.stores[id] = c.stores[id].Reopen()
		storage.Storage = c.stores[id]
		host.Storage = volatileStorage{storage}
	} else {
		storage.Storage = c.storage(id)
	}
	host.Transport = trappedTransport{c.network.Join(id), at("Send"), at("RemovePeer")}
	sent, received := at("Trace.Sent"), at("Trace.Received")
	host.Trace = &node.Trace{
		Sent:     func(node.TraceMessage) { sent.step() },
		Received: func(node.TraceMessage) { received.step() },
	}
	c.states[id] = &journal{}
	config.StateMachine = c.states[id]
	n, err := node.Start(host, config)
	require.NoError(c, err)
	c.nodes[id] = n
	return n, next
}

// lead makes a host the leader.
func (c *cluster) lead(id core.NodeID) *node.Node {
	c.Helper()
	testkit.WaitFor(c, 30*time.Second, "the leadership", func() bool {
		leader := c.leader()
		return leader.ID() == id || leader.TransferLeadership(ctx, id) == nil && c.nodes[id].IsLeader() && confirmed(c.nodes[id])
	})
	return c.nodes[id]
}

// runtime.Goexit in the storage, the transport or a hook stops the host with an error.
// Every call ends, except one on the goroutine that has ended, and Close returns.
func TestGoexitStopsTheHost(t *testing.T) {
	for _, where := range []string{"Save", "Entries", "CreateSnapshot", "OpenSnapshot", "SnapshotReader.Close", "Send", "RemovePeer", "Trace.Sent", "Trace.Received"} {
		for name, run := range map[string]func(*testing.T, int, node.Config, func(*cluster)){"memory": run, "disk": runOnDisks} {
			t.Run(where+" "+name, func(t *testing.T) {
				run(t, 3, node.Config{MaxCacheBytes: 100, SnapshotEntries: -1, SnapshotBytes: -1, TrailingEntries: 5}, func(c *cluster) {
					n, trap := c.startTrapped(1, where, runtime.Goexit)
					c.lead(1)
					for range 10 {
						c.propose("before")
					}
					behind := core.NodeID(2)
					c.network.Partition([]core.NodeID{behind})
					for range 10 {
						c.propose("before")
					}
					if strings.Contains(where, "Snapshot") && where != "CreateSnapshot" {
						require.NoError(c, n.Snapshot(ctx)) // for the host that is behind
					}
					trap.armed.Store(true)
					var calls sync.WaitGroup
					for range 20 {
						calls.Go(func() { _, _ = n.Propose(ctx, []byte("x")) })
						calls.Go(func() { _, _ = n.ReadIndex(ctx) })
						calls.Go(func() { _, _ = n.Status(ctx) })
					}
					calls.Go(func() { _ = n.Snapshot(ctx) })
					c.network.Heal()
					if where == "RemovePeer" {
						calls.Go(func() { _ = n.ChangeMembers(ctx, node.Remove(behind)) })
					}
					select {
					case <-n.Done():
					case <-time.After(time.Minute):
						c.Fatal("the host goes on")
					}
					var exit *node.ExitError
					require.ErrorAs(c, n.Err(), &exit)
					require.Contains(c, string(exit.Stack), "step")
					testkit.WaitFor(c, time.Minute, "the end of the host", func() bool { return n.Host().Err() != nil })
					calls.Wait()
					require.NoError(c, n.Close())
					delete(c.nodes, 1)
					if where != "RemovePeer" {
						c.propose("after")
					}
				})
			})
		}
	}
}

// exitingTransport holds the first message after hold is set, and ends the goroutine that
// sends anything to a stranger.
type exitingTransport struct {
	node.Transport
	receiver    node.Receiver
	hold        atomic.Bool
	held, freed chan struct{}
}

const stranger = 9

func (t *exitingTransport) Start(self node.Identity, r node.Receiver) error {
	t.receiver = r
	return t.Transport.Start(self, r)
}

func (t *exitingTransport) Send(to core.NodeID, messages []node.Message) {
	if to == stranger {
		runtime.Goexit()
	}
	if t.hold.CompareAndSwap(true, false) {
		close(t.held)
		<-t.freed
	}
	t.Transport.Send(to, messages)
}

// Calls behind the message whose refusal ends the goroutine end, too. The message and the
// calls come while the core is held, so that one run of the core takes them all.
func TestGoexitBeforeCallsAreTaken(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.stop(1)
		transport := &exitingTransport{Transport: c.network.Join(1), held: make(chan struct{}), freed: make(chan struct{})}
		host, config := c.host, c.config
		c.stores[1] = c.stores[1].Reopen()
		host.Storage, host.Transport = c.stores[1], transport
		c.states[1] = &journal{}
		config.StateMachine = c.states[1]
		n, err := node.Start(host, config)
		require.NoError(c, err)
		c.nodes[1] = n
		c.lead(1)
		transport.hold.Store(true)
		<-transport.held
		forged := node.Message{Group: 1, Call: 7, Body: &core.RequestVote{Term: 1, CandidateID: 2}}
		transport.receiver.Receive(stranger, []node.Message{forged})
		const each = 5
		proposed, read, asked := make(chan error, each), make(chan error, each), make(chan error, each)
		for range each {
			go func() { _, err := n.Propose(ctx, []byte("x")); proposed <- err }()
			go func() { _, err := n.ReadIndex(ctx); read <- err }()
			go func() { _, err := n.Status(ctx); asked <- err }()
		}
		time.Sleep(latency) // for the calls to wait
		close(transport.freed)
		for range each {
			require.ErrorIs(c, <-proposed, node.ErrRefused)
			require.ErrorIs(c, <-read, node.ErrStopped)
			require.ErrorIs(c, <-asked, node.ErrStopped)
		}
		require.NoError(c, n.Close())
		delete(c.nodes, 1)
		c.propose("after")
	})
}

// A panic of a hook on a proposer's goroutine stops the host, even if a function up the
// stack recovers.
func TestRecoveredPanicStopsTheHost(t *testing.T) {
	for _, where := range []string{"Send", "Trace.Sent", "Save"} {
		t.Run(where, func(t *testing.T) {
			run(t, 3, node.Config{}, func(c *cluster) {
				bad := errors.New("a bad hook")
				n, trap := c.startTrapped(1, where, func() { panic(bad) })
				c.lead(1)
				trap.armed.Store(true)
				func() {
					defer func() { require.Equal(c, bad, recover()) }()
					_, _ = n.Propose(ctx, []byte("x"))
				}()
				var exit *node.ExitError
				require.ErrorAs(c, n.Err(), &exit)
				_, err := n.Propose(ctx, []byte("x"))
				require.ErrorIs(c, err, node.ErrStopped)
				require.NoError(c, n.Close())
				delete(c.nodes, 1)
				c.propose("after")
			})
		})
	}
}

// Observe may end its goroutine. The events go on.
func TestGoexitOfTheObserver(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		var events atomic.Int64
		c.host.Observe = func(node.Event) { events.Add(1); runtime.Goexit() }
		n := c.restartWith(1, &journal{})
		c.leader()
		before := events.Load()
		require.NoError(c, n.ChangeMembers(ctx, node.SetAddress(1, "memnet:1b")))
		testkit.WaitFor(c, time.Second, "another event", func() bool { return events.Load() > before })
		require.NoError(c, n.Close())
		delete(c.nodes, 1)
	})
}
