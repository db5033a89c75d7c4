package shardkv_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/rsm/clerk"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// txn executes a transaction that cannot fail.
func (c *client) txn(t *testing.T, x shardkv.Txn) shardkv.TxnResult {
	t.Helper()
	r, err := c.Txn(context.Background(), x)
	require.NoError(t, err)
	return r
}

// Transactions over one shard and over several have equal results.
func TestTransactions4B(t *testing.T) {
	for name, key := range map[string]func(i int) string{
		"one shard": func(i int) string { return fmt.Sprintf("0-%d", i) },
		"shards":    func(i int) string { return fmt.Sprintf("%d-", i) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 100, func(t *testing.T, s *store) {
				s.join(0, 1)
				c := s.client()
				a, b, e := key(1), key(2), key(5)
				c.Put(a, "1")
				r := c.txn(t, shardkv.Txn{
					If:   []shardkv.Compare{shardkv.CompareValue(a, shardkv.Equal, "1"), shardkv.CompareVersion(b, shardkv.Equal, 0)},
					Then: []kv.Op{kv.Get(a), kv.Put(b, "2"), kv.Append(a, "+"), kv.Get(a), kv.Get(e), kv.Delete(e)},
					Else: []kv.Op{kv.Put(e, "wrong")},
				})
				require.Equal(t, `then ok "1", ok "", ok "", ok "1+", not found "", not found ""`, results(r))
				r = c.txn(t, shardkv.Txn{
					If:   []shardkv.Compare{shardkv.CompareValue(a, shardkv.Equal, "1+"), shardkv.CompareValue(b, shardkv.NotEqual, "2")},
					Then: []kv.Op{kv.Put(e, "wrong")},
					Else: []kv.Op{kv.Get(a), kv.Delete(b), kv.Get(b), kv.Put(e, "5")},
				})
				require.Equal(t, `else ok "1+", ok "", not found "", ok ""`, results(r))
				r = c.txn(t, shardkv.Txn{If: []shardkv.Compare{
					shardkv.CompareValue(a, shardkv.Less, "2"), shardkv.CompareValue(e, shardkv.Greater, "4"),
					shardkv.CompareVersion(e, shardkv.Greater, 0), shardkv.CompareVersion(b, shardkv.Less, 1),
				}})
				require.True(t, r.Succeeded, "all comparisons hold")
				found, err := c.Read(context.Background(), a, b, e)
				require.NoError(t, err)
				require.Equal(t, `then ok "1+", not found "", ok "5"`, results(shardkv.TxnResult{Succeeded: true, Results: found}))
				require.NotZero(t, found[2].Version)
			})
		})
	}
}

func results(r shardkv.TxnResult) string {
	var texts []string
	for _, x := range r.Results {
		texts = append(texts, fmt.Sprintf("%v %q", x.Code, x.Value))
	}
	return map[bool]string{true: "then ", false: "else "}[r.Succeeded] + strings.Join(texts, ", ")
}

// Invalid transactions are refused, and the error names the rule.
func TestTransactionInvalid4B(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		s.join(0)
		c := s.client()
		many := make([]kv.Op, shardkv.MaxTxnSize+1)
		for what, x := range map[string]shardkv.Txn{
			"it is empty":              {},
			"the limit is 256":         {Then: many},
			"scan of":                  {Then: []kv.Op{kv.Scan("a", "", 0)}},
			"a condition of its own":   {Else: []kv.Op{kv.Put("a", "1").IfVersion(3)}},
			"relation 9 in the compar": {If: []shardkv.Compare{{Key: "a", Relation: 9}}},
		} {
			_, err := c.Txn(context.Background(), x)
			require.ErrorIs(t, err, shardkv.ErrTxnInvalid)
			require.ErrorContains(t, err, what)
		}
	})
}

// account returns the key of one of ten accounts. Each is in another shard.
func account(i int) string { return fmt.Sprintf("%d-account", i) }

const (
	accounts = 10
	deposit  = 100
)

// transfer moves money between two accounts, if the first has enough.
func (c *client) transfer(ctx context.Context, from, to, amount int) error {
	found, err := c.Read(ctx, account(from), account(to))
	if err != nil {
		return err
	}
	a, _ := strconv.Atoi(found[0].Value)
	b, _ := strconv.Atoi(found[1].Value)
	if a < amount {
		return nil
	}
	_, err = c.Txn(ctx, shardkv.Txn{
		If: []shardkv.Compare{
			shardkv.CompareVersion(account(from), shardkv.Equal, found[0].Version),
			shardkv.CompareVersion(account(to), shardkv.Equal, found[1].Version),
		},
		Then: []kv.Op{kv.Put(account(from), strconv.Itoa(a-amount)), kv.Put(account(to), strconv.Itoa(b+amount))},
	})
	return err
}

// audit reads all accounts at one moment, and checks that the sum is unchanged.
func (c *client) audit(t *testing.T) {
	t.Helper()
	var keys []string
	for i := range accounts {
		keys = append(keys, account(i))
	}
	found, err := c.Read(c.open, keys...)
	if err != nil {
		t.Error(err)
		return
	}
	sum := 0
	for i, r := range found {
		n, err := strconv.Atoi(r.Value)
		if err != nil || n < 0 {
			t.Errorf("account %d has %q", i, r.Value)
		}
		sum += n
	}
	if sum != accounts*deposit {
		t.Errorf("the accounts have %d; want %d", sum, accounts*deposit)
	}
}

func (c *client) openAccounts() {
	for i := range accounts {
		c.do(kv.Put(account(i), strconv.Itoa(deposit)))
	}
}

// Money moves between accounts in all shards, while shards move and servers fail. The
// sum of all accounts is the same at every moment.
func TestTransactionsMoveMoney4B(t *testing.T) {
	for _, fault := range []string{"none", "loss", "crashes", "groups", "partitions", "all"} {
		t.Run(fault, func(t *testing.T) {
			run(t, 3, 2000, func(t *testing.T, s *store) {
				s.Net.Reliable(fault != "loss" && fault != "all")
				s.join(0)
				c := s.client()
				c.openAccounts()
				stop, halt := make(chan struct{}), make(chan struct{})
				var working, breaking sync.WaitGroup
				for i := range 4 {
					teller := s.client()
					working.Go(func() { teller.work(i, stop) })
				}
				working.Go(func() {
					auditor := s.client()
					for !auditor.stopped(stop, 300*time.Millisecond) {
						auditor.audit(t)
					}
				})
				breaking.Go(func() { s.breakThings(fault, halt) })
				s.changeAtRandom(6 * testkit.SoakFactor())
				close(halt)
				breaking.Wait()
				close(stop)
				working.Wait()
				c.audit(t)
			})
		})
	}
}

func (c *client) stopped(stop <-chan struct{}, after time.Duration) bool {
	select {
	case <-stop:
		return true
	case <-c.open.Done():
		return true
	case <-time.After(after):
		return false
	}
}

// work transfers money until stop is closed. work cancels some transfers early.
func (c *client) work(seed int, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(seed), 5))
	for !c.stopped(stop, time.Duration(rng.IntN(100))*time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.open, time.Minute)
		if rng.IntN(4) == 0 {
			ctx, cancel = context.WithTimeout(c.open, time.Duration(rng.IntN(20))*time.Millisecond)
		}
		from := rng.IntN(accounts)
		_ = c.transfer(ctx, from, (from+1+rng.IntN(accounts-1))%accounts, 1+rng.IntN(20))
		cancel()
	}
}

// A transaction is a sequence of messages. At each message a server or a group
// crashes and restarts. The transaction takes effect as a whole or not at all, with
// or without its client, and releases all locks.
func TestTransactionInterruptedAtEveryStep4B(t *testing.T) {
	stride := 12
	if testkit.Soak() {
		stride = 1
	}
	for name, crash := range victims {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 100, func(t *testing.T, s *store) {
				s.join(0, 1)
				c := s.client()
				write := func(ctx context.Context, value string) error {
					_, err := c.Txn(ctx, shardkv.Txn{Then: []kv.Op{
						kv.Append("0-k", value), kv.Append("3-k", value), kv.Append("6-k", value), kv.Append("9-k", value),
					}})
					return err
				}
				rng := testkit.Rand(t)
				for step := 1 + rng.IntN(stride); step <= 60; step += stride {
					value := fmt.Sprintf("(%d)", step)
					patience := 5 * time.Second // an election takes less; a group stays away longer
					if step%2 == 0 {
						patience = 50 * time.Millisecond
					}
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					var err error
					s.crashAt(step, func() { crash(s) }, func() { err = write(ctx, value) })
					cancel()
					time.Sleep(100 * time.Millisecond)
					s.restart(0, 1)
					s.expectWhole(c, value, err == nil)
				}
			})
		})
	}
}

// expectWhole checks that a transaction has appended its value to all keys once, or,
// unless must is true, to none.
func (s *store) expectWhole(c *client, value string, must bool) {
	s.t.Helper()
	for _, key := range []string{"0-k", "3-k", "6-k", "9-k"} {
		c.do(kv.Append(key, "")) // waits for the locks
	}
	found, err := c.Read(context.Background(), "0-k", "3-k", "6-k", "9-k")
	require.NoError(s.t, err)
	for _, r := range found {
		n := strings.Count(r.Value, value)
		if n > 1 || n != strings.Count(found[0].Value, value) || must && n == 0 {
			s.t.Fatalf("%s of a transaction (acknowledged: %v) in %+v", value, must, found)
		}
	}
}

// A lock moves with its shard, and the transaction is finished at the new owner.
func TestLocksMoveWithShards4B(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, s *store) {
		s.join(0, 1, 2) // at once: a shard that had moved before could meet its partner on the way
		c := s.client()
		shard := map[int]int{} // one of each group, by gid
		for i, owner := range s.ctl.Query(-1).Shards {
			shard[owner] = i
		}
		first, second := shard[gid(0)], shard[gid(1)]
		near, far := keyIn(min(first, second)), keyIn(max(first, second))
		c.do(kv.Put(near, "old"))
		c.do(kv.Put(far, "old"))
		hold := labrpc.NewHold()
		s.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
			if !m.Reply && m.Method == "ShardKV.Execute" && isOutcome(m) {
				return labrpc.HeldBy(hold)
			}
			return labrpc.Usual()
		})
		c.txn(t, shardkv.Txn{Then: []kv.Op{kv.Put(near, "new"), kv.Put(far, "new")}})
		s.ctl.Move(shardkv.ShardOf(far), gid(2))
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, kv.Get(far))
		require.Error(t, err, "read of a locked key")
		s.Net.SetScheduler(nil)
		hold.Drop()
		for _, key := range []string{near, far} {
			require.Equal(t, "new", c.do(kv.Get(key)), key)
		}
	})
}

func isOutcome(m labrpc.Message) bool {
	var args clerk.Args[shardkv.Command]
	return m.Decode(&args) == nil && args.Command.Kind == shardkv.KindOutcome
}

func keyIn(shard int) string {
	for b := byte('0'); ; b++ {
		if key := string(b) + "-locked"; shardOf(key) == shard {
			return key
		}
	}
}

// A transaction that waits for a dead group releases its locks from time to time. The
// transaction succeeds when the group is back.
func TestTransactionWithDeadGroup4B(t *testing.T) {
	run(t, 2, 100, func(t *testing.T, s *store) {
		s.join(0, 1)
		c := s.client()
		d := c.fill(10, 5)
		owners := s.ctl.Query(-1).Shards
		s.crash(1)
		finished := make(chan error, 1)
		var all []kv.Op
		for key := range d {
			all = append(all, kv.Append(key, "!"))
		}
		other := s.client()
		go func() {
			_, err := other.Txn(s.Open, shardkv.Txn{Then: all})
			finished <- err
		}()
		for range 3 {
			time.Sleep(time.Second)
			s.within(10*time.Second, "keys of the live group are free from time to time", func() {
				for key, value := range d {
					if owners[shardOf(key)] == gid(0) {
						require.Equal(t, value, c.do(kv.Get(key)), key)
					}
				}
			})
		}
		s.restart(1)
		require.NoError(t, <-finished)
		for key, value := range d {
			require.Equal(t, value+"!", c.do(kv.Get(key)), key)
		}
	})
}

// Transactions with the same keys in different orders do not deadlock.
func TestTransactionsContend4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, s *store) {
		s.join(0, 1, 2)
		const clients, each = 8, 15
		var working sync.WaitGroup
		for i := range clients {
			c := s.client()
			rng := rand.New(rand.NewPCG(uint64(i), 6))
			working.Go(func() {
				for range each {
					var ops []kv.Op
					for _, k := range rng.Perm(10)[:4] {
						ops = append(ops, kv.Append(fmt.Sprintf("%d-hot", k), "x"))
					}
					if _, err := c.Txn(s.Open, shardkv.Txn{Then: ops}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		working.Wait()
		c, sum := s.client(), 0
		for i := range 10 {
			sum += len(c.do(kv.Get(fmt.Sprintf("%d-hot", i))))
		}
		require.Equal(t, clients*each*4, sum, "appends")
	})
}

// cells is a store of six keys, the state of a model whose operations are
// transactions.
type cells [6]string

func cell(i int) string { return fmt.Sprintf("%d-cell", i) }

// storeModel is the model of a store that executes one transaction at a time.
var storeModel = porcupine.Model{
	Init: func() any { return cells{} },
	Step: func(state, input, output any) (bool, any) {
		next, answer := state.(cells).do(input.(shardkv.Txn))
		return output == nil || answer == output.(string), next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %v", input, output) },
}

// do executes a transaction in the plainest way.
func (c cells) do(t shardkv.Txn) (cells, string) {
	index := func(key string) int { return int(key[0] - '0') }
	answer, ops := "then", t.Then
	for _, x := range t.If {
		if c[index(x.Key)] != x.Value {
			answer, ops = "else", t.Else
		}
	}
	for _, op := range ops {
		switch v := &c[index(op.Key)]; op.Kind {
		case kv.KindPut:
			*v = op.Value
		case kv.KindAppend:
			*v += op.Value
		case kv.KindGet:
			answer += " " + *v
		}
	}
	return c, answer
}

// Transactions and single operations together are linearizable over the whole store,
// which is strict serializability.
func TestStrictSerializability4B(t *testing.T) {
	for _, fault := range []string{"none", "loss", "crashes", "groups", "all"} {
		t.Run(fault, func(t *testing.T) {
			run(t, 3, 2000, func(t *testing.T, s *store) {
				s.Net.Reliable(fault != "loss" && fault != "all")
				s.join(0, 1)
				var h transactions
				stop, halt := make(chan struct{}), make(chan struct{})
				var working, breaking sync.WaitGroup
				for i := range 4 {
					c := s.client()
					working.Go(func() { h.client(c, i, stop) })
				}
				breaking.Go(func() { s.breakThings(fault, halt) })
				s.changeAtRandom(6 * testkit.SoakFactor())
				close(halt)
				breaking.Wait()
				close(stop)
				working.Wait()
				checkHistory(t, storeModel, h.ops)
			})
		})
	}
}

// transactions is a history of transactions.
type transactions struct {
	mu  sync.Mutex
	ops []porcupine.Operation
}

// client executes transactions until stop is closed, and cancels some early.
func (h *transactions) client(c *client, seed int, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	known := cells{}
	for n := 0; !c.stopped(stop, time.Duration(rng.IntN(80))*time.Millisecond); n++ {
		ctx, cancel := context.WithTimeout(c.open, time.Minute)
		if rng.IntN(8) == 0 {
			ctx, cancel = context.WithTimeout(c.open, time.Duration(rng.IntN(30))*time.Millisecond)
		}
		h.do(ctx, c, randomTxn(rng, known, fmt.Sprintf("%d.%d ", seed, n)))
		cancel()
		for i := range known {
			if rng.IntN(3) == 0 {
				known[i] = c.do(kv.Get(cell(i))) // for later comparisons, not in the history
			}
		}
	}
}

func (h *transactions) do(ctx context.Context, c *client, t shardkv.Txn) {
	h.mu.Lock()
	i := len(h.ops)
	h.ops = append(h.ops, porcupine.Operation{ClientId: c.id, Input: t, Call: time.Now().UnixNano(), Return: porcupine.Pending})
	h.mu.Unlock()
	answer, err := c.execute(ctx, t)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.ops[i].Output, h.ops[i].Return = answer, time.Now().UnixNano()
	}
}

// execute executes a transaction. A transaction of one operation is sent as a single
// operation.
func (c *client) execute(ctx context.Context, t shardkv.Txn) (answer string, err error) {
	if len(t.If) == 0 && len(t.Then) == 1 {
		r, err := c.Do(ctx, t.Then[0])
		if t.Then[0].Kind == kv.KindGet {
			return "then " + r.Value, err
		}
		return "then", err
	}
	r, err := c.Txn(ctx, t)
	answer, ops := "then", t.Then
	if !r.Succeeded {
		answer, ops = "else", t.Else
	}
	for i, x := range r.Results {
		if ops[i].Kind == kv.KindGet {
			answer += " " + x.Value
		}
	}
	return answer, err
}

// randomTxn returns a random transaction, sometimes of a single operation.
func randomTxn(rng *rand.Rand, known cells, value string) shardkv.Txn {
	op := func(i int) kv.Op {
		switch rng.IntN(4) {
		case 0:
			return kv.Put(cell(i), value)
		case 1:
			return kv.Append(cell(i), value)
		}
		return kv.Get(cell(i))
	}
	if rng.IntN(3) == 0 {
		return shardkv.Txn{Then: []kv.Op{op(rng.IntN(len(known)))}}
	}
	var t shardkv.Txn
	for _, i := range rng.Perm(len(known))[:1+rng.IntN(4)] {
		if rng.IntN(3) == 0 {
			t.If = append(t.If, shardkv.CompareValue(cell(i), shardkv.Equal, known[i]))
		}
		t.Then = append(t.Then, op(i))
		t.Else = append(t.Else, kv.Get(cell(i)))
	}
	return t
}

// A scan returns the keys of all shards in one order, in one page or in several.
func TestScan4B(t *testing.T) {
	run(t, 3, -1, func(t *testing.T, s *store) {
		s.join(0, 1, 2)
		ctx := context.Background()
		c := s.client()
		d := c.fill(60, 5)
		want := slices.Sorted(maps.Keys(d))
		for _, limit := range []int{0, 1, 7, 60} {
			var got []string
			for from, more := "", true; more; {
				r, err := c.Scan(ctx, from, "", limit)
				require.NoError(t, err)
				require.False(t, r.More && len(r.Pairs) == 0, "an empty page from %q", from)
				for _, p := range r.Pairs {
					require.Equal(t, d[p.Key], p.Value, p.Key)
					got = append(got, p.Key)
				}
				if more = r.More; more {
					from = got[len(got)-1] + "\x00"
				}
			}
			require.Equal(t, want, got, "limit %d", limit)
		}
		r, err := c.ScanShard(ctx, shardkv.ShardOf("3"), "3k13", "3k4", 0)
		require.NoError(t, err)
		require.Len(t, r.Pairs, 4) // 3k13, 3k23, 3k3, 3k33
		_, err = c.ScanShard(ctx, shardctrler.NShards, "", "", 0)
		require.ErrorContains(t, err, "scan of shard 10: shards are 0 to 9")
	})
}
