package rsm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// counter is a StateMachine: named numbers, to which commands add.
type counter struct{ values map[string]int }

type increment struct {
	Name string
	By   int
}

func (c *counter) Apply(inc increment) int {
	c.values[inc.Name] += inc.By
	return c.values[inc.Name]
}

func (c *counter) Snapshot() func(io.Writer) error {
	data, err := json.Marshal(c.values) // a small state: it can be encoded at once
	return func(w io.Writer) error {
		if err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
}

func (c *counter) Restore(snapshot []byte) error {
	values := make(map[string]int)
	if err := json.Unmarshal(snapshot, &values); err != nil {
		return err
	}
	c.values = values
	return nil
}

// A state machine on a cluster of one server.
func Example() {
	persister := raft.MakePersister()
	replica, err := rsm.New(&counter{values: map[string]int{}}, persister.ReadSnapshot(), rsm.Options{
		SnapshotBytes: 1 << 20,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	applyCh := make(chan raft.ApplyMsg)
	replica.Run(labraft.New(raft.Make(make([]*labrpc.ClientEnd, 1), 0, persister, applyCh), applyCh))
	defer replica.Kill()

	const client = 42
	submit := func(seq uint64, inc increment) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for {
			value, err := replica.Submit(ctx, client, seq, inc)
			if errors.Is(err, rsm.ErrNotLeader) || errors.Is(err, rsm.ErrLost) {
				time.Sleep(10 * time.Millisecond) // there is no leader yet
				continue
			}
			fmt.Println(value, err)
			return
		}
	}
	submit(1, increment{"visits", 5})
	submit(1, increment{"visits", 5}) // the same command, sent again
	submit(2, increment{"visits", 2})
	// Output:
	// 5 <nil>
	// 5 <nil>
	// 7 <nil>
}

// Sessions by themselves, as a SessionKeeper uses them: a command that is
// repeated is not executed again, at the next owner of the state either.
func ExampleSessions() {
	total := 0
	deposit := func() int { total += 10; return total }

	here := rsm.NewSessions[int](100)
	fmt.Println(here.Do(7, 1, deposit))
	fmt.Println(here.Do(7, 1, deposit))

	there := rsm.NewSessions[int](100)
	there.Merge(here.Records())
	fmt.Println(there.Do(7, 1, deposit))
	fmt.Println(there.Do(7, 2, deposit))
	fmt.Println(there.Do(7, 1, deposit))
	// Output:
	// 10 <nil>
	// 10 <nil>
	// 10 <nil>
	// 20 <nil>
	// 0 rsm: the client has submitted a later command
}
