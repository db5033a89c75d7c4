package etcdapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/etcdapi"
	"raftlab/internal/testkit"
	"raftlab/raft/core"
)

// operation is one request of the history. Times are of the bubble.
type operation struct {
	begin, end time.Time
	write      bool
	key, value string // of a write, or what a read found
	acked      bool
	revision   int64
}

// clients run requests on random members, and keep the history.
type clients struct {
	c       *cluster
	mu      sync.Mutex
	members map[core.NodeID]*member
	history []operation
}

func (cl *clients) member(id core.NodeID) *member {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.members[id]
}

func (cl *clients) run(random *rand.Rand, name string, until time.Time) {
	for i := 0; time.Now().Before(until); i++ {
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
		m := cl.member(core.NodeID(1 + random.IntN(3)))
		if m == nil {
			continue
		}
		op := operation{begin: time.Now(), key: fmt.Sprint("k", random.IntN(3)), write: random.IntN(2) == 0}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+random.IntN(3000))*time.Millisecond)
		if op.write {
			op.value = fmt.Sprint(name, "-", i)
			r, err := m.kv.Put(ctx, &pb.PutRequest{Key: []byte(op.key), Value: []byte(op.value)})
			if op.acked = err == nil; op.acked {
				op.revision = r.Header.Revision
			}
		} else {
			r, err := m.kv.Range(ctx, &pb.RangeRequest{Key: []byte(op.key)})
			if op.acked = err == nil; op.acked {
				op.revision = r.Header.Revision
				for _, kv := range r.Kvs {
					op.value = string(kv.Value)
				}
			}
		}
		cancel()
		op.end = time.Now()
		cl.mu.Lock()
		cl.history = append(cl.history, op)
		cl.mu.Unlock()
	}
}

// disturb cuts members off and restarts them.
func (cl *clients) disturb(random *rand.Rand, until time.Time) {
	for time.Now().Before(until) {
		id := core.NodeID(1 + random.IntN(3))
		switch random.IntN(3) {
		case 0:
			cl.c.network.Partition([]core.NodeID{id})
		case 1:
			cl.mu.Lock()
			delete(cl.members, id)
			cl.mu.Unlock()
			cl.c.stop(id)
			time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
			m := cl.c.start(id)
			cl.mu.Lock()
			cl.members[id] = m
			cl.mu.Unlock()
		}
		time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
		cl.c.network.Heal()
	}
}

// Every history is linearizable. The store's own history, as a watch sees it, names the
// order of the writes, so the check is direct: each acknowledged write is in the history
// once, each read shows the history at its revision, and revisions follow real time.
func TestHistoriesAreLinearizable(t *testing.T) {
	random := testkit.Rand(t)
	run(t, etcdapi.Config{}, func(c *cluster) {
		cl := &clients{c: c, members: make(map[core.NodeID]*member)}
		for id, m := range c.members {
			cl.members[id] = m
		}
		until := time.Now().Add(12 * time.Second)
		if os.Getenv("RAFTLAB_SOAK") != "" {
			until = time.Now().Add(10 * time.Minute)
		}
		var all sync.WaitGroup
		for i := range 4 {
			own := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
			all.Go(func() { cl.run(own, fmt.Sprint("c", i), until) })
		}
		cl.disturb(random, until)
		all.Wait()
		c.leader()
		settle()
		checkHistory(t, cl.history, c.events())
	})
}

// events returns all puts of the store in the order of their revisions, from 2.
func (c *cluster) events() (puts []operation) {
	w := c.watches(c.leader())
	last := w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 2}).Header.Revision
	for int64(len(puts)) < last-1 {
		for _, e := range w.next().Events {
			puts = append(puts, operation{key: string(e.Kv.Key), value: string(e.Kv.Value), revision: e.Kv.ModRevision})
		}
	}
	return puts
}

func checkHistory(t *testing.T, history, puts []operation) {
	t.Helper()
	values := map[string]bool{}
	for i, p := range puts {
		require.EqualValues(t, i+2, p.revision)
		require.False(t, values[p.value], "the write %q took effect twice", p.value)
		values[p.value] = true
	}
	acked := 0
	for _, op := range history {
		switch {
		case !op.acked:
			continue
		case op.write:
			p := puts[op.revision-2]
			require.Equal(t, op.key+"="+op.value, p.key+"="+p.value, "revision %d", op.revision)
		default:
			found := ""
			for _, p := range puts[:op.revision-1] {
				if p.key == op.key {
					found = p.value
				}
			}
			require.Equal(t, found, op.value, "a read of %s at revision %d", op.key, op.revision)
		}
		acked++
	}
	require.Greater(t, acked, 30, "of %d", len(history))
	checkRealTime(t, history)
}

// checkRealTime checks that an operation has at least the revision of each one that ended
// before the operation began, and a write a higher one.
func checkRealTime(t *testing.T, history []operation) {
	t.Helper()
	byBegin := slices.Clone(history)
	slices.SortFunc(byBegin, func(a, b operation) int { return a.begin.Compare(b.begin) })
	slices.SortFunc(history, func(a, b operation) int { return a.end.Compare(b.end) })
	least, ended := int64(0), 0
	for _, op := range byBegin {
		for ; history[ended].end.Before(op.begin); ended++ {
			least = max(least, history[ended].revision)
		}
		switch {
		case !op.acked:
		case op.write:
			require.Greater(t, op.revision, least, "%+v", op)
		default:
			require.GreaterOrEqual(t, op.revision, least, "%+v", op)
		}
	}
}
