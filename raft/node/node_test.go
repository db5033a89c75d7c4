package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
)

var ctx = context.Background()

func TestProposeReturnsTheResultOfTheStateMachine(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		for i := 1; i <= 10; i++ {
			r, err := leader.Propose(ctx, fmt.Append(nil, "c", i))
			require.NoError(c, err)
			require.Equal(c, fmt.Sprint(i), string(r.Data))
		}
		f, err := leader.ProposeAsync([]byte("later"))
		require.NoError(c, err)
		<-f.Done()
		r, err := f.Result()
		require.NoError(c, err)
		require.Equal(c, "11", string(r.Data))
		require.Equal(c, "later", c.agree(11)[10])
	})
}

func TestFollowerRefusesAndNamesTheLeader(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		_, err := c.follower().Propose(ctx, []byte("x"))
		require.ErrorIs(c, err, node.ErrNotLeader)
		require.ErrorIs(c, err, node.ErrRefused)
		require.NotErrorIs(c, err, node.ErrUnknown)
		var notLeader *node.NotLeaderError
		require.ErrorAs(c, err, &notLeader)
		require.Equal(c, leader.ID(), notLeader.Leader)
		require.Equal(c, fmt.Sprintf("memnet:%d", leader.ID()), notLeader.Address)
	})
}

func TestCommandAboveTheLimitIsRefused(t *testing.T) {
	run(t, 1, node.Config{MaxCommandBytes: 10}, func(c *cluster) {
		_, err := c.leader().Propose(ctx, make([]byte, 11))
		require.ErrorIs(c, err, node.ErrTooLarge)
		require.ErrorIs(c, err, node.ErrRefused)
		require.ErrorContains(c, err, "11 bytes; the limit is 10")
		_, err = c.leader().Propose(ctx, make([]byte, 10))
		require.NoError(c, err)
	})
}

func TestLeaderFailsOver(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		c.propose("before")
		old := c.leader()
		c.stop(old.ID())
		c.propose("after")
		require.NotEqual(c, old.ID(), c.leader().ID())
		c.start(old.ID())
		require.Equal(c, []string{"before", "after"}, c.agree(2))
	})
}

func TestCutOffLeaderReportsAnUnknownOutcome(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		old := c.leader()
		c.network.Partition([]core.NodeID{old.ID()})
		_, err := old.Propose(ctx, []byte("lost"))
		require.ErrorIs(c, err, node.ErrUnknown)
		require.ErrorIs(c, err, node.ErrLeadershipLost)
		require.NotErrorIs(c, err, node.ErrRefused)
		c.network.Heal()
		c.propose("kept")
		require.Equal(c, []string{"kept"}, c.agree(1))
	})
}

func TestProposeEndsWithItsContext(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		c.network.Partition([]core.NodeID{leader.ID()})
		cause := errors.New("no time left")
		ctx, cancel := context.WithTimeoutCause(ctx, 100*time.Millisecond, cause)
		defer cancel()
		_, err := leader.Propose(ctx, []byte("x"))
		require.ErrorIs(c, err, cause)
		require.ErrorIs(c, err, node.ErrUnknown)
	})
}

// A command whose caller has gone has no effect.
func TestEndedContextRefusesACommand(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		leader := c.leader()
		ended, cancel := context.WithCancelCause(ctx)
		cause := errors.New("the caller has gone")
		cancel(cause)
		for range 10 {
			_, err := leader.Propose(ended, []byte("late"))
			require.ErrorIs(c, err, cause)
			require.ErrorIs(c, err, node.ErrRefused)
		}
		c.propose("in time")
		require.Equal(c, []string{"in time"}, c.states[1].all())
	})
}

func TestPendingCommandsAreBounded(t *testing.T) {
	run(t, 3, node.Config{MaxPending: 4, MaxPendingBytes: 100}, func(c *cluster) {
		leader := c.leader()
		c.network.Partition([]core.NodeID{leader.ID()})
		for range 4 {
			_, err := leader.ProposeAsync([]byte("x"))
			require.NoError(c, err)
		}
		_, err := leader.ProposeAsync([]byte("x"))
		require.ErrorIs(c, err, node.ErrQueueFull)
		require.ErrorIs(c, err, node.ErrRefused)
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err = leader.Propose(short, []byte("x"))
		require.ErrorIs(c, err, node.ErrRefused)
		require.ErrorIs(c, err, context.DeadlineExceeded)
		c.network.Heal()
		testkit.WaitFor(c, 30*time.Second, "room", func() bool {
			_, err := c.leader().Propose(ctx, make([]byte, 100))
			return err == nil
		})
	})
}

// Who has a result is not refused for the command that the result is of, and finds the
// command among those applied.
func TestResultComesLast(t *testing.T) {
	run(t, 1, node.Config{MaxPending: 1}, func(c *cluster) {
		leader := c.leader()
		for i := range 2000 {
			result, err := leader.Propose(ctx, []byte("x"))
			require.NoError(c, err)
			require.GreaterOrEqual(c, leader.Applied(), result.Index)
			future, err := leader.ProposeAsync([]byte("x"))
			require.NoError(c, err, "command %d", 2*i)
			result, err = future.Result()
			require.NoError(c, err)
			require.GreaterOrEqual(c, leader.Applied(), result.Index)
		}
	})
}

func TestRestartRestoresSnapshotAndLog(t *testing.T) {
	run(t, 3, node.Config{SnapshotEntries: 20, TrailingEntries: 5}, func(c *cluster) {
		for i := range 105 {
			c.propose(fmt.Sprint(i))
		}
		want := c.agree(105)
		for id := core.NodeID(1); id <= 3; id++ {
			c.stop(id)
		}
		for id := core.NodeID(1); id <= 3; id++ {
			c.start(id)
		}
		c.propose("again")
		require.Equal(c, append(want, "again"), c.agree(106))
		for id := range c.nodes {
			require.Equal(c, 1, c.states[id].restores, "host %d did not begin with its snapshot", id)
		}
	})
}

func TestMemberThatIsFarBehindGetsASnapshot(t *testing.T) {
	config := node.Config{SnapshotEntries: 20, TrailingEntries: 5, SnapshotChunkBytes: 100, MaxCacheBytes: 1}
	run(t, 3, config, func(c *cluster) {
		behind := c.follower().ID()
		c.stop(behind)
		for i := range 205 {
			c.propose(fmt.Sprint(i))
		}
		c.start(behind)
		c.agree(205)
		require.Equal(c, 1, c.states[behind].restores)
	})
}

func TestMemberThatIsBehindIsServedFromTheStorage(t *testing.T) {
	run(t, 3, node.Config{MaxCacheBytes: 1}, func(c *cluster) {
		behind := c.follower().ID()
		c.stop(behind)
		for i := range 205 {
			c.propose(fmt.Sprint(i))
		}
		c.start(behind)
		c.agree(205)
		require.Zero(c, c.states[behind].restores)
	})
}

func TestReadIndexOnEveryMember(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		for i := range 20 {
			r := c.propose(fmt.Sprint(i))
			for id, n := range c.nodes {
				index, err := n.ReadIndex(ctx)
				require.NoError(c, err)
				require.GreaterOrEqual(c, index, r.Index)
				require.Len(c, c.states[id].all(), i+1, "a stale read on host %d", id)
			}
		}
	})
}

func TestReadIndexWaitsForALeader(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		n := c.follower()
		c.network.Partition([]core.NodeID{n.ID()})
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := n.ReadIndex(short)
		require.ErrorIs(c, err, context.DeadlineExceeded)
		time.AfterFunc(5*time.Second, c.network.Heal)
		_, err = n.ReadIndex(ctx)
		require.NoError(c, err)
	})
}

func TestLeaseReadsNeedNoMessages(t *testing.T) {
	run(t, 3, node.Config{LeaseDuration: 500 * time.Millisecond}, func(c *cluster) {
		leader := c.leader()
		c.propose("x")
		testkit.WaitFor(c, 5*time.Second, "a lease", func() bool {
			st, err := leader.Status(ctx)
			require.NoError(c, err)
			return st.Lease
		})
		_, err := leader.ReadIndex(ctx)
		require.NoError(c, err)
		begun := time.Now()
		_, err = leader.ReadIndex(ctx)
		require.NoError(c, err)
		require.Less(c, time.Since(begun), latency, "the leader asked the others")
	})
}

func TestStalledStorageEndsTheLeadership(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		old := c.leader()
		c.propose("before")
		release := make(chan struct{})
		c.stores[old.ID()].BeforeSave(func([]node.Update) error { <-release; return nil })
		begun := time.Now()
		_, err := old.Propose(ctx, []byte("stalled"))
		require.ErrorIs(c, err, node.ErrUnknown)
		require.ErrorIs(c, err, node.ErrLeadershipLost)
		require.ErrorIs(c, err, node.ErrStalled, "the cause of the loss")
		require.LessOrEqual(c, time.Since(begun), 2*time.Second, "more than two election timeouts")
		st, err := old.Status(ctx)
		require.NoError(c, err)
		require.True(c, st.Stalled)
		testkit.WaitFor(c, 10*time.Second, "another leader", func() bool {
			for _, n := range c.nodes {
				if n != old && n.IsLeader() {
					_, err := n.Propose(ctx, []byte("after"))
					return err == nil
				}
			}
			return false
		})
		close(release)
		c.agree(2)
		testkit.WaitFor(c, time.Second, "the storage", func() bool { return !old.Stalled() })
	})
}

func TestCloseDoesNotWaitForAStalledStorage(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		n := c.leader()
		release := make(chan struct{})
		c.stores[1].BeforeSave(func([]node.Update) error { <-release; return nil })
		f, err := n.ProposeAsync([]byte("x"))
		require.NoError(c, err)
		time.Sleep(time.Millisecond)
		require.ErrorIs(c, n.Close(), node.ErrStalled)
		_, err = f.Result()
		require.ErrorIs(c, err, node.ErrUnknown)
		require.ErrorIs(c, err, node.ErrStopped)
		require.ErrorIs(c, n.Close(), node.ErrStalled, "the storage still hangs")
		close(release)
		require.NoError(c, n.Close(), "the storage has answered")
	})
}

// unclosable is a storage that fails to close.
type unclosable struct{ *memstore.Store }

var errUnclosable = errors.New("the disk is gone")

func (s unclosable) Close() error { return errors.Join(s.Store.Close(), errUnclosable) }

// One call of Close reports a failure to close the storage.
func TestFailureToCloseIsReportedOnce(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		c.stop(1)
		config := c.config
		config.StateMachine = &journal{}
		n, err := node.Start(node.HostConfig{Storage: unclosable{c.stores[1].Reopen()}, Transport: c.network.Join(1)}, config)
		require.NoError(c, err)
		require.ErrorIs(c, n.Close(), errUnclosable)
		require.NoError(c, n.Close())
		require.NoError(c, n.Host().Close())
	})
}

// The name of the package stands once in an error, before the whole text.
func TestErrorsNameThePackageOnce(t *testing.T) {
	once := func(c *cluster, err error) {
		c.Helper()
		require.Error(c, err)
		require.Regexp(c, "^raft: ", err.Error())
		require.Equal(c, 1, strings.Count(err.Error(), "raft: "), "%v", err)
	}
	run(t, 3, node.Config{}, func(c *cluster) {
		follower, leader := c.follower(), c.leader()
		once(c, follower.TransferLeadership(ctx, core.None))
		once(c, follower.ChangeMembers(ctx, node.Remove(1)))
		once(c, leader.ChangeMembers(ctx, node.Remove(9)))
		_, err := follower.Propose(ctx, nil)
		once(c, err)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		once(c, leader.ChangeMembers(ended, node.Demote(follower.ID())))
		full := errors.New("no space left on device")
		c.stores[leader.ID()].BeforeSave(func([]node.Update) error { return full })
		_, err = leader.Propose(ctx, []byte("x"))
		once(c, err)
		once(c, leader.Err())
		config := c.config
		config.StateMachine = &journal{}
		_, err = leader.Host().Start(config)
		require.ErrorIs(c, err, node.ErrStopped)
		require.ErrorIs(c, err, full)
		once(c, err)
	})
	run(t, 1, node.Config{}, func(c *cluster) {
		c.propose("x")
		require.NoError(c, c.leader().Snapshot(ctx))
		c.stop(1)
		config := c.config
		config.StateMachine = panics{}
		_, err := node.Start(node.HostConfig{Storage: c.stores[1].Reopen(), Transport: c.network.Join(1)}, config)
		var panicked *node.PanicError
		require.ErrorAs(c, err, &panicked)
		once(c, errors.New(strings.SplitN(err.Error(), "\n", 2)[0])) // without the stack
	})
}

// panics is a state machine that cannot restore a snapshot.
type panics struct{ node.StateMachine }

func (panics) Restore(io.Reader) error { panic("a bad snapshot") }

// A state machine that does not return from Apply keeps Close for no longer than the
// CloseTimeout. A group that it belongs to does not start again before the return.
func TestCloseDoesNotWaitForABlockedStateMachine(t *testing.T) {
	for _, alone := range []bool{false, true} {
		run(t, 1, node.Config{}, func(c *cluster) {
			c.host.CloseTimeout = 3 * time.Second
			release := make(chan struct{})
			n := c.restartWith(1, &journal{apply: func(node.Command) { <-release }})
			c.leader()
			f, err := n.ProposeAsync([]byte("x"))
			require.NoError(c, err)
			time.Sleep(time.Millisecond)
			begun := time.Now()
			if alone {
				err = n.Host().Remove(1)
			} else {
				err = n.Close()
			}
			require.ErrorIs(c, err, node.ErrBlocked)
			require.NotErrorIs(c, err, node.ErrStalled)
			require.Equal(c, 3*time.Second, time.Since(begun).Round(time.Second)) // in a world calls take some time
			close(release)
			result, err := f.Result()
			require.NoError(c, err, "the command was applied")
			require.Equal(c, "1", string(result.Data))
			if alone {
				require.NoError(c, n.Host().Remove(1))
			} else {
				require.NoError(c, n.Close())
			}
		})
	}
}

// HostConfig.Observe is the service's code, too.
func TestCloseDoesNotWaitForABlockedObserver(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		release := make(chan struct{})
		c.host.Observe = func(node.Event) { <-release }
		n := c.restartWith(1, &journal{})
		c.leader()
		require.ErrorIs(c, n.Close(), node.ErrBlocked)
		close(release)
		require.NoError(c, n.Close())
	})
}

func TestFailedSaveStopsTheHost(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		old := c.leader()
		full := errors.New("no space left on device")
		c.stores[old.ID()].BeforeSave(func([]node.Update) error { return full })
		_, err := old.Propose(ctx, []byte("x"))
		require.ErrorIs(c, err, node.ErrUnknown)
		<-old.Done()
		require.ErrorIs(c, old.Err(), full)
		_, err = old.Propose(ctx, []byte("x"))
		require.ErrorIs(c, err, node.ErrStopped)
		require.NoError(c, old.Close())
		delete(c.nodes, old.ID())
		c.propose("goes on")
	})
}

func TestPanicStopsTheMember(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		c.stop(1)
		c.stores[1] = c.stores[1].Reopen()
		n := c.startWith(1, &journal{apply: func(cmd node.Command) {
			if string(cmd.Data) == "bad" {
				panic("a bad command")
			}
		}})
		c.leader()
		_, err := n.Propose(ctx, []byte("good"))
		require.NoError(c, err)
		_, err = n.Propose(ctx, []byte("bad"))
		require.ErrorIs(c, err, node.ErrUnknown)
		<-n.Done()
		var p *node.PanicError
		require.ErrorAs(c, n.Err(), &p)
		require.Equal(c, "Apply", p.Method)
		require.Equal(c, "a bad command", p.Value)
		require.Contains(c, string(p.Stack), "TestPanicStopsTheMember")
	})
}

// A state machine that ends its goroutine, as FailNow of a test does, stops the member. The
// host goes on, and Close waits for nobody.
func TestGoexitStopsTheMember(t *testing.T) {
	exit := func(node.Command) { runtime.Goexit() }
	for name, machine := range map[string]*journal{
		"Apply":   {apply: exit},
		"WriteTo": {write: runtime.Goexit},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, node.Config{SnapshotEntries: 3}, func(c *cluster) {
				c.host.Workers = 1
				n := c.restartWith(1, machine)
				c.leader()
				ended := make(chan error, 1)
				go func() { // with a quick state machine the proposer's goroutine ends
					_, err := n.Propose(ctx, []byte("exit"))
					ended <- err
				}()
				testkit.WaitFor(c, 30*time.Second, "the end of the member", func() bool { return n.Err() != nil })
				var p *node.PanicError
				require.ErrorAs(c, n.Err(), &p)
				require.Equal(c, name, p.Method)
				require.Contains(c, p.Value, "runtime.Goexit")
				config := c.config
				config.Group, config.StateMachine = 2, &journal{}
				other, err := n.Host().Start(config)
				require.NoError(c, err)
				testkit.WaitFor(c, 10*time.Second, "a leader of another group", other.IsLeader)
				_, err = other.Propose(ctx, []byte("command"))
				require.NoError(c, err)
				require.NoError(c, n.Close())
			})
		})
	}
}

// A panic in Close of a view stops the member as any other panic does.
func TestPanicWhileAViewIsClosedStopsTheMember(t *testing.T) {
	for name, end := range map[string]func(){
		"panic":  func() { panic("a bad view") },
		"Goexit": runtime.Goexit,
	} {
		for _, full := range []bool{false, true} { // a view that was written, and one that was not
			t.Run(fmt.Sprintf("%s, full disk %v", name, full), func(t *testing.T) {
				runOnDisks(t, 1, node.Config{}, func(c *cluster) {
					c.stop(1)
					n := c.startWith(1, &journal{close: end})
					c.leader()
					c.propose("x")
					if full {
						c.disks[1].SetCapacity(c.disks[1].Used())
					}
					_ = n.Snapshot(ctx) // saved, or ended with the member
					testkit.WaitFor(c, 30*time.Second, "the end of the member", func() bool { return n.Err() != nil })
					var p *node.PanicError
					require.ErrorAs(c, n.Err(), &p)
					require.Equal(c, "Close", p.Method)
					require.Contains(c, string(p.Stack), "journalView")
				})
			})
		}
	}
}

// A state machine that ends the goroutine of Start leaves the group to a later Start.
func TestGoexitDuringStartLeavesTheGroupAlone(t *testing.T) {
	run(t, 1, node.Config{}, func(c *cluster) {
		host, err := node.NewHost(node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "test", Host: 7}), Transport: c.network.Join(7)})
		require.NoError(c, err)
		config := node.Config{Members: []node.Member{{ID: 7, Address: address(7)}}, StateMachine: &journal{}}
		n, err := host.Start(config)
		require.NoError(c, err)
		require.NoError(c, n.Snapshot(ctx))
		require.NoError(c, n.Close())

		ended := make(chan struct{})
		go func() {
			defer close(ended)
			exits := config
			exits.StateMachine = exiting{&journal{}}
			_, _ = host.Start(exits)
			c.Error("Start has returned")
		}()
		<-ended
		n, err = host.Start(config)
		require.NoError(c, err)
		require.NoError(c, n.Barrier(ctx))
		require.NoError(c, host.Close())
	})
}

// exiting ends the goroutine that restores a snapshot.
type exiting struct{ *journal }

func (exiting) Restore(io.Reader) error { runtime.Goexit(); return nil }

// wrongStore is a storage that returns other entries than those asked for.
type wrongStore struct {
	*memstore.Store
	change func([]core.Entry) []core.Entry
}

func (s *wrongStore) Entries(id node.GroupID, lo, hi uint64, maxBytes int) ([]core.Entry, error) {
	entries, err := s.Store.Entries(id, lo, hi, maxBytes)
	return s.change(slices.Clone(entries)), err
}

// A member refuses to start, or stops, rather than apply other commands than the others.
func TestWrongEntriesOfTheStorageAreRefused(t *testing.T) {
	for name, change := range map[string]func([]core.Entry) []core.Entry{
		"none":    func([]core.Entry) []core.Entry { return nil },
		"shifted": func(e []core.Entry) []core.Entry { return e[min(1, len(e)-1):] },
		"a gap":   func(e []core.Entry) []core.Entry { return slices.Delete(e, min(2, len(e)), min(3, len(e))) },
		"more":    func(e []core.Entry) []core.Entry { return append(e, core.Entry{Index: e[len(e)-1].Index + 1, Term: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, node.Config{}, func(c *cluster) {
				for i := range 10 {
					c.propose(fmt.Sprint(i))
				}
				c.stop(1)
				host, config := c.host, c.config
				host.Storage, host.Transport = &wrongStore{c.stores[1].Reopen(), change}, c.network.Join(1)
				config.StateMachine = &journal{}
				n, err := node.Start(host, config)
				if err == nil {
					testkit.WaitFor(c, 30*time.Second, "the end of the member", func() bool { return n.Err() != nil })
					err = n.Err()
					require.NoError(c, n.Close())
				}
				require.ErrorIs(c, err, node.ErrDamaged)
			})
		})
	}
}

func TestCloseTwiceAndAtAnyTime(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		leader := c.leader()
		var pending []*node.Future
		for range 100 {
			f, err := leader.ProposeAsync([]byte("x"))
			require.NoError(c, err)
			pending = append(pending, f)
		}
		require.NoError(c, leader.Close())
		require.NoError(c, leader.Close())
		for _, f := range pending {
			if _, err := f.Result(); err != nil {
				require.True(c, errors.Is(err, node.ErrUnknown) || errors.Is(err, node.ErrRefused), "%v", err)
			}
		}
		_, err := leader.ReadIndex(ctx)
		require.ErrorIs(c, err, node.ErrStopped)
		_, err = leader.Status(ctx)
		require.ErrorIs(c, err, node.ErrStopped)
		require.NoError(c, leader.Err())
		delete(c.nodes, leader.ID())
	})
}

func TestBootstrapHappensOnce(t *testing.T) {
	store := memstore.New(node.Identity{Cluster: "test", Host: 1})
	members := []node.Member{{ID: 1, Address: "a"}, {ID: 2, Address: "b"}}
	require.NoError(t, node.Bootstrap(store, 1, members))
	require.ErrorIs(t, node.Bootstrap(store, 1, members), node.ErrBootstrapped)
	require.NoError(t, node.Bootstrap(store, 2, members), "another group")

	for _, tt := range []struct {
		members []node.Member
		want    string
	}{
		{nil, "no voters"},
		{[]node.Member{{ID: 2}}, "host 1 is not among the members [2]"},
		{[]node.Member{{ID: 1}, {ID: 1}}, "server 1 is named twice"},
		{[]node.Member{{ID: 1, Learner: true}}, "no voters"},
		{[]node.Member{{ID: 1, Address: strings.Repeat("x", 2000)}}, "2000 bytes"},
	} {
		err := node.Bootstrap(store, 3, tt.members)
		require.ErrorIs(t, err, node.ErrConfig)
		require.ErrorContains(t, err, tt.want)
	}
}

func TestStartNeedsAStateOrMembers(t *testing.T) {
	network := memnet.New(memnet.Options{})
	_, err := node.Start(
		node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "test", Host: 1}), Transport: network.Join(1)},
		node.Config{StateMachine: &journal{}})
	require.ErrorIs(t, err, node.ErrNotBootstrapped)
}

func TestConfigIsChecked(t *testing.T) {
	for _, tt := range []struct {
		config node.Config
		want   string
	}{
		{node.Config{}, "StateMachine is nil"},
		{node.Config{StateMachine: &journal{}, HeartbeatInterval: time.Millisecond}, "HeartbeatInterval is 1ms; want at least HostConfig.TickInterval (10ms)"},
		{node.Config{StateMachine: &journal{}, ElectionTimeout: 150 * time.Millisecond}, "ElectionTimeout is 150ms; want at least twice HeartbeatInterval (100ms)"},
		{node.Config{StateMachine: &journal{}, MaxPending: -1}, "MaxPending is -1"},
		{node.Config{StateMachine: &journal{}, LeaseDuration: time.Second}, "LeaseDuration is 1s"},
	} {
		network := memnet.New(memnet.Options{})
		_, err := node.Start(
			node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "test", Host: 1}), Transport: network.Join(1)}, tt.config)
		require.ErrorIs(t, err, node.ErrConfig)
		require.ErrorContains(t, err, tt.want)
	}
}

func TestSnapshotOnDemand(t *testing.T) {
	run(t, 3, node.Config{TrailingEntries: 1}, func(c *cluster) {
		for i := range 20 {
			c.propose(fmt.Sprint(i))
		}
		n := c.leader()
		require.NoError(c, n.Snapshot(ctx))
		st, err := n.Status(ctx)
		require.NoError(c, err)
		require.Equal(c, st.LastIndex-1, st.SnapshotIndex, "the log is compacted")
		require.NoError(c, n.Snapshot(ctx), "there is nothing new")
		id := n.ID()
		c.stop(id)
		c.start(id)
		c.agree(20)
		require.Equal(c, 1, c.states[id].restores)
	})
}

func TestGroupIsRemovedFromItsHost(t *testing.T) {
	network := memnet.New(memnet.Options{})
	store := memstore.New(node.Identity{Cluster: "test", Host: 1})
	h, err := node.NewHost(node.HostConfig{Storage: store, Transport: network.Join(1)})
	require.NoError(t, err)
	defer h.Close()
	for group := node.GroupID(1); group <= 2; group++ {
		n, err := h.Start(node.Config{Group: group, Members: []node.Member{{ID: 1}}, StateMachine: &journal{}, ElectionTimeout: 200 * time.Millisecond})
		require.NoError(t, err)
		_, err = n.ReadIndex(ctx)
		require.NoError(t, err)
	}
	_, err = h.Start(node.Config{Group: 2, StateMachine: &journal{}})
	require.ErrorIs(t, err, node.ErrStarted)
	require.NoError(t, h.Remove(2))
	require.Nil(t, h.Group(2))
	groups, err := store.Groups()
	require.NoError(t, err)
	require.Equal(t, []node.GroupID{1}, groups)
	_, err = h.Start(node.Config{Group: 2, StateMachine: &journal{}})
	require.ErrorIs(t, err, node.ErrNotBootstrapped)
	_, err = h.Group(1).Propose(ctx, []byte("x"))
	require.NoError(t, err)
}

func TestEventsAndTraceTellTheStory(t *testing.T) {
	var mu sync.Mutex
	var events []node.Event
	sent, received := 0, 0
	testkit.Run(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{Faults: memnet.Faults{Latency: latency}})
		members := []node.Member{{ID: 1}, {ID: 2}}
		var nodes []*node.Node
		for _, m := range members {
			n, err := node.Start(node.HostConfig{
				Storage: memstore.New(node.Identity{Cluster: "test", Host: m.ID}), Transport: network.Join(m.ID),
				Observe: func(e node.Event) { mu.Lock(); events = append(events, e); mu.Unlock() },
				Trace: &node.Trace{
					Sent:     func(m node.TraceMessage) { mu.Lock(); sent++; mu.Unlock() },
					Received: func(m node.TraceMessage) { mu.Lock(); received++; mu.Unlock() },
				},
			}, node.Config{Members: members, StateMachine: &journal{}})
			require.NoError(t, err)
			nodes = append(nodes, n)
		}
		_, err := nodes[0].ReadIndex(ctx)
		require.NoError(t, err)
		for _, n := range nodes {
			require.NoError(t, n.Close())
		}
		stats := nodes[0].Stats()
		require.Zero(t, stats.Dropped)
	})
	kinds := make(map[node.EventKind]int)
	leaders := 0
	for _, e := range events {
		kinds[e.Kind]++
		if e.Kind == node.RoleChanged && e.State == core.Leader {
			leaders++
		}
	}
	require.Equal(t, 1, leaders)
	require.Equal(t, 2, kinds[node.MembershipChanged])
	require.Positive(t, received)
	require.GreaterOrEqual(t, sent, received)
}

func TestStoppedMemberKnowsNoLeader(t *testing.T) {
	run(t, 3, node.Config{}, func(c *cluster) {
		for _, n := range []*node.Node{c.follower(), c.leader()} {
			require.NoError(c, n.Close())
			require.False(c, n.IsLeader())
			leader, address := n.Leader()
			require.Equal(c, core.None, leader)
			require.Empty(c, address)
			_, err := n.Propose(ctx, []byte("x"))
			require.ErrorIs(c, err, node.ErrStopped)
			require.ErrorIs(c, err, node.ErrRefused)
			_, err = n.ProposeAsync([]byte("x"))
			require.ErrorIs(c, err, node.ErrStopped)
			delete(c.nodes, n.ID())
		}
	})
}
