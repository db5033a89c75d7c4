// Counter is a durable replicated counter of three processes, the smallest service
// on package raft/node. In three terminals run:
//
//	go run ./examples/counter -id 1
//	go run ./examples/counter -id 2
//	go run ./examples/counter -id 3
//
// Each line on the standard input of any process is a request. A number is added to the
// counter, and an empty line reads the counter. Only the leader adds, and the others name
// the leader. Kill a process and start the process again. Every acknowledged addition is
// there.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
)

// counter is the state machine. A command is a number in text.
type counter struct{ sum atomic.Int64 }

func (c *counter) Apply(commands []node.Command) {
	for i := range commands {
		n, _ := strconv.ParseInt(string(commands[i].Data), 10, 64)
		commands[i].Result = strconv.AppendInt(nil, c.sum.Add(n), 10)
	}
}

type view int64

func (v view) WriteTo(w io.Writer) (int64, error) { return 8, binary.Write(w, binary.BigEndian, v) }

func (c *counter) Snapshot() (io.WriterTo, error) { return view(c.sum.Load()), nil }

func (c *counter) Restore(body io.Reader) error {
	var v int64
	err := binary.Read(body, binary.BigEndian, &v)
	c.sum.Store(v)
	return err
}

func main() {
	id := flag.Uint64("id", 1, "this host, 1 to 3")
	dir := flag.String("dir", "counter-data", "directory of the hosts' data")
	flag.Parse()
	if err := run(core.NodeID(*id), *dir); err != nil {
		log.Fatal(err)
	}
}

func run(id core.NodeID, dir string) error {
	members := []node.Member{{ID: 1, Address: "127.0.0.1:7001"}, {ID: 2, Address: "127.0.0.1:7002"}, {ID: 3, Address: "127.0.0.1:7003"}}
	if id < 1 || int(id) > len(members) {
		return fmt.Errorf("-id is %d; want 1 to %d", id, len(members))
	}
	c := &counter{}
	n, err := start(c, members, members[id-1], fmt.Sprintf("%s/%d", dir, id))
	if err != nil {
		return err
	}
	defer n.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if lines.Text() == "" {
			_, err = n.ReadIndex(ctx) // now c has every acknowledged addition
			fmt.Println(c.sum.Load(), err)
		} else {
			result, err := n.Propose(ctx, lines.Bytes())
			fmt.Println(string(result.Data), err)
		}
		cancel()
	}
	return nil
}

// start starts one member of the group.
func start(c *counter, members []node.Member, self node.Member, dir string) (*node.Node, error) {
	opts := wal.Options{Identity: node.Identity{Cluster: "counter", Host: self.ID}}
	if err := wal.Create(dir, opts); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	storage, err := wal.Open(dir, opts)
	if err != nil {
		return nil, err
	}
	transport, err := tcp.Listen(tcp.Options{Listen: self.Address, Plaintext: true})
	if err != nil {
		return nil, errors.Join(err, storage.Close())
	}
	return node.Start(node.HostConfig{Storage: storage, Transport: transport}, node.Config{Members: members, StateMachine: c})
}
