package onnode_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"

	"raftlab/raft/memnet"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/rsm"
	"raftlab/rsm/onnode"
)

// votes counts votes. The command is a candidate, and the result the votes so far.
type votes map[string]int

func (v votes) Apply(candidate string) int {
	v[candidate]++
	return v[candidate]
}

func (v votes) Snapshot() func(io.Writer) error {
	frozen := maps.Clone(v)
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(frozen) }
}

func (v votes) Restore(snapshot []byte) error {
	clear(v)
	return json.Unmarshal(snapshot, &v)
}

// A member of one, in memory. Other members run the same code on other hosts, with
// raft/tcp and raft/wal.
func Example() {
	host, err := node.NewHost(node.HostConfig{
		Storage:   memstore.New(node.Identity{Cluster: "election", Host: 1}),
		Transport: memnet.New(memnet.Options{}).Join(1),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer host.Close()
	log, err := onnode.Start(host, node.Config{Members: []node.Member{{ID: 1}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	replica, err := rsm.New(make(votes), log.Snapshot(), rsm.Options{SnapshotBytes: 16 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	replica.Run(log)
	defer replica.Kill()

	ctx := context.Background()
	if _, err := rsm.AwaitLeadership(ctx, log, func(l rsm.Leadership) bool { return l.Leads }); err != nil {
		fmt.Println(err)
		return
	}
	const client = 7
	for range 2 { // the second time is a retry of the same vote
		count, err := replica.Submit(ctx, client, 1, "Ada")
		fmt.Println("votes for Ada:", count, err)
	}
	count, err := replica.Submit(ctx, client, 2, "Ada")
	fmt.Println("votes for Ada:", count, err)
	// Output:
	// votes for Ada: 1 <nil>
	// votes for Ada: 1 <nil>
	// votes for Ada: 2 <nil>
}
