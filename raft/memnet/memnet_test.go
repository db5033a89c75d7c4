package memnet_test

import (
	"testing"
	"time"

	"raftlab/raft/memnet"
	"raftlab/raft/node"
	"raftlab/raft/transporttest"
)

func TestTransport(t *testing.T) {
	for name, faults := range map[string]memnet.Faults{
		"direct":  {},
		"latency": {Latency: 100 * time.Microsecond},
		"faulty":  {Latency: 100 * time.Microsecond, Jitter: time.Millisecond, Drop: 0.2, Duplicate: 0.2},
	} {
		t.Run(name, func(t *testing.T) {
			network := memnet.New(memnet.Options{Seed: 1, Faults: faults})
			transporttest.Run(t, transporttest.Options{
				Addressless: true,
				Unordered:   faults.Jitter > 0,
				New:         func(id node.Identity) (node.Transport, error) { return network.Join(id.Host), nil },
			})
		})
	}
}
