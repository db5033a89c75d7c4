// Counter is a durable replicated counter. Run it in three terminals with -id 1, 2 and 3.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
)

// counter is the state machine. A command is a number, and its result is the new sum.
type counter struct{ sum int }

func (c *counter) Apply(commands []node.Command) {
	for i := range commands {
		var n int
		_, _ = fmt.Sscan(string(commands[i].Data), &n)
		c.sum += n
		commands[i].Result = fmt.Append(nil, c.sum)
	}
}
func (c *counter) Snapshot() (io.WriterTo, error) { return strings.NewReader(fmt.Sprint(c.sum)), nil }
func (c *counter) Restore(body io.Reader) error   { _, err := fmt.Fscan(body, &c.sum); return err }

func main() {
	id := flag.Int("id", 1, "this host, 1 to 3")
	create := flag.Bool("create", false, "create the log of a new host")
	flag.Parse()
	members := []node.Member{{ID: 1, Address: "127.0.0.1:7001"}, {ID: 2, Address: "127.0.0.1:7002"}, {ID: 3, Address: "127.0.0.1:7003"}}
	opts := wal.Options{Identity: node.Identity{Cluster: "counter", Host: core.NodeID(*id)}}
	dir := fmt.Sprint("counter-", *id)
	if *create {
		must(dir, wal.Create(dir, opts))
	}
	host := node.HostConfig{Storage: must(wal.Open(dir, opts)), Transport: must(tcp.Listen(tcp.Options{Listen: members[*id-1].Address, Plaintext: true}))}
	n := must(node.Start(host, node.Config{Members: members, StateMachine: &counter{}}))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if result, err := n.Propose(context.Background(), []byte(lines.Text())); err != nil {
			fmt.Println(err)
		} else {
			fmt.Printf("%s\n", result.Data)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
