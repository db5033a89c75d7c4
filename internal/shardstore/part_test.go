package shardstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/kvstore"
	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft/wal/simdisk"
	"raftlab/shardkv"
)

// Every process answers every request, whichever process leads the group of a key. The
// layout and the pictures of all processes agree.
func TestEveryProcessServes(t *testing.T) {
	run(t, 2, 0, func(w *world) {
		l := w.settle()
		require.Equal(w, 1, l.Config)
		for i, p := range w.running() {
			for shard := range 10 {
				key := fmt.Sprintf("%d-%d", shard, i)
				_, err := p.Do(w.Context(), "", kv.Put(key, "x"))
				require.NoError(w, err)
			}
		}
		for _, p := range w.running() {
			_, err := p.Do(w.Context(), "the key", kv.Append("k", "once"))
			require.NoError(w, err, "a retry at another process")
			r, err := p.Do(w.Context(), "", kv.Scan("", "", 0))
			require.NoError(w, err)
			require.Len(w, r.Pairs, 31)
			l, err := p.Layout(w.Context())
			require.NoError(w, err)
			for _, g := range l.Groups {
				require.NotZero(w, g.Leader, "of group %d", g.Group)
				require.Contains(w, g.Replicas, g.Leader)
			}
			require.Equal(w, []int{4, 5, 6}, l.Groups[1].Replicas)
			require.NoError(w, p.Health(w.Context(), true))
			require.NoError(w, p.Live())
			for i, picture := range p.Survey(w.Context()) {
				require.NotNil(w, picture.Picture, "process %d", i)
				require.Len(w, picture.States, 3)
				require.Equal(w, shardstore.Controllers, picture.States[2].Group)
			}
		}
		r, err := w.running()[0].Do(w.Context(), "", kv.Get("k"))
		require.NoError(w, err)
		require.Equal(w, "once", r.Value)
	})
}

// A process alone knows that nobody can write, and serves again once another process is
// back. The picture of a process that is down is missing.
func TestHealthWithoutMajority(t *testing.T) {
	run(t, 1, 0, func(w *world) {
		w.settle()
		w.crash("n2")
		w.crash("n3")
		p := w.running()[0]
		testkit.WaitFor(w, time.Minute, "the last process to notice", func() bool {
			ctx, cancel := context.WithTimeout(w.Context(), time.Second)
			defer cancel()
			return p.Health(ctx, true) != nil && p.Health(ctx, false) != nil
		})
		require.NoError(w, p.Live())
		short, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		_, err := p.Do(short, "", kv.Get("k"))
		require.ErrorIs(w, err, kvstore.ErrNoLeader)
		pictures := p.Survey(w.Context())
		require.NotNil(w, pictures[0].Picture)
		require.Nil(w, pictures[1].Picture)
		w.start("n3")
		testkit.WaitFor(w, time.Minute, "the majority to serve", func() bool {
			ctx, cancel := context.WithTimeout(w.Context(), time.Second)
			defer cancel()
			return p.Health(ctx, true) == nil
		})
		_, err = p.Do(w.Context(), "", kv.Put("k", "v"))
		require.NoError(w, err)
	})
}

// history is what clients did and saw.
type history struct {
	mu      sync.Mutex
	clients int
	ops     []porcupine.Operation
}

// newClient returns the number of a new client.
func (h *history) newClient() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients
}

// note executes an operation and notes the operation, as pending if the outcome is open.
func (h *history) note(client int, in models.KVInput, do func() (string, error)) error {
	h.mu.Lock()
	i := len(h.ops)
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: time.Now().UnixNano(), Return: porcupine.Pending})
	h.mu.Unlock()
	value, err := do()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.ops[i].Output, h.ops[i].Return = models.KVOutput{Value: value}, time.Now().UnixNano()
	}
	return err
}

// mix reads and writes keys that all clients share, through any running process, and counts
// what is acknowledged.
func (w *world) mix(h *history, rng *rand.Rand, acknowledged *atomic.Int64, stop <-chan struct{}) {
	client := h.newClient()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(60)) * time.Millisecond):
		}
		all := w.running()
		p := all[rng.IntN(len(all))]
		in := models.KVInput{Op: models.KVGet, Key: fmt.Sprintf("%d-shared", rng.IntN(10))}
		op := kv.Get(in.Key)
		switch rng.IntN(4) {
		case 0:
			in.Op, in.Value = models.KVPut, fmt.Sprintf("[%d.%d]", client, n)
			op = kv.Put(in.Key, in.Value)
		case 1:
			in.Op, in.Value = models.KVAppend, fmt.Sprintf("(%d.%d)", client, n)
			op = kv.Append(in.Key, in.Value)
		}
		err := h.note(client, in, func() (string, error) {
			ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
			defer cancel()
			r, err := p.Do(ctx, "", op)
			return r.Value, err
		})
		if err != nil {
			client = h.newClient() // the operation may still be under way
			continue
		}
		acknowledged.Add(1)
	}
}

// pairs writes the same value to two keys of different shards in a transaction, and reads
// both in another one, and counts the reads. The values are always the same.
func (w *world) pairs(rng *rand.Rand, read *atomic.Int64, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(200)) * time.Millisecond):
		}
		all := w.running()
		p := all[rng.IntN(len(all))]
		ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
		value := fmt.Sprint("value ", n)
		_, _ = p.Txn(ctx, shardkv.Txn{Then: []kv.Op{kv.Put("0-pair", value), kv.Put("5-pair", value)}}) // made, or not
		r, err := p.Txn(ctx, shardkv.Txn{Then: []kv.Op{kv.Get("0-pair"), kv.Get("5-pair")}})
		cancel()
		if err == nil {
			read.Add(1)
			if r.Results[0].Value != r.Results[1].Value {
				w.Errorf("a transaction wrote one key alone: %q and %q", r.Results[0].Value, r.Results[1].Value)
			}
		}
	}
}

// trouble breaks things, and rearranges the groups, until stop is closed. At most one
// process is down or cut off at a time.
func (w *world) trouble(rng *rand.Rand, rounds int) {
	for range rounds {
		victim := w.members[rng.IntN(len(w.members))].Name
		pause := time.Duration(rng.IntN(3000)) * time.Millisecond
		switch rng.IntN(3) {
		case 0:
			w.crash(victim)
			w.rearrange(rng)
			time.Sleep(pause)
			w.start(victim)
		case 1:
			w.partition(map[string]int{victim: 1})
			w.rearrange(rng)
			time.Sleep(pause)
			w.partition(nil)
		default:
			w.rearrange(rng)
			time.Sleep(pause)
		}
	}
}

// rearrange has groups join or leave, or moves a shard, through any running process. The
// change may be refused, and its outcome may be open.
func (w *world) rearrange(rng *rand.Rand) {
	all := w.running()
	p := all[rng.IntN(len(all))]
	ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
	defer cancel()
	gid := 1 + rng.IntN(w.groups)
	switch rng.IntN(3) {
	case 0:
		_, _ = p.Join(ctx, []int{gid})
	case 1:
		_, _ = p.Leave(ctx, []int{gid})
	default:
		_, _ = p.Move(ctx, rng.IntN(10), gid)
	}
}

// Clients of all processes read and write while processes crash and are cut off, and
// shards move. The history is linearizable, transactions are whole, and the store serves
// all shards afterwards.
func TestHistories(t *testing.T) {
	run(t, 3, 4000, func(w *world) {
		w.underLoad(func(rng *rand.Rand) { w.trouble(rng, 8) })
	})
}

// underLoad lets clients of all processes work during do. Then the store serves all shards,
// and the history is checked.
func (w *world) underLoad(do func(rng *rand.Rand)) {
	w.Helper()
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(w)), 1))
	w.settle()
	h := &history{}
	stop := make(chan struct{})
	var working sync.WaitGroup
	counts := make([]atomic.Int64, 4)
	for i := range counts {
		own := rand.New(rand.NewPCG(uint64(testkit.Seed(w)), uint64(2+i)))
		working.Go(func() {
			if i == 0 {
				w.pairs(own, &counts[i], stop)
			} else {
				w.mix(h, own, &counts[i], stop)
			}
		})
	}
	do(rng)
	all := make([]int, w.groups)
	for i := range all {
		all[i] = i + 1
	}
	_, err := w.running()[0].Join(w.Context(), all)
	require.NoError(w, err)
	w.settle()
	testkit.WaitFor(w, time.Minute, "a success of each client", func() bool {
		for i := range counts {
			if counts[i].Load() == 0 {
				return false
			}
		}
		return true
	})
	close(stop)
	working.Wait()
	h.check(w)
}

// check checks that the history is linearizable, and explains why if not.
func (h *history) check(w *world) {
	w.Helper()
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	result, info, err := porcupine.CheckOperationsContext(w.Context(), models.KV, ops, porcupine.Options{Verbose: true})
	if result != porcupine.Ok {
		w.Errorf("a history of %d operations is %v (%v)", len(ops), result, err)
	}
	for _, e := range porcupine.Explain(models.KV, info) {
		w.Errorf("%v", e)
	}
}

// A process whose disk is full goes on without snapshots, says so, and loses nothing.
func TestFullDisk(t *testing.T) {
	var disk *simdisk.Disk
	runWith(t, 2, 2000, func(w *world) { disk = w.useDisk("n1") }, func(w *world) {
		w.settle()
		p := w.running()[0]
		noRoom := func() (all []string) {
			for _, s := range p.Picture(w.Context()).States {
				if s.NoRoom {
					all = append(all, s.Group)
				}
			}
			return all
		}
		put := func(from, to int) {
			for i := from; i < to; i++ {
				_, err := p.Do(w.Context(), "", kv.Put(fmt.Sprint(i), strings.Repeat("x", 100)))
				require.NoError(w, err)
			}
		}
		disk.SetCapacity(disk.Used())
		put(0, 200)
		testkit.WaitFor(w, time.Minute, "snapshots without room", func() bool { return slices.Equal(noRoom(), []string{"1", "2"}) })
		time.Sleep(10 * time.Minute)
		require.NoError(w, p.Live())
		require.NoError(w, p.Health(w.Context(), true))
		put(200, 210)
		disk.SetCapacity(-1)
		testkit.WaitFor(w, 2*time.Minute, "snapshots", func() bool { return len(noRoom()) == 0 })
		put(210, 300)
		w.crash("n1")
		w.start("n1")
		p = w.running()[0]
		w.crash("n2")
		r, err := p.Do(w.Context(), "", kv.Scan("", "", 0))
		require.NoError(w, err)
		require.Len(w, r.Pairs, 300)
		w.start("n2")
	})
}
