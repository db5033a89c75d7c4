package shardkv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/rsm/clerk"
	"raftlab/shardkv"
)

// bytes returns the size of all Raft states and snapshots of the groups. A command
// commits before the slowest replica has the command, so bytes waits for replicas first.
func (s *store) bytes() int {
	time.Sleep(time.Second)
	sum := 0
	for _, g := range s.groups {
		sum += g.StateBytes()
	}
	return sum
}

func gets(keys ...string) []kv.Op {
	ops := make([]kv.Op, len(keys))
	for i, key := range keys {
		ops[i] = kv.Get(key)
	}
	return ops
}

// repeated returns n operations, taking turns.
func repeated(n int, ops ...kv.Op) []kv.Op {
	all := make([]kv.Op, n)
	for i := range all {
		all[i] = ops[i%len(ops)]
	}
	return all
}

// near and far are in different shards of a store with two groups, and nextTo is
// in the shard of near.
const near, far, nextTo = "0-near", "5-far", "0-nextTo"

// The values that a transaction reads enter no log, whether the transaction also
// writes or not, and whether one shard has its keys or two.
func TestTransactionReadsStayOutOfTheLog4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		value := strings.Repeat("v", 100<<10)
		for _, key := range []string{near, far, nextTo} {
			c.do(kv.Put(key, value))
		}
		for _, other := range []string{far, nextTo} {
			for _, write := range []kv.Op{kv.Get("0-small"), kv.Put("0-small", "x")} {
				before := s.bytes()
				for range 5 {
					r := c.txn(t, shardkv.Txn{Then: append(gets(near, other, near), write)})
					for _, got := range r.Results[:3] {
						require.Equal(t, value, got.Value)
					}
				}
				require.Less(t, s.bytes()-before, 5*6*2500, "growth of all logs by transactions with %q and %v", other, write.Kind)
			}
		}
	})
}

// A value that a transaction reads often crosses the network once.
func TestTransactionSendsAValueOnce4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		value := strings.Repeat("v", 15<<10)
		c.do(kv.Put(near, value))
		c.do(kv.Put(far, "small"))
		time.Sleep(time.Second) // the slowest replica receives the value
		for _, other := range []string{nextTo, far} {
			before := s.Net.GetTotalBytes()
			r := c.txn(t, shardkv.Txn{Then: repeated(shardkv.MaxTxnSize, kv.Get(near), kv.Get(other))})
			require.Equal(t, value, r.Results[254].Value)
			require.Less(t, s.Net.GetTotalBytes()-before, int64(150<<10), "bytes of a transaction with %q", other)
		}
	})
}

// A transaction with too large a request or result is refused with the size and
// the limit, changes nothing, and leaves no large entry in a log.
func TestTransactionLimits4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		large := strings.Repeat("v", 1<<20)
		for _, key := range []string{near, far} {
			c.do(kv.Put(key, large))
		}
		c.do(kv.Put("0-new", ""))
		before := s.bytes()
		for what, x := range map[string]shardkv.Txn{
			"the values that the transaction reads have 5242880 bytes; the limit is 4194304":   {Then: append(repeated(5, kv.Get(near)), kv.Put("0-new", "x"))},
			"the values that the transaction reads have 6291456 bytes; the limit is 4194304":   {Then: append(repeated(6, kv.Get(near), kv.Get(far)), kv.Put("0-new", "x"))},
			"the values that the transaction reads have 266338304 bytes; the limit is 4194304": {Then: repeated(254, kv.Get(near), kv.Get(far))},
			"the values that the transaction reads have 267386880 bytes; the limit is 4194304": {If: []shardkv.Compare{shardkv.CompareValue(far, shardkv.Equal, "")}, Else: repeated(255, kv.Get(near))},
			"the keys and values of the transaction have 4194326 bytes; the limit is 4194304":  {Then: repeated(4, kv.Put(far, large), kv.Put(near, large))},
			"the keys and values of the transaction have 4194328 bytes; the limit is 4194304":  {Then: repeated(3, kv.Put(near, large)), If: []shardkv.Compare{shardkv.CompareValue(near, shardkv.Less, large)}},
			"the keys and values of the transaction have 4194329 bytes; the limit is 4194304":  {If: []shardkv.Compare{shardkv.CompareValue(near, shardkv.Less, large)}, Else: append(repeated(3, kv.Append(near, large)), kv.Get("a"))},
		} {
			_, err := c.Txn(context.Background(), x)
			require.ErrorIs(t, err, shardkv.ErrTxnLimit)
			require.ErrorContains(t, err, what)
		}
		require.Equal(t, "", c.do(kv.Get("0-new")))
		require.Less(t, s.bytes()-before, 500<<10, "growth of all logs")
		r := c.txn(t, shardkv.Txn{Then: gets(near, far, near, far)})
		require.Equal(t, large, r.Results[3].Value)
	})
}

// A server refuses too large a transaction, whatever the clerk thinks of it.
func TestServerRefusesLargeTransaction4B(t *testing.T) {
	m := machine(t)
	large := shardkv.Txn{Then: []kv.Op{kv.Put("0", strings.Repeat("v", shardkv.MaxTxnBytes)), kv.Put("1", "")}}
	r, fresh := m.Precheck(5, 1, shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &large, Limited: true})
	require.False(t, fresh)
	require.Equal(t, shardkv.OverLimit, r.Txn.Problem)
	require.Equal(t, "the keys and values of the transaction have 4194306 bytes; the limit is 4194304", r.Txn.Detail)
}

func isFetch(m labrpc.Message) bool {
	var args clerk.Args[shardkv.Command]
	return m.Decode(&args) == nil && args.Command.Kind == shardkv.KindFetch
}

// A client that fetches late gets the values of its transaction, though the keys
// have been written again and the servers have restarted from snapshots.
func TestTransactionValuesAreKept4B(t *testing.T) {
	for _, writes := range []bool{true, false} {
		t.Run(fmt.Sprintf("writes=%v", writes), func(t *testing.T) {
			run(t, 2, 100, func(t *testing.T, s *store) {
				s.join(0, 1)
				c, other := s.client(), s.client()
				for _, key := range []string{near, far} {
					c.do(kv.Put(key, "old"))
				}
				hold := labrpc.NewHold()
				s.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
					if !m.Reply && m.Method == "ShardKV.Execute" && isFetch(m) {
						return labrpc.HeldBy(hold)
					}
					return labrpc.Usual()
				})
				x := shardkv.Txn{Then: gets(near, far)}
				if writes {
					x.Then = append(x.Then, kv.Put("0-count", "1"), kv.Append(far, "!"))
				}
				got := make(chan shardkv.TxnResult)
				go func() {
					r, err := c.Txn(s.Open, x)
					if err != nil {
						t.Error(err)
					}
					got <- r
				}()
				time.Sleep(time.Second)
				other.do(kv.Put(near, "new"))
				other.do(kv.Put(far, "new"))
				s.crash(0, 1)
				s.restart(0, 1)
				s.Net.SetScheduler(nil)
				hold.Drop()
				want := "old"
				if !writes {
					want = "new" // the restart has lost the values, so the clerk read again
				}
				r := <-got
				require.Equal(t, want, r.Results[0].Value)
				require.Equal(t, want, r.Results[1].Value)
			})
		})
	}
}

// A transaction that has written, and whose values newer ones have displaced
// before the client fetched them, is an error that says so. One that has only
// read is repeated.
func TestTransactionValuesAreDisplaced4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c, other := s.client(), s.client()
		value := strings.Repeat("v", 1<<20)
		for _, key := range []string{near, far} {
			c.do(kv.Put(key, value))
		}
		for _, write := range []kv.Op{kv.Put("0-count", "1"), kv.Get("0-count")} {
			hold := labrpc.NewHold()
			s.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
				var args clerk.Args[shardkv.Command]
				if !m.Reply && m.Method == "ShardKV.Execute" && m.Decode(&args) == nil &&
					args.Command.Kind == shardkv.KindFetch && args.Command.Phase.ID.Number <= 1 {
					return labrpc.HeldBy(hold)
				}
				return labrpc.Usual()
			})
			result := make(chan error)
			go func() {
				_, err := c.Txn(s.Open, shardkv.Txn{Then: append(gets(near, far), write)})
				result <- err
			}()
			time.Sleep(time.Second)
			for range 3 {
				other.txn(t, shardkv.Txn{Then: append(gets(near, near, far, far), kv.Append(far, ""))})
			}
			s.Net.SetScheduler(nil)
			hold.Drop()
			err := <-result
			if write.ReadOnly() {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, shardkv.ErrTxnResultsLost)
				require.Equal(t, "1", c.do(kv.Get("0-count")))
			}
		}
	})
}

// Transactions that together exceed the bound of a coordinator or a participant
// wait for each other, and all take effect.
func TestManyLargeTransactions4B(t *testing.T) {
	clients := 6
	if testkit.Soak() {
		clients = 12
	}
	run(t, 2, 1<<20, func(t *testing.T, s *store) {
		s.join(0, 1)
		value := strings.Repeat("v", 700<<10)
		var working sync.WaitGroup
		for i := range clients {
			c := s.client()
			working.Go(func() {
				near, far := fmt.Sprintf("0-%d", i), fmt.Sprintf("5-%d", i)
				_, err := c.Txn(s.Open, shardkv.Txn{Then: []kv.Op{kv.Put(near, value), kv.Put(far, value), kv.Get(near)}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		working.Wait()
	})
}

// A coordinator accepts transactions up to its bound in bytes, and refuses the
// next one before the log and again in the log, until one is over. The same holds
// for a participant's locks.
func TestLedgerIsBounded4B(t *testing.T) {
	m := machine(t)
	half := strings.Repeat("v", 1<<20)
	begin := func(client uint64) shardkv.Command {
		k := fmt.Sprint(client)
		x := shardkv.Txn{Then: []kv.Op{kv.Put("0"+k, half), kv.Put("1"+k, half)}}
		return shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &x, Limited: true}
	}
	require.Equal(t, shardkv.Pending, apply(t, m, 1, 1, begin(1)).Code)
	_, fresh := m.Precheck(2, 1, begin(2))
	require.False(t, fresh, "a second transaction of 2 MiB is admitted")
	require.Equal(t, shardkv.Busy, apply(t, m, 2, 1, begin(2)).Code)

	earlier := begin(3) // from a log of an earlier version
	earlier.Limited = false
	require.Equal(t, shardkv.Pending, apply(t, m, 3, 1, earlier).Code)

	m = reload(t, m)
	require.Equal(t, shardkv.Busy, apply(t, m, 2, 1, begin(2)).Code)
	for n := range uint64(2) {
		apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindForget, Shard: 8, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 8, Number: n + 1}}})
	}
	require.Equal(t, shardkv.Pending, apply(t, m, 2, 1, begin(2)).Code)

	prepare := func(n uint64) shardkv.Command {
		part := shardkv.Txn{Then: []kv.Op{kv.Put("1"+fmt.Sprint(n), half+half)}}
		return shardkv.Command{Kind: shardkv.KindPrepare, Shard: 9, Limited: true,
			Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 8, Number: n}, Part: &part}}
	}
	require.NotNil(t, apply(t, m, 0, 0, prepare(11)).Vote)
	require.Equal(t, shardkv.Busy, apply(t, m, 0, 0, prepare(12)).Code)
	abort := shardkv.Outcome{Problem: shardkv.Delayed}
	apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindOutcome, Shard: 9, Phase: &shardkv.Phase{ID: shardkv.TxnID{Shard: 8, Number: 11}, Outcome: abort}})
	require.NotNil(t, apply(t, m, 0, 0, prepare(12)).Vote)
}

// A session holds no value that a client has read. Repeated reads are executed
// again, and the numbers of a session stay in order.
func TestSessionsHoldNoValues4B(t *testing.T) {
	m := machine(t)
	value := strings.Repeat("v", 100<<10)
	apply(t, m, 9, 1, put("0", value))
	size := len(snapshot(t, m))
	read := shardkv.Command{Kind: shardkv.KindTxn, Shard: 8, Txn: &shardkv.Txn{Then: repeated(3, kv.Get("0"))}, Limited: true}
	for client := range uint64(20) {
		for range 2 {
			require.Equal(t, value, apply(t, m, 100+client, 1, get("0")).KV.Value)
			r := apply(t, m, 200+client, 1, read)
			require.Equal(t, []string{value}, r.Values.Distinct)
			require.Equal(t, []int{1, 1, 1}, r.Values.Of)
		}
		apply(t, m, 100+client, 2, put("0", value))
	}
	require.Less(t, len(snapshot(t, m))-size, 20*2*100, "growth of the snapshot")

	// A transaction that also writes keeps its values for a retry, up to a bound.
	read.Txn = &shardkv.Txn{Then: append(repeated(10, kv.Get("0")), kv.Put("0b", "x"))}
	for client := range uint64(100) {
		apply(t, m, 300+client, 1, read)
		apply(t, m, 0, 0, put("0", fmt.Sprint(client, value))) // so that no two transactions read the same
	}
	size = len(snapshot(t, m))
	require.Less(t, size, 5<<20, "size of the snapshot")
	fetch := func(client uint64) shardkv.Result {
		r := apply(t, m, client, 1, read)
		return apply(t, m, 0, 0, shardkv.Command{Kind: shardkv.KindFetch, Shard: 8, Phase: &shardkv.Phase{ID: r.Txn.ID, Outcome: *r.Txn}})
	}
	require.Equal(t, fmt.Sprint(98, value), fetch(399).Values.Distinct[0])
	require.Equal(t, shardkv.Gone, fetch(300).Code)
	m = reload(t, m)
	require.Equal(t, fmt.Sprint(98, value), fetch(399).Values.Distinct[0])
}

// A large command that a clerk sends again while the log is slow is logged once.
func TestLargeCommandIsLoggedOnce4B(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		c.do(kv.Put(near, ""))
		value := strings.Repeat("v", 50<<10) // small enough to be sent again soon
		before, terms := s.bytes(), s.terms()
		hold := labrpc.NewHold()
		s.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			if !m.Reply && m.Method != "ShardKV.Execute" && len(m.Bytes()) > len(value) {
				return labrpc.HeldBy(hold)
			}
			return labrpc.Usual()
		})
		done := make(chan struct{})
		go func() {
			c.do(kv.Put(near, value))
			close(done)
		}()
		time.Sleep(3 * time.Second)
		s.Net.SetScheduler(nil)
		hold.Drop()
		<-done
		if s.terms() > terms {
			t.Skip("the heartbeats of this Raft have the entries, so the slow log has changed the leader")
		}
		require.Less(t, s.bytes()-before, groupSize*len(value)*3/2, "growth of all logs by one command that was sent several times")
	})
}

// A clerk and its forks send a bounded number of large commands at a time, and
// commands that were not sent are told from those whose outcome is open.
func TestLargeCommandsWait4B(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		value := strings.Repeat("v", 1<<20)
		c.do(kv.Put(near, value))
		s.crash(0)
		var working sync.WaitGroup
		var mu sync.Mutex
		var busy, open int
		for i := range 50 {
			fork := c.Fork()
			patience := time.Second
			if i < 7 { // these fill the bound
				patience = 2 * time.Second
			}
			time.Sleep(time.Millisecond)
			working.Go(func() {
				ctx, cancel := context.WithTimeout(s.Open, patience)
				defer cancel()
				var err error
				if i%2 == 0 {
					_, err = fork.Do(ctx, kv.Put(fmt.Sprintf("0-%d", i), value))
				} else {
					_, err = fork.Txn(ctx, shardkv.Txn{Then: []kv.Op{kv.Put(fmt.Sprintf("0-%d", i), value)}})
				}
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, rsm.ErrBusy) {
					busy++
				} else if errors.Is(err, context.DeadlineExceeded) {
					open++
				}
			})
		}
		working.Wait()
		require.Equal(t, []int{43, 7}, []int{busy, open}, "busy, and sent without an answer")
		s.restart(0)
		require.Equal(t, value, c.do(kv.Get(near)))
		c.txn(t, shardkv.Txn{Then: []kv.Op{kv.Put(far, value)}})
	})
}
