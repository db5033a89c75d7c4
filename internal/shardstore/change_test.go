package shardstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/node"
)

// other returns a running process that does not join.
func (w *world) other(c shardstore.ProcessChange) *process {
	all := w.running()
	return all[slices.IndexFunc(all, func(p *process) bool { return p.member != c.Add.Name })]
}

// change makes a change of processes until the change is done.
func (w *world) change(c shardstore.ProcessChange) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(w, w.other(c).ChangeProcesses(ctx, c))
}

// agrees checks that all running processes know the same processes, and that these are the
// voters of each group.
func (w *world) agrees(names ...string) {
	w.Helper()
	for _, p := range w.running() {
		testkit.WaitFor(w, time.Minute, p.member+" to know the processes", func() bool {
			var known []string
			for _, m := range p.Processes() {
				if m.Learner || len(m.Groups) != w.groups+1 {
					return false
				}
				known = append(known, m.Name)
			}
			return slices.Equal(known, names)
		})
	}
}

// put writes a key of each shard through a process.
func (p *process) put(value string) {
	for shard := range 10 {
		_, err := p.Do(p.world.Context(), "", kv.Put(fmt.Sprint(shard), value))
		require.NoError(p.world, err)
	}
}

// has reads these keys.
func (p *process) has(value string) {
	for shard := range 10 {
		r, err := p.Do(p.world.Context(), "", kv.Get(fmt.Sprint(shard)))
		require.NoError(p.world, err)
		require.Equal(p.world, value, r.Value)
	}
}

// A process without data takes the place of each process in turn, under the same name and
// under another one. In the end none of the first processes is left, and the configurations
// name servers that nobody runs.
func TestReplaceProcesses(t *testing.T) {
	run(t, 2, 4000, func(w *world) {
		w.settle()
		names := []string{"n1", "n2", "n3"}
		for i, next := range []string{"n2", "n5", "n6", "n7", "n5"} {
			w.running()[0].put(fmt.Sprint("before ", i))
			lost := []string{"n2", "n1", "n2", "n3", "n5"}[i]
			w.crash(lost)
			c := shardstore.ProcessChange{Add: w.newcomer(next), Remove: lost}
			w.change(c)
			w.change(c) // is done already
			names = slices.Sorted(slices.Values(append(slices.DeleteFunc(names, func(n string) bool { return n == lost }), next)))
			w.agrees(names...)
			for _, p := range w.running() {
				p.has(fmt.Sprint("before ", i))
				p.put(fmt.Sprint("before ", i))
			}
		}
		require.Equal(w, []string{"n5", "n6", "n7"}, names)
		for _, lost := range names { // each is enough with one other
			w.crash(lost)
			for _, p := range w.running() {
				p.put("without " + lost)
			}
			w.start(lost)
			w.settle()
		}
		_, err := w.running()[0].Leave(w.Context(), []int{1})
		require.NoError(w, err)
		w.settle()
		for _, p := range w.running() {
			p.has("without n7")
		}
	})
}

// A process that asks again for its place leaves a later process of the replaced name alone.
func TestReplacedNameIsTakenAgain(t *testing.T) {
	run(t, 1, 4000, func(w *world) {
		w.settle()
		i := slices.IndexFunc(w.running()[0].Processes(), func(p shardstore.Process) bool { return p.Name == "n3" })
		c := shardstore.ProcessChange{Add: w.newcomer("n4"), Remove: "n3", RemoveID: w.running()[0].Processes()[i].ID}
		w.crash("n3")
		w.change(c)
		w.change(shardstore.ProcessChange{Add: w.newcomer("n3")})
		w.change(c)
		w.agrees("n1", "n2", "n3", "n4")
		c.Add = w.newcomer("n5")
		require.ErrorIs(w, w.running()[0].ChangeProcesses(w.Context(), c), shardstore.ErrNoProcess)
		w.crash("n5")
		w.agrees("n1", "n2", "n3", "n4")
	})
}

// Processes come and go while the store serves, down to one and up to five. A removed
// process stops by itself, and so does its data when it comes back.
func TestAddAndRemoveProcesses(t *testing.T) {
	run(t, 2, 4000, func(w *world) {
		w.settle()
		for _, name := range []string{"n4", "n5"} {
			w.change(shardstore.ProcessChange{Add: w.newcomer(name)})
		}
		w.agrees("n1", "n2", "n3", "n4", "n5")
		w.crash("n1")
		w.crash("n2")
		for _, p := range w.running() {
			p.put("three of five")
		}
		w.start("n1")
		w.start("n2")
		for _, name := range []string{"n1", "n3"} { // the others stay alone, and one of them leads
			p := w.process(name)
			w.change(shardstore.ProcessChange{Remove: name})
			select {
			case <-p.Failed():
				require.ErrorIs(w, p.Err(), node.ErrRemoved)
			case <-time.After(time.Minute):
				t.Fatalf("%s runs on", name)
			}
			require.NoError(w, w.stop(p))
		}
		w.agrees("n2", "n4", "n5")
		w.running()[0].put("three")
		w.disks["n1"] = w.disks["n1"].Reopen()
		w.start("n1") // the former data comes back
		select {
		case <-w.process("n1").Failed():
			require.ErrorIs(w, w.process("n1").Err(), node.ErrRemoved)
		case <-time.After(time.Minute):
			t.Fatal("the data of a removed process runs on")
		}
		require.NoError(w, w.stop(w.process("n1")))
		for _, name := range []string{"n2", "n4"} {
			p := w.process(name)
			w.change(shardstore.ProcessChange{Remove: name})
			<-p.Failed()
			require.NoError(w, w.stop(p))
		}
		w.agrees("n5")
		w.running()[0].has("three")
		w.change(shardstore.ProcessChange{Add: w.newcomer("n1")})
		w.agrees("n1", "n5")
		for _, p := range w.running() {
			p.put("two")
		}
	})
}

// A change that cannot be made is refused, and changes nothing. The error says why.
func TestRefusedProcessChanges(t *testing.T) {
	run(t, 2, 0, func(w *world) {
		w.settle()
		p := w.running()[0]
		refused := func(c shardstore.ProcessChange, says string) {
			w.Helper()
			ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
			defer cancel()
			err := p.ChangeProcesses(ctx, c)
			require.ErrorIs(w, err, shardstore.ErrChange)
			require.ErrorContains(w, err, says)
			w.agrees("n1", "n2", "n3")
		}
		refused(shardstore.ProcessChange{Remove: "n9"}, "no such process: n9; the processes are n1, n2, n3")
		refused(shardstore.ProcessChange{Add: shardstore.Member{Name: "n2", ID: 9}}, "has a process n2; if its data is lost, replace it")
		refused(shardstore.ProcessChange{Add: shardstore.Member{Name: "n2", ID: 9}, Remove: "n3"}, "has a process n2")
		w.crash("n3")
		refused(shardstore.ProcessChange{Remove: "n2"}, "of the 2 processes after the change, n3 would be down")
		w.crash("n2")
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		err := p.ChangeProcesses(ctx, shardstore.ProcessChange{Add: w.newcomer("n4"), Remove: "n3"})
		require.ErrorIs(w, err, shardstore.ErrUnfinished)
		require.ErrorContains(w, err, "a change needs a majority of")
		w.start("n2")
		w.settle()
		for _, p := range w.running()[:2] {
			p.put("x")
		}
	})
}

// A process of an earlier version does not know changes of processes. The store refuses the
// first change as long as such a process stays, or may be one, and says which.
func TestChangeBesideAnEarlierVersion(t *testing.T) {
	run(t, 1, 0, func(w *world) {
		w.settle()
		restart := func(member string, level int) {
			w.crash(member)
			w.levels[member] = level
			w.start(member)
			w.settle()
		}
		change := func(says string) {
			w.Helper()
			c := shardstore.ProcessChange{Add: w.newcomer("n4"), Remove: "n3"}
			ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
			defer cancel()
			err := w.process("n1").ChangeProcesses(ctx, c)
			require.ErrorIs(w, err, shardstore.ErrChange)
			require.ErrorContains(w, err, says)
			w.crash("n4")
			w.agrees("n1", "n2", "n3")
		}
		restart("n2", 1)
		change("process n2 runs an earlier version")
		restart("n2", 0)
		restart("n3", 1) // goes
		w.change(shardstore.ProcessChange{Add: w.newcomer("n4"), Remove: "n3"})
		require.NoError(w, w.stop(w.process("n3")))
		w.agrees("n1", "n2", "n4")
		w.crash("n4")
		w.change(shardstore.ProcessChange{Add: w.newcomer("n5")}) // n4 has read a change
		w.start("n4")
		w.agrees("n1", "n2", "n4", "n5")
	})
}

// The processes are replaced under load, while the coordinator and others crash in the
// middle of the changes. The history is linearizable, transactions are whole, and each
// replacement is finished by a repetition.
func TestReplacedUnderLoad(t *testing.T) {
	run(t, 2, 4000, func(w *world) {
		w.underLoad(func(rng *rand.Rand) {
			names := []string{"n1", "n2", "n3"}
			for round := range 5 {
				lost := names[rng.IntN(3)]
				next := lost
				if rng.IntN(2) == 0 {
					next = fmt.Sprint("m", round)
				}
				w.crash(lost)
				c := shardstore.ProcessChange{Add: w.newcomer(next), Remove: lost}
				for range rng.IntN(3) { // interrupted changes
					ctx, cancel := context.WithTimeout(w.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
					_ = w.other(c).ChangeProcesses(ctx, c) // finished below
					cancel()
					w.rearrange(rng)
					victim := w.running()[rng.IntN(3)].member
					w.crash(victim)
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					w.start(victim)
				}
				w.change(c)
				names[slices.Index(names, lost)] = next
			}
			slices.Sort(names)
			w.agrees(names...)
		})
	})
}
