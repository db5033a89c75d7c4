package onnode_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/rsm"
)

// Any server answers a query, with every acknowledged command and without a log
// entry.
func TestQuery(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		_, leader := c.leader()
		c.submit(1, 1, 5)
		before, err := leader.log.Node().Status(c.Context())
		require.NoError(c, err)
		for _, s := range c.servers {
			sum, err := s.replica.Query(c.Context(), 0)
			require.NoError(c, err)
			require.EqualValues(c, 5, sum)
		}
		after, err := leader.log.Node().Status(c.Context())
		require.NoError(c, err)
		require.Equal(c, before.LastIndex, after.LastIndex)
	})
}

// A query on a server without a majority ends with its context, and on a stopped
// server at once.
func TestQueryWithoutAMajority(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		id, s := c.leader()
		c.network.Partition([]core.NodeID{id})
		ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
		defer cancel()
		_, err := s.replica.Query(ctx, 0)
		require.ErrorIs(c, err, context.DeadlineExceeded)
		c.network.Heal()
		c.stop(id)
		_, err = s.replica.Query(c.Context(), 0)
		require.ErrorIs(c, err, rsm.ErrStopped)
	})
}

// A replica that failed on a command answers no query as if it had executed the
// command.
func TestQueryOfAFailedReplica(t *testing.T) {
	run(t, rsm.Options{}, func(c *cluster) {
		_, s := c.leader()
		_, err := s.replica.Submit(c.Context(), 1, 1, poison)
		require.ErrorIs(c, err, rsm.ErrStopped)
		failed := 0
		for _, s := range c.servers {
			short, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			_, err := s.replica.Query(short, 0)
			cancel()
			if s.replica.Err() == nil { // the two others have failed before it knew of the commit
				require.ErrorIs(c, err, context.DeadlineExceeded)
				continue
			}
			require.ErrorIs(c, err, rsm.ErrStopped)
			failed++
		}
		require.GreaterOrEqual(c, failed, 2)
	})
}

// Queries are linearizable while leaders are cut off: no result lacks a command that
// was acknowledged before the query, or has one that began after the query's end.
func TestQueriesAreLinearizable(t *testing.T) {
	run(t, rsm.Options{SnapshotBytes: 2000}, func(c *cluster) {
		var begun, acknowledged, queries atomic.Int64
		var clients sync.WaitGroup
		ctx, stop := context.WithCancel(c.Context())
		clients.Go(func() {
			for seq := uint64(1); ctx.Err() == nil; seq++ {
				begun.Add(1)
				for done := false; !done && ctx.Err() == nil; {
					for _, s := range c.servers {
						short, cancel := context.WithTimeout(ctx, time.Second)
						_, err := s.replica.Submit(short, 1, seq, 1)
						cancel()
						if done = err == nil; done {
							acknowledged.Add(1)
							time.Sleep(2 * time.Millisecond)
							break
						}
						time.Sleep(time.Millisecond)
					}
				}
			}
		})
		for _, s := range c.servers {
			clients.Go(func() {
				for ctx.Err() == nil {
					low := acknowledged.Load()
					short, cancel := context.WithTimeout(ctx, time.Second)
					sum, err := s.replica.Query(short, 0)
					cancel()
					if high := begun.Load(); err == nil && (sum < low || sum > high) {
						c.Errorf("a query returned %d, with %d acknowledged before and %d begun", sum, low, high)
						return
					}
					if err == nil {
						queries.Add(1)
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		for id := range core.NodeID(4) {
			time.Sleep(2 * time.Second)
			c.network.Partition([]core.NodeID{id%3 + 1})
			time.Sleep(3 * time.Second)
			c.network.Heal()
		}
		stop()
		clients.Wait()
		require.Greater(c, acknowledged.Load(), int64(200))
		require.Greater(c, queries.Load(), int64(200))
	})
}
