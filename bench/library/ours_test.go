package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
)

// sink is a state machine that answers with the beginning of the command.
type sink struct{}

func (sink) Apply(commands []node.Command) {
	for i := range commands {
		commands[i].Result = commands[i].Data[:8]
	}
}

func (s sink) Snapshot() (io.WriterTo, error)   { return s, nil }
func (sink) WriteTo(w io.Writer) (int64, error) { return 0, nil }
func (sink) Restore(r io.Reader) error          { return nil }

// volatile is a store in memory whose Save the host calls in place.
type volatile struct{ *memstore.Store }

func (volatile) Volatile() bool { return true }

type ours struct {
	nodes  []*node.Node
	leader *node.Node
}

func startOursInMemory(string) (cluster, error) {
	network := memnet.New(memnet.Options{})
	var members []node.Member
	for id := core.NodeID(1); id <= 3; id++ {
		members = append(members, node.Member{ID: id})
	}
	o := &ours{}
	for _, m := range members {
		n, err := node.Start(node.HostConfig{
			Storage:   volatile{memstore.New(node.Identity{Cluster: "bench", Host: m.ID})},
			Transport: network.Join(m.ID),
		}, node.Config{Members: members, StateMachine: sink{}})
		if err != nil {
			return nil, err
		}
		o.nodes = append(o.nodes, n)
	}
	return o, nil
}

func startOurs(dir string) (cluster, error) {
	var members []node.Member
	var transports []*tcp.Transport
	for id := core.NodeID(1); id <= 3; id++ {
		tr, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true})
		if err != nil {
			return nil, err
		}
		transports = append(transports, tr)
		members = append(members, node.Member{ID: id, Address: tr.Address()})
	}
	o := &ours{}
	for i, m := range members {
		opts := wal.Options{Identity: node.Identity{Cluster: "bench", Host: m.ID}}
		path := filepath.Join(dir, fmt.Sprint(m.ID))
		if err := wal.Create(path, opts); err != nil {
			return nil, err
		}
		storage, err := wal.Open(path, opts)
		if err != nil {
			return nil, err
		}
		n, err := node.Start(node.HostConfig{Storage: storage, Transport: transports[i]}, node.Config{Members: members, StateMachine: sink{}})
		if err != nil {
			return nil, err
		}
		o.nodes = append(o.nodes, n)
	}
	return o, nil
}

func (o *ours) Propose(command []byte) error {
	if o.leader == nil {
		for _, n := range o.nodes {
			if n.IsLeader() {
				o.leader = n
			}
		}
		if o.leader == nil {
			return errors.New("no leader")
		}
	}
	_, err := o.leader.Propose(context.Background(), command)
	return err
}

func (o *ours) Close() {
	for _, n := range o.nodes {
		_ = n.Close()
	}
}
