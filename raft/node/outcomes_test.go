package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Commands that wait for room lose their context, their leader and their turn. Each has the
// outcome that its proposer was told.
func TestOutcomesOfWaitingCommands(t *testing.T) {
	for _, limit := range []int{1, 100} {
		t.Run(fmt.Sprint(limit, " bytes"), func(t *testing.T) {
			run(t, 3, node.Config{MaxPendingBytes: limit, MaxPending: 8}, func(c *cluster) {
				random := testkit.Rand(t)
				var mu sync.Mutex
				told := make(map[string]error)
				var load sync.WaitGroup
				for client := range 12 {
					r := rand.New(rand.NewPCG(random.Uint64(), 0))
					load.Go(func() {
						for i := range 150 {
							leader := c.leader()
							command := fmt.Sprintf("%d/%d/%0*d", client, i, 1+r.IntN(60), 0)
							limited, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(4000))*time.Microsecond)
							var err error
							switch r.IntN(6) {
							case 0:
								_, _, err = leader.Append([]byte(command))
								if err == nil {
									err = node.ErrUnknown
								}
							default:
								_, err = leader.Propose(limited, []byte(command))
							}
							cancel()
							mu.Lock()
							told[command] = err
							mu.Unlock()
						}
					})
				}
				stop := make(chan struct{})
				var faults sync.WaitGroup
				faults.Go(func() {
					for {
						select {
						case <-stop:
							c.network.Heal()
							return
						case <-time.After(200 * time.Millisecond):
						}
						c.network.Partition([]core.NodeID{c.leader().ID()})
						time.Sleep(100 * time.Millisecond)
						c.network.Heal()
					}
				})
				load.Wait()
				close(stop)
				faults.Wait()
				time.Sleep(5 * time.Second)
				testkit.Settle()
				applied := make(map[string]int)
				leader := c.leader()
				_, err := leader.Propose(ctx, make([]byte, 900)) // the room is free again
				require.NoError(c, err)
				for _, command := range c.states[leader.ID()].all() {
					applied[string(command)]++
				}
				ok, refused, unknown := 0, 0, 0
				for command, err := range told {
					switch {
					case err == nil:
						ok++
						require.Equal(c, 1, applied[command], command)
					case errors.Is(err, node.ErrRefused):
						refused++
						require.Zero(c, applied[command], "%s: %v", command, err)
					default:
						unknown++
						require.ErrorIs(c, err, node.ErrUnknown)
						require.LessOrEqual(c, applied[command], 1, command)
					}
				}
				t.Logf("%d ok, %d refused, %d unknown", ok, refused, unknown)
				require.Positive(c, ok)
				require.Positive(c, refused)
			})
		})
	}
}
