package etcdapi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/etcdapi"
	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// An upgrade of one member at a time under load raises the level when the last member has
// the new version. A member of the former version then stops, and says why, be it by the log
// or by a snapshot.
func TestUpgradeRaisesTheLevel(t *testing.T) {
	for name, entries := range map[string]int{"log": 1_000_000, "snapshot": 10} {
		t.Run(name, func(t *testing.T) {
			config := etcdapi.Config{Level: 1, Node: node.Config{SnapshotEntries: entries, TrailingEntries: -1}}
			run(t, config, func(c *cluster) {
				ctx, cancel := context.WithCancel(c.Context())
				stopped := make(chan int)
				leader := c.leader().kv
				go func() {
					n := 0
					for ; ctx.Err() == nil; n++ {
						limited, done := context.WithTimeout(ctx, time.Second)
						_, _ = leader.Put(limited, &pb.PutRequest{Key: fmt.Append(nil, "k", n), Value: []byte("v")}) // members restart
						done()
						time.Sleep(20 * time.Millisecond)
					}
					stopped <- n
				}()
				levels := func(want int) {
					c.Helper()
					testkit.WaitFor(c, time.Minute, fmt.Sprint("level ", want), func() bool {
						for _, m := range c.members {
							if m.server.Level() != want {
								return false
							}
						}
						return true
					})
				}
				c.config.Level = etcdapi.Level
				for id := core.NodeID(1); id <= 3; id++ {
					time.Sleep(20 * time.Second) // the leader asks more than once
					levels(1)
					c.stop(id)
					c.start(id)
					c.leader()
				}
				levels(etcdapi.Level)
				time.Sleep(5 * time.Second) // of load
				cancel()
				require.NotZero(c, <-stopped)
				for id := core.NodeID(1); id <= 3; id++ { // from what is on disk
					c.stop(id)
					c.start(id)
				}
				c.leader()
				levels(etcdapi.Level)

				former := c.follower().id
				if name == "snapshot" {
					require.NoError(c, c.members[former].node.Snapshot(c.Context()))
				}
				c.stop(former)
				c.config.Level = 1
				if name == "snapshot" {
					_, err := c.tryStart(former)
					require.ErrorIs(c, err, etcdapi.ErrFormat)
					require.ErrorContains(c, err, "the cluster has the level 2; this version of raftlab reads levels 1 to 1; start the member with a newer version of raftlab")
				} else {
					m := c.start(former)
					<-m.node.Done()
					err := etcdapi.Stopped(m.node)
					require.ErrorIs(c, err, etcdapi.ErrFormat)
					require.Regexp(c, `^entry \d+ of term \d+: .*the cluster has the level 2; this version of raftlab reads levels 1 to 1; start the member with a newer version of raftlab[^\n]*$`, err.Error())
					c.stop(former)
				}
				c.config.Level = etcdapi.Level
				c.start(former)
				levels(etcdapi.Level)
			})
		})
	}
}

// A cluster that is restored from a backup begins with the first level.
func TestRestoredClusterBeginsWithTheFirstLevel(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		m := c.leader()
		testkit.WaitFor(c, time.Minute, "the level", func() bool { return m.server.Level() == etcdapi.Level })
		file, err := os.Create(filepath.Join(c.TempDir(), "backup"))
		require.NoError(c, err)
		defer file.Close()
		require.NoError(c, m.server.Machine().WriteBackup(file))
		machine, _, err := etcdapi.ReadBackup(file)
		require.NoError(c, err)
		require.NoError(c, machine.Renew(0, false))
		require.Equal(c, 1, machine.Level())
		require.Equal(c, etcdapi.Level, m.server.Level())
	})
}
