//go:build unix && !wasip1

package node_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
)

// sum is a replicated counter. A command is a number in text.
type sum struct{ n int64 }

func (s *sum) Apply(commands []node.Command) {
	for i := range commands {
		n, _ := strconv.ParseInt(string(commands[i].Data), 10, 64)
		s.n += n
		commands[i].Result = strconv.AppendInt(nil, s.n, 10)
	}
}

type sumView int64

func (v sumView) WriteTo(w io.Writer) (int64, error) { return 8, binary.Write(w, binary.BigEndian, v) }

func (s *sum) Snapshot() (io.WriterTo, error) { return sumView(s.n), nil }

func (s *sum) Restore(body io.Reader) error { return binary.Read(body, binary.BigEndian, &s.n) }

// startSum starts one of three members: a log on disk, a port, a member.
func startSum(dir string, listeners map[core.NodeID]*tcp.Transport, members []node.Member, id core.NodeID) (*node.Node, error) {
	opts := wal.Options{Identity: node.Identity{Cluster: "example", Host: id}}
	if err := wal.Create(filepath.Join(dir, fmt.Sprint(id)), opts); err != nil {
		return nil, err
	}
	storage, err := wal.Open(filepath.Join(dir, fmt.Sprint(id)), opts)
	if err != nil {
		return nil, err
	}
	return node.Start(node.HostConfig{Storage: storage, Transport: listeners[id]}, node.Config{Members: members, StateMachine: &sum{}})
}

// A durable counter on three hosts over TCP. Here the three stand in one process;
// examples/counter is the same as three processes.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	listeners, members := make(map[core.NodeID]*tcp.Transport), []node.Member(nil)
	for id := core.NodeID(1); id <= 3; id++ {
		if listeners[id], err = tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true}); err != nil {
			fmt.Println(err)
			return
		}
		members = append(members, node.Member{ID: id, Address: listeners[id].Address()})
	}
	var nodes []*node.Node
	for _, m := range members {
		n, err := startSum(dir, listeners, members, m.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	index, err := nodes[0].ReadIndex(ctx) // waits for a leader
	fmt.Println("a leader is there:", index > 0, err)
	leader, _ := nodes[0].Leader()
	for _, command := range []string{"1", "2", "39"} {
		result, err := nodes[leader-1].Propose(ctx, []byte(command))
		fmt.Println(string(result.Data), err)
	}
	// Output:
	// a leader is there: true <nil>
	// 1 <nil>
	// 3 <nil>
	// 42 <nil>
}
