package shardstore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/shardkv"
)

// counter is a client that writes rising numbers to a key.
type counter struct {
	key          string
	begun, acked atomic.Int64
}

func (c *counter) run(w *world, rng *rand.Rand, stop <-chan struct{}) {
	for n := int64(1); ; n++ {
		c.begun.Store(n)
		for { // until this number is there
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
			}
			all := w.running()
			ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
			_, err := all[rng.IntN(len(all))].Do(ctx, "", kv.Put(c.key, strconv.FormatInt(n, 10)))
			cancel()
			if err == nil {
				c.acked.Store(n)
				break
			}
		}
	}
}

// transfer moves money between two accounts of different shards, with pauses.
func (w *world) transfer(rng *rand.Rand, pause time.Duration, from, to string, stop <-chan struct{}) (made int) {
	left := 1000000
	for {
		time.Sleep(time.Duration(rng.Int64N(int64(pause))))
		select {
		case <-stop:
			return made
		default:
		}
		all := w.running()
		ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
		r, err := all[rng.IntN(len(all))].Txn(ctx, shardkv.Txn{
			If:   []shardkv.Compare{shardkv.CompareValue(from, shardkv.Equal, balance(left))},
			Then: []kv.Op{kv.Put(from, balance(left-1)), kv.Put(to, balance(1000001-left))},
			Else: []kv.Op{kv.Get(from)},
		})
		cancel()
		if err == nil && r.Succeeded {
			left, made = left-1, made+1
		} else if err == nil && r.Results[0].Value != "" {
			left, _ = strconv.Atoi(r.Results[0].Value) // an earlier one has taken effect
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// balance is the value of an account. Accounts begin as missing keys.
func balance(n int) string {
	if n == 1000000 {
		return ""
	}
	return strconv.Itoa(n)
}

// reread returns a backup as its file has it.
func reread(t *testing.T, b *shardstore.Backup) *shardstore.Backup {
	t.Helper()
	var file bytes.Buffer
	require.NoError(t, b.Write(&file))
	again, _, err := shardstore.ReadBackup(bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(t, err)
	return again
}

// pairsOf returns the content of a backup.
func pairsOf(t *testing.T, b *shardstore.Backup) map[string]kv.Pair {
	t.Helper()
	all := make(map[string]kv.Pair)
	for shard, e := range b.Extracts {
		e.Pairs(func(p kv.Pair) {
			require.Equal(t, shard, shardkv.ShardOf(p.Key))
			all[p.Key] = p
		})
	}
	return all
}

// Backups beside a load, while processes crash and shards move, have every write that was
// acknowledged before, and transactions as a whole. Transactions almost without a pause do
// not keep backups away.
func TestBackup(t *testing.T) {
	t.Run("pauses", func(t *testing.T) { backups(t, 1, 20, 3, 50*time.Millisecond) })
	t.Run("no pauses", func(t *testing.T) { backups(t, 0, 3, 6, time.Microsecond) })
}

// backups makes backups, at least some, beside the transactions of some clients with pauses
// and during rounds of trouble.
func backups(t *testing.T, rounds, least, clients int, pause time.Duration) {
	run(t, 3, 4000, func(w *world) {
		seed := uint64(testkit.Seed(t))
		w.settle()
		stop := make(chan struct{})
		var working sync.WaitGroup
		counters := make([]*counter, 2)
		for i := range counters {
			counters[i] = &counter{key: fmt.Sprintf("%d-counter", 4*i+1)}
			working.Go(func() { counters[i].run(w, rand.New(rand.NewPCG(seed, uint64(i))), stop) })
		}
		var accounts [][2]string // in the first shard, which coordinates, and in the last one
		for i := range clients {
			accounts = append(accounts, [2]string{fmt.Sprint("2-from", i), fmt.Sprint("1-to", i)})
		}
		if testkit.Soak() {
			rounds = 20
		}
		transfers := make([]int, len(accounts))
		for i, a := range accounts {
			working.Go(func() {
				transfers[i] = w.transfer(rand.New(rand.NewPCG(seed, uint64(len(counters)+i))), pause, a[0], a[1], stop)
			})
		}
		troubled := make(chan struct{})
		go func() {
			defer close(troubled)
			w.trouble(rand.New(rand.NewPCG(seed, 20)), rounds)
		}()
		made, tried := 0, 0
		for under := true; under || tried < least; time.Sleep(100 * time.Millisecond) {
			select {
			case <-troubled:
				under = false
			default:
			}
			if tried++; w.checkBackup(counters, accounts) {
				made++
			}
		}
		_, err := w.running()[0].Join(w.Context(), []int{1, 2, 3})
		require.NoError(w, err)
		w.settle()
		require.True(w, w.checkBackup(counters, accounts))
		close(stop)
		working.Wait()
		require.NotContains(w, transfers, 0)
		require.NotZero(w, made)
		t.Logf("%d of %d backups, transfers %v", made, tried, transfers)
	})
}

// checkBackup makes a backup, if the process can, and checks the backup.
func (w *world) checkBackup(counters []*counter, accounts [][2]string) bool {
	w.Helper()
	var before []int64
	for _, c := range counters {
		before = append(before, c.acked.Load())
	}
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
	defer cancel()
	b, err := w.running()[0].Backup(ctx)
	if err != nil {
		return false // the process is cut off, or has crashed
	}
	all := pairsOf(w.T, reread(w.T, b))
	for i, c := range counters {
		n, _ := strconv.ParseInt(all[c.key].Value, 10, 64)
		require.GreaterOrEqual(w, n, before[i], "a write that was acknowledged before the backup")
		require.LessOrEqual(w, n, c.begun.Load())
	}
	for _, a := range accounts {
		from, to := all[a[0]].Value, all[a[1]].Value
		if from == "" && to == "" {
			continue
		}
		left, _ := strconv.Atoi(from)
		had, _ := strconv.Atoi(to)
		require.Equal(w, 1000000, left+had, "%s and %s are %q and %q", a[0], a[1], from, to)
	}
	return true
}

// restored runs another store on a backup.
func restored(t *testing.T, b *shardstore.Backup, groups, processes int) *world {
	w := newWorld(t, groups, processes, 4000)
	var names []string
	var members []core.Member
	cfg := core.Configuration{}
	for _, m := range w.members {
		names = append(names, m.Name)
		members = append(members, core.Member{ID: m.ID, Address: m.Name})
		cfg.Voters = append(cfg.Voters, m.ID)
	}
	cfg.Members = members
	for _, m := range w.members {
		states, err := b.NewStates(groups, names)
		require.NoError(t, err)
		require.Len(t, states, groups+1)
		for gid, state := range states {
			disk, id := w.disks[m.Name], shardstore.GroupID(gid)
			out, err := disk.CreateSnapshot(id, node.SnapshotHeader{Index: 1, Term: 1, Configuration: cfg.Encode()})
			require.NoError(t, err)
			require.NoError(t, state.WriteSnapshot(out, 1))
			h, err := out.Commit()
			require.NoError(t, err)
			require.NoError(t, disk.Save([]node.Update{{Group: id, HardState: &core.HardState{CurrentTerm: 1}, Snapshot: &h}}))
		}
		w.start(m.Name)
	}
	return w
}

// A backup makes a store with other processes, and with as many groups or with others. Keys,
// versions, sessions and the places of the shards are those of the backup, and the new
// store moves shards and executes transactions.
func TestRestoredStore(t *testing.T) {
	run(t, 3, 4000, func(w *world) {
		w.settle()
		p := w.running()[0]
		for i := range 40 {
			_, err := p.Do(w.Context(), "", kv.Put(fmt.Sprintf("%d-key", i), strings.Repeat("x", i)))
			require.NoError(w, err)
		}
		_, err := p.Do(w.Context(), "once", kv.Append("0-key", "+"))
		require.NoError(w, err)
		_, err = p.Leave(w.Context(), []int{2})
		require.NoError(w, err)
		_, err = p.Move(w.Context(), 0, 3)
		require.NoError(w, err)
		want := w.settle()
		b, err := p.Backup(w.Context())
		require.NoError(w, err)
		b = reread(w.T, b)
		before := pairsOf(w.T, b)
		for groups, processes := range map[int]int{3: 5, 2: 1, 10: 3} {
			n := restored(w.T, reread(w.T, b), groups, processes)
			got := n.settle()
			for shard, place := range got.Shards {
				if groups == 3 {
					require.Equal(w, want.Shards[shard].Group, place.Group, "of shard %d", shard)
				}
				require.NotZero(w, place.Group)
			}
			q := n.running()[processes-1]
			_, err := q.Do(w.Context(), "once", kv.Append("0-key", "+"))
			require.NoError(w, err, "a write that the backup has")
			r, err := q.Do(w.Context(), "", kv.Scan("", "", 0))
			require.NoError(w, err)
			require.Len(w, r.Pairs, len(before))
			for _, pair := range r.Pairs {
				require.Equal(w, before[pair.Key], pair)
			}
			txn, err := q.Txn(w.Context(), shardkv.Txn{Then: []kv.Op{kv.Put("0-key", "a"), kv.Put("7-key", "b"), kv.Append("5-key", "c")}})
			require.NoError(w, err)
			require.True(w, txn.Succeeded)
			_, err = q.Leave(w.Context(), []int{got.Shards[7].Group})
			require.NoError(w, err)
			_, err = q.Join(w.Context(), []int{1, 2})
			require.NoError(w, err)
			n.settle()
			r, err = q.Do(w.Context(), "", kv.Get("7-key"))
			require.NoError(w, err)
			require.Equal(w, "b", r.Value)
			n.end()
		}
	})
}

// A backup of a store without a majority, or without groups that have joined, ends with an
// error at the end of its time, and changes nothing.
func TestBackupWithoutMajority(t *testing.T) {
	run(t, 2, 0, func(w *world) {
		w.settle()
		p := w.running()[0]
		_, err := p.Do(w.Context(), "", kv.Put("k", "v"))
		require.NoError(w, err)
		_, err = p.Leave(w.Context(), []int{1, 2})
		require.NoError(w, err)
		b, err := p.Backup(w.Context())
		require.NoError(w, err, "the last owners have the shards")
		require.Equal(w, "v", pairsOf(w.T, reread(w.T, b))["k"].Value)
		w.crash("n2")
		w.crash("n3")
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		_, err = p.Backup(ctx)
		require.ErrorContains(w, err, "backup of shard 9: group ")
		w.start("n2")
		_, err = p.Backup(w.Context())
		require.NoError(w, err)
	})
}
