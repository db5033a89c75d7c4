package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// fullLeader returns a leader without a majority whose uncommitted commands fill
// Config.MaxPendingBytes, though no command of Propose is pending.
func fullLeader(c *cluster) *node.Node {
	c.Helper()
	leader := c.leader()
	c.network.Partition([]core.NodeID{leader.ID()})
	_, _, err := leader.Append(make([]byte, 600))
	require.NoError(c, err)
	return leader
}

var bounded = node.Config{MaxPendingBytes: 1000, ElectionTimeout: 10 * time.Second}

// proposeBeside proposes on another goroutine.
func proposeBeside(ctx context.Context, n *node.Node, command []byte) <-chan error {
	outcome := make(chan error, 1)
	go func() {
		_, err := n.Propose(ctx, command)
		outcome <- err
	}()
	return outcome
}

// end waits for the end of a call.
func end(c *cluster, outcome <-chan error) error {
	c.Helper()
	select {
	case err := <-outcome:
		return err
	case <-time.After(time.Minute):
		c.Fatal("the call does not end")
		return nil
	}
}

// Propose waits while the uncommitted commands of others fill the bound, and a future
// ends when there was room.
func TestProposeWaitsForUncommittedCommands(t *testing.T) {
	run(t, 3, bounded, func(c *cluster) {
		leader := fullLeader(c)
		outcome := proposeBeside(ctx, leader, make([]byte, 500))
		testkit.Settle()
		future, err := leader.ProposeAsync(make([]byte, 450))
		require.NoError(c, err)
		time.Sleep(time.Second)
		require.Empty(c, outcome)
		_, err = leader.ProposeAsync(make([]byte, 100))
		require.ErrorIs(c, err, node.ErrQueueFull)
		_, _, err = leader.Append([]byte("x")) // would overtake
		require.ErrorIs(c, err, node.ErrQueueFull)
		c.network.Heal()
		require.NoError(c, end(c, outcome))
		_, err = future.Result()
		require.NoError(c, err)
		sizes := make([]int, 3)
		for i, command := range c.agree(3) {
			sizes[i] = len(command)
		}
		require.Equal(c, []int{600, 500, 450}, sizes)
	})
}

// A command whose proposer goes while the command waits has no effect.
func TestProposeWaitsUntilItsContextEnds(t *testing.T) {
	run(t, 3, bounded, func(c *cluster) {
		leader := fullLeader(c)
		cause := errors.New("no time left")
		short, cancel := context.WithTimeoutCause(ctx, time.Second, cause)
		defer cancel()
		_, err := leader.Propose(short, make([]byte, 500))
		require.ErrorIs(c, err, cause)
		require.ErrorIs(c, err, node.ErrRefused)
		require.NotErrorIs(c, err, node.ErrUnknown)
		c.network.Heal()
		// The room of the other command is free.
		require.NoError(c, end(c, proposeBeside(ctx, leader, make([]byte, 900))))
		require.Len(c, c.agree(2), 2)
	})
}

func TestWaitForRoomEndsWithTheLeadership(t *testing.T) {
	run(t, 3, bounded, func(c *cluster) {
		leader := fullLeader(c)
		waiting := proposeBeside(ctx, leader, make([]byte, 500)) // for the core
		testkit.Settle()
		queued := proposeBeside(ctx, leader, make([]byte, 700)) // for the other command
		future, err := leader.ProposeAsync(make([]byte, 500))
		require.NoError(c, err)
		_, err = future.Result()
		for _, err := range []error{err, end(c, waiting), end(c, queued)} {
			require.ErrorIs(c, err, node.ErrNotLeader)
			require.ErrorIs(c, err, node.ErrRefused)
		}
		require.False(c, leader.IsLeader())
	})
}

// A state machine that hangs keeps the commands of a lost leadership pending. Others do
// not wait for their room.
func TestWaitForRoomEndsWithTheLeadershipOfAHungStateMachine(t *testing.T) {
	run(t, 3, node.Config{MaxPending: 1}, func(c *cluster) {
		leader := c.leader()
		hung, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		c.states[leader.ID()].apply = func(node.Command) { once.Do(func() { close(hung); <-release }) }
		pending := proposeBeside(ctx, leader, []byte("hangs"))
		<-hung
		waiting := proposeBeside(ctx, leader, []byte("waits"))
		testkit.Settle()
		require.Empty(c, waiting)
		c.network.Partition([]core.NodeID{leader.ID()})
		require.ErrorIs(c, end(c, waiting), node.ErrNotLeader)
		require.Empty(c, pending)
		close(release)
		require.NoError(c, end(c, pending))
	})
}

func TestWaitForRoomEndsWithTheMember(t *testing.T) {
	run(t, 3, bounded, func(c *cluster) {
		leader := fullLeader(c)
		waiting := proposeBeside(ctx, leader, make([]byte, 500))
		testkit.Settle()
		queued := proposeBeside(ctx, leader, make([]byte, 700))
		testkit.Settle()
		c.stop(leader.ID())
		for _, err := range []error{end(c, waiting), end(c, queued)} {
			require.ErrorIs(c, err, node.ErrStopped)
			require.ErrorIs(c, err, node.ErrRefused)
		}
	})
}

// Under a load above the bounds, Propose and futures are never refused for want of room.
func TestOnlyCallsThatAskForItAreRefusedForWantOfRoom(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprint(members, " members"), func(t *testing.T) {
			run(t, members, node.Config{MaxPending: 64, MaxPendingBytes: 2000, MaxBatchBytes: 500}, func(c *cluster) {
				leader := c.leader()
				limited, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				var load sync.WaitGroup
				var appended, refused int
				load.Go(func() {
					for range 2000 {
						_, _, err := leader.Append(make([]byte, 90))
						if err == nil {
							appended++
						} else if refused++; !errors.Is(err, node.ErrQueueFull) {
							c.Error(err)
						}
						if appended%10 == 0 {
							time.Sleep(latency)
						}
					}
				})
				const clients, each = 10, 200
				for client := range clients {
					load.Go(func() {
						for i := range each {
							command := make([]byte, 1+(37*i+101*client)%700)
							if i%2 == 0 {
								if _, err := leader.Propose(limited, command); err != nil {
									c.Error(err)
									return
								}
								continue
							}
							future, err := leader.ProposeAsync(command)
							for errors.Is(err, node.ErrQueueFull) {
								time.Sleep(latency)
								future, err = leader.ProposeAsync(command)
							}
							if err != nil {
								c.Error(err)
								return
							}
							select {
							case <-future.Done():
								_, err = future.Result()
							case <-limited.Done():
								err = limited.Err()
							}
							if err != nil {
								c.Error(err)
								return
							}
						}
					})
				}
				load.Wait()
				testkit.WaitFor(c, 30*time.Second, "the last commands", func() bool {
					return len(c.states[leader.ID()].all()) == appended+clients*each
				})
				require.Positive(c, appended)
				t.Logf("%d of Append, %d refused", appended, refused)
			})
		})
	}
}
