package tcp_test

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// adder counts the bytes of the commands.
type adder struct{ bytes atomic.Int64 }

func (a *adder) Apply(commands []node.Command) {
	for _, c := range commands {
		a.bytes.Add(int64(len(c.Data)))
	}
}

func (a *adder) Snapshot() (io.WriterTo, error) {
	return bytes.NewReader(fmt.Appendf(nil, "%d%10000s", a.bytes.Load(), "")), nil
}

func (a *adder) Restore(body io.Reader) error {
	var bytes int64
	_, err := fmt.Fscan(body, &bytes)
	a.bytes.Store(bytes)
	return err
}

// Hosts with different limits of frames send each other batches and snapshots that the
// other host takes.
func TestHostsWithDifferentLimits(t *testing.T) {
	const small = 4 << 10
	limits := []int{16 << 20, small, 64 << 10}
	var transports []*tcp.Transport
	var members []node.Member
	for i, limit := range limits {
		transport, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true, MaxFrameBytes: limit, MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond})
		require.NoError(t, err)
		transports = append(transports, transport)
		members = append(members, node.Member{ID: core.NodeID(i + 1), Address: transport.Address()})
	}
	machines := make([]adder, len(limits))
	start := func(i int) *node.Node {
		n, err := node.Start(node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "test", Host: members[i].ID}), Transport: transports[i]}, node.Config{
			Members: members, StateMachine: &machines[i], MaxCommandBytes: small / 2, SnapshotEntries: 200, TrailingEntries: 20,
			ElectionTimeout: 200 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, n.Close()) })
		return n
	}
	running := []*node.Node{start(0), start(2)}
	acknowledged := int64(0)
	propose := func(count int) {
		var futures []*node.Future
		command := make([]byte, small/3)
		testkit.WaitFor(t, 20*time.Second, "a leader that takes the commands", func() bool {
			for _, n := range running {
				for len(futures) < count {
					f, err := n.ProposeAsync(command)
					if err != nil {
						break
					}
					futures = append(futures, f)
				}
			}
			return len(futures) == count
		})
		for _, f := range futures {
			select {
			case <-f.Done():
			case <-time.After(20 * time.Second):
				require.FailNow(t, "a command that does not commit")
			}
			if _, err := f.Result(); err == nil {
				acknowledged += int64(len(command))
			}
		}
	}
	propose(500)
	start(1) // behind the log of the others
	agreed := func() bool {
		all := machines[0].bytes.Load()
		return all >= acknowledged && machines[1].bytes.Load() == all && machines[2].bytes.Load() == all
	}
	testkit.WaitFor(t, 20*time.Second, "the snapshot and the entries", agreed)
	propose(150)
	testkit.WaitFor(t, 20*time.Second, "the entries", agreed)
	require.NotZero(t, acknowledged)
}
