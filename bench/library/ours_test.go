package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"raftlab/raft/boltstore"
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

// ours are hosts of raft/node with the members of some groups.
type ours struct {
	dir       string // of the logs, "" in memory
	bolt      bool   // the storage is a bbolt file
	network   *memnet.Network
	config    node.Config
	groups    int
	addresses []string
	hosts     []*node.Host // by id-1, nil while down
	leaders   []*node.Node // by group-1
	next      atomic.Int64
}

func startOursInMemory(string) (cluster, error) { return newOurs("", 3, 1, node.Config{}) }
func startOurs(dir string) (cluster, error)     { return newOurs(dir, 3, 1, node.Config{}) }
func startOursOnBolt(dir string) (cluster, error) {
	return newOurs(filepath.Join(dir, "bolt"), 3, 1, node.Config{})
}

// newOurs starts members on as many hosts, durable over TCP with a directory. In a
// directory named bolt the storages are bbolt files.
func newOurs(dir string, members, groups int, config node.Config) (*ours, error) {
	o := &ours{dir: dir, bolt: filepath.Base(dir) == "bolt", network: memnet.New(memnet.Options{}), config: config, groups: groups, hosts: make([]*node.Host, members), leaders: make([]*node.Node, groups)}
	transports := make([]node.Transport, members)
	for i := range members {
		id := core.NodeID(i + 1)
		tr, err := o.transport(id, "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		transports[i] = tr
		o.addresses = append(o.addresses, tr.Address())
		o.config.Members = append(o.config.Members, node.Member{ID: id, Address: tr.Address()})
		if err := o.createStorage(id); err != nil {
			return nil, err
		}
	}
	for i, tr := range transports {
		if err := o.startHost(core.NodeID(i+1), tr); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *ours) transport(id core.NodeID, address string) (node.Transport, error) {
	if o.dir == "" {
		return o.network.Join(id), nil
	}
	return tcp.Listen(tcp.Options{Listen: address, Plaintext: true})
}

func (o *ours) path(id core.NodeID) string { return filepath.Join(o.dir, fmt.Sprint(id)) }

func walOptions(id core.NodeID) wal.Options {
	return wal.Options{Identity: identity(id)}
}

func (o *ours) createStorage(id core.NodeID) error {
	switch {
	case o.bolt:
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return err
		}
		return boltstore.Create(o.path(id), boltstore.Options{Identity: identity(id)})
	case o.dir != "":
		return wal.Create(o.path(id), walOptions(id))
	}
	return nil
}

func (o *ours) openStorage(id core.NodeID) (node.Storage, error) {
	switch {
	case o.bolt:
		return boltstore.Open(o.path(id), boltstore.Options{Identity: identity(id)})
	case o.dir != "":
		return wal.Open(o.path(id), walOptions(id))
	}
	return volatile{memstore.New(identity(id))}, nil
}

func identity(id core.NodeID) node.Identity { return node.Identity{Cluster: "bench", Host: id} }

func (o *ours) startHost(id core.NodeID, tr node.Transport) error {
	storage, err := o.openStorage(id)
	if err != nil {
		return err
	}
	h, err := node.NewHost(node.HostConfig{Storage: storage, Transport: tr})
	if err != nil {
		return err
	}
	for g := range o.groups {
		config := o.config
		config.Group, config.StateMachine = node.GroupID(g+1), sink{}
		if _, err := h.Start(config); err != nil {
			return errors.Join(err, h.Close())
		}
	}
	o.hosts[id-1] = h
	return nil
}

// leader returns the leader of a group, nil if there is none.
func (o *ours) leader(group int) *node.Node {
	for _, h := range o.hosts {
		if h != nil {
			if n := h.Group(node.GroupID(group + 1)); n.IsLeader() {
				return n
			}
		}
	}
	return nil
}

// Propose proposes to one group after another.
func (o *ours) Propose(command []byte) error {
	g := 0
	if o.groups > 1 {
		g = int(o.next.Add(1)) % o.groups
	}
	return o.ProposeTo(g, command)
}

// ProposeTo implements manyGroups.
func (o *ours) ProposeTo(g int, command []byte) error {
	if o.leaders[g] == nil {
		if o.leaders[g] = o.leader(g); o.leaders[g] == nil {
			return errors.New("no leader")
		}
	}
	_, err := o.leaders[g].Propose(context.Background(), command)
	return err
}

func (o *ours) Close() {
	for _, h := range o.hosts {
		if h != nil {
			_ = h.Close()
		}
	}
}
