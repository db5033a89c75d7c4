package core_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"raftlab/raft/core"
)

// BenchmarkCommit measures a command's way from Propose to being handed out at
// all servers, through the cores alone: no disk, no network, no encoding. A batch
// is what shares one Ready.
func BenchmarkCommit(b *testing.B) {
	for _, servers := range []int{3, 5} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("servers=%d/batch=%d", servers, batch), func(b *testing.B) {
				benchmarkCommit(b, servers, batch, 0)
			})
		}
	}
	b.Run("servers=3/batch=1/log=100000", func(b *testing.B) { benchmarkCommit(b, 3, 1, 100_000) })
}

func benchmarkCommit(b *testing.B, servers, batch, retained int) {
	var voters []core.NodeID
	for i := range servers {
		voters = append(voters, core.NodeID(i+1))
	}
	disk := core.Persistent{HardState: core.HardState{CurrentTerm: 1}}
	for i := range retained {
		disk.Entries = append(disk.Entries, core.Entry{Index: uint64(i + 1), Term: 1})
	}
	cluster := make([]*core.Core, servers+1)
	for _, id := range voters {
		c, err := core.New(core.Config{
			ID: id, Voters: voters, ElectionTicks: 10, HeartbeatTicks: 1,
			Rand: rand.New(rand.NewPCG(1, uint64(id))),
		}, disk)
		if err != nil {
			b.Fatal(err)
		}
		cluster[id] = c
	}
	applied := 0
	run := func() {
		for busy := true; busy; {
			busy = false
			for _, c := range cluster[1:] {
				rd := c.Ready()
				for _, ms := range [][]core.Message{rd.Messages, rd.AfterSave} {
					for _, m := range ms {
						if err := cluster[m.To].Step(m); err != nil {
							b.Fatal(err)
						}
					}
				}
				c.Saved(rd)
				_, es := c.NextToApply(1 << 30)
				applied += len(es)
				busy = busy || !rd.Empty()
			}
		}
	}
	for cluster[1].Status().State != core.Leader {
		cluster[1].Tick()
		run()
	}
	leader, data := cluster[1], make([]byte, 64)
	first := leader.Status().LastIndex
	b.ReportAllocs()
	for b.Loop() {
		for range batch {
			if _, _, err := leader.Propose(data); err != nil {
				b.Fatal(err)
			}
		}
		run()
		leader.Tick()
		run()
		// A service takes snapshots; a log that only grows measures memory.
		if st := leader.Status(); retained == 0 && st.LastApplied-st.SnapshotIndex > 10_000 {
			for _, c := range cluster[1:] {
				_ = c.Compact(c.Status().LastApplied)
			}
		}
	}
	commands := int(leader.Status().LastIndex - first)
	if applied < commands*servers {
		b.Fatalf("%d of %d commands were applied", applied, commands*servers)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(commands), "ns/command")
}
