package nodetrace_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/trace"
	"raftlab/trace/nodetrace"
)

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply([]node.Command)           {}
func (nothing) Snapshot() (io.WriterTo, error) { return strings.NewReader(""), nil }
func (nothing) Restore(io.Reader) error        { return nil }

// start starts three members in one process. The tracer sees all of them.
func start(tracer *nodetrace.Tracer) (nodes []*node.Node, err error) {
	net := memnet.New(memnet.Options{})
	var members []node.Member
	for id := core.NodeID(1); id <= 3; id++ {
		members = append(members, node.Member{ID: id, Address: fmt.Sprint(id)})
	}
	for _, m := range members {
		host := node.HostConfig{Storage: memstore.New(node.Identity{Cluster: "example", Host: m.ID}), Transport: net.Join(m.ID), Trace: tracer.Hooks(), Observe: tracer.Observe(m.ID)}
		n, err := node.Start(host, node.Config{Members: members, StateMachine: nothing{}})
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// Three members in one process, and the page of their first commands.
func Example() {
	rec := trace.NewRecorder(trace.Options{})
	nodes, err := start(nodetrace.New(rec, 1))
	for _, n := range nodes {
		defer n.Close()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := nodes[0].ReadIndex(ctx); err != nil { // waits for a leader
		fmt.Println(err)
		return
	}
	leader, _ := nodes[0].Leader()
	if _, err := nodes[leader-1].Propose(ctx, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	var page bytes.Buffer
	err = trace.WritePage(&page, rec.Recording())
	fmt.Println(err, strings.Contains(page.String(), "vote? T"), strings.Contains(page.String(), "append T"))
	// Output: <nil> true true
}
