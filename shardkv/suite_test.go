package shardkv_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/internal/shardlab"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// The suite 4B (suite_4b_test.go, suite_4b_faults_test.go) uses what every edition
// of the lab has and nothing more, so another implementation can be put in the
// place of packages shardkv and shardctrler.

func TestMain(m *testing.M) { labrun.Main(m) }

// store is a sharded store under test: a controller and groups of three servers,
// numbered from 0 here and from 100 as gids.
type store struct {
	*shardlab.Lab
	t      *testing.T
	ctrl   *shardlab.Group
	ctl    shardlab.Clerk // what changes the configuration
	groups []*shardlab.Group
	log    *history
}

const groupSize = 3

// run has a body act on a store of some groups, none of which has joined, as package
// labrun runs tests. At the end, what clients did is checked to be linearizable.
func run(t *testing.T, groups, maxraftstate int, body func(t *testing.T, s *store)) {
	t.Helper()
	runUnder(t, controllerStarter, groups, maxraftstate, body)
}

// runUnder is run with a configuration service that is started so.
func runUnder(t *testing.T, controller shardlab.Starter, groups, maxraftstate int, body func(t *testing.T, s *store)) {
	t.Helper()
	t.Parallel()
	labrun.Run(t, func(t *testing.T) {
		s := &store{Lab: shardlab.New(t), t: t, log: &history{}}
		defer s.Close()
		labtest.History(s.Recording, models.KV, time.Unix(0, 0), s.log.lane, s.log.all)
		s.ctrl = s.Group("ctrl", groupSize, controller)
		s.ctl = s.ctrl.Clerk(s.ctrl.Ends())
		for g := range groups {
			s.groups = append(s.groups, s.Group(fmt.Sprintf("g%d", g), groupSize, starter(s.ctrl, gid(g), maxraftstate)))
		}
		body(t, s)
		if !t.Failed() {
			s.log.check(t)
		}
	})
}

// starter starts servers of a group that follows a controller.
func starter(ctrl *shardlab.Group, gid, maxraftstate int) shardlab.Starter {
	names := ctrl.Names()
	return func(i int, peers []*labrpc.ClientEnd, end func(string) *labrpc.ClientEnd, disk *raft.Persister) shardlab.Instance {
		ctrlers := make([]*labrpc.ClientEnd, len(names))
		for j, name := range names {
			ctrlers[j] = end(name)
		}
		kv := shardkv.StartServer(peers, i, disk, maxraftstate, gid, ctrlers, end)
		return shardlab.Instance{Services: []any{kv, shardkv.RaftOf(kv)}, Kill: kv.Kill}
	}
}

func gid(g int) int { return 100 + g }

func (s *store) join(groups ...int) {
	names := make(map[int][]string)
	for _, g := range groups {
		names[gid(g)] = s.groups[g].Names()
	}
	s.ctl.Join(names)
}

func (s *store) leave(groups ...int) {
	gids := make([]int, len(groups))
	for i, g := range groups {
		gids[i] = gid(g)
	}
	s.ctl.Leave(gids)
}

// members returns the groups that are in the newest configuration.
func (s *store) members() []int {
	var groups []int
	for _, gid := range slices.Sorted(maps.Keys(s.ctl.Query(-1).Groups)) {
		groups = append(groups, gid-100)
	}
	return groups
}

// crash crashes whole groups; restart starts them again.
func (s *store) crash(groups ...int) {
	for _, g := range groups {
		s.groups[g].CrashAll()
	}
}

func (s *store) restart(groups ...int) {
	for _, g := range groups {
		s.groups[g].StartAll()
	}
}

func (s *store) all() []int {
	all := make([]int, len(s.groups))
	for i := range all {
		all[i] = i
	}
	return all
}

// client is a clerk whose operations are noted in the history.
type client struct {
	*shardkv.Clerk
	t    *testing.T
	id   int
	log  *history
	open context.Context // ends with the test
}

// operationLimit bounds an operation, whatever is broken when the operation begins. A store
// that serves a shard no longer uses a second of processor time for three virtual ones.
const operationLimit = 30 * time.Second

func (s *store) client() *client { return s.clientOf(s.Client()) }

func (s *store) clientOf(wires *shardlab.Client) *client {
	return &client{Clerk: s.clerkOf(wires, s.ctrl), t: s.t, id: s.log.newClient(wires.Lane()), log: s.log, open: s.Open}
}

// clerk returns a clerk that follows a controller, whose servers it has in any
// order.
func (s *store) clerk(ctrl *shardlab.Group) *shardkv.Clerk {
	return s.clerkOf(s.Client(), ctrl)
}

func (s *store) clerkOf(wires *shardlab.Client, ctrl *shardlab.Group) *shardkv.Clerk {
	ends := wires.Ends(ctrl)
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(s.t)), 2))
	rng.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	return shardkv.MakeClerk(ends, wires.End)
}

func (c *client) Get(key string) string {
	return c.carryOut(models.KVInput{Op: models.KVGet, Key: key}, func() string { return c.Clerk.Get(key) })
}

func (c *client) Put(key, value string) {
	c.carryOut(models.KVInput{Op: models.KVPut, Key: key, Value: value}, func() string { c.Clerk.Put(key, value); return "" })
}

func (c *client) Append(key, value string) {
	c.carryOut(models.KVInput{Op: models.KVAppend, Key: key, Value: value}, func() string { c.Clerk.Append(key, value); return "" })
}

// withContext carries out an operation that ends with its context, for a clerk that can.
// An ordinary test of this project sets the variable.
var withContext func(ctx context.Context, ck *shardkv.Clerk, in models.KVInput) (value string, err error)

// carryOut carries out an operation and notes it.
func (c *client) carryOut(in models.KVInput, asTheLab func() string) string {
	return c.log.note(c.id, in, func() (string, bool) {
		if withContext == nil {
			var value string
			labrun.Within(c.t, c.open.Done(), operationLimit, fmt.Sprintf("an operation on key %q", in.Key), func() { value = asTheLab() })
			return value, true
		}
		what := strings.TrimSuffix(models.KV.DescribeOperation(in, nil), " pending")
		return c.bounded(what, func(ctx context.Context) (string, error) { return withContext(ctx, c.Clerk, in) })
	})
}

// bounded carries out an operation that ends with its context. The lab's clerk tries for
// ever, also when the test has failed and is over. An operation with a context ends then,
// and its goroutine with it. bounded reports whether the operation was done.
func (c *client) bounded(what string, operation func(ctx context.Context) (string, error)) (value string, done bool) {
	limit := operationLimit
	if c.t.Failed() {
		limit = time.Second // so that it comes to an end
	}
	ctx, cancel := context.WithTimeout(c.open, limit)
	defer cancel()
	value, err := operation(ctx)
	if c.open.Err() != nil {
		runtime.Goexit()
	}
	if err != nil {
		c.t.Errorf("%s of %s: not done within %v: %v", what, c.log.lane(c.id), limit, err)
	}
	return value, err == nil
}

// shardOf is the lab's rule.
func shardOf(key string) int { return int(key[0]) % shardctrler.NShards }

// expect checks a key's value.
func (c *client) expect(t *testing.T, key, value string) {
	t.Helper()
	if got := c.Get(key); got != value {
		t.Fatalf("key %q is %s; want %s", key, brief(got), brief(value))
	}
}

func brief(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%.20q...%.20q (%d bytes)", s, s[len(s)-20:], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// history is what clients did and saw.
type history struct {
	mu    sync.Mutex
	lanes []string // of the clients in recordings
	ops   []porcupine.Operation
}

// newClient returns the number of a client, with its lane in recordings.
func (h *history) newClient(lane string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lanes = append(h.lanes, lane)
	return len(h.lanes)
}

func (h *history) lane(client int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lanes[client-1]
}

func (h *history) all() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// note carries out an operation and notes it, as pending if it does not return or is not done.
func (h *history) note(client int, in models.KVInput, do func() (value string, done bool)) string {
	h.mu.Lock()
	i := len(h.ops)
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: time.Now().UnixNano(), Return: porcupine.Pending})
	h.mu.Unlock()
	value, done := do()
	if !done {
		return value
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[i].Output, h.ops[i].Return = models.KVOutput{Value: value}, time.Now().UnixNano()
	return value
}

func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	checkHistory(t, models.KV, h.ops)
}

// checkHistory checks that a history is linearizable, and explains why if not.
func checkHistory(t *testing.T, model porcupine.Model, ops []porcupine.Operation) {
	t.Helper()
	result, info, err := porcupine.CheckOperationsContext(t.Context(), model, ops, porcupine.Options{Verbose: true})
	if result != porcupine.Ok {
		t.Errorf("a history of %d operations is %v (%v)", len(ops), result, err)
	}
	for _, e := range porcupine.Explain(model, info) {
		t.Errorf("%v", e)
	}
}

// data is keys with the values that they should have, each in a shard.
type data map[string]string

// fill puts n keys, over all shards, with values of some bytes.
func (c *client) fill(n, bytes int) data {
	d := make(data)
	for i := range n {
		key := fmt.Sprint(i%10) + fmt.Sprintf("k%d", i)
		d[key] = pad(fmt.Sprintf("v%d-", i), bytes)
		c.Put(key, d[key])
	}
	return d
}

func pad(s string, bytes int) string {
	for len(s) < bytes {
		s += s
	}
	return s[:max(bytes, min(len(s), 8))]
}

// grow checks each key and appends to it.
func (c *client) grow(t *testing.T, d data) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(d)) {
		c.expect(t, key, d[key])
		more := fmt.Sprintf("+%d", len(d[key]))
		c.Append(key, more)
		d[key] += more
	}
}

// verify checks each key.
func (c *client) verify(t *testing.T, d data) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(d)) {
		c.expect(t, key, d[key])
	}
}

// load is clients that append to keys of their own until they are stopped.
type load struct {
	stop    chan struct{}
	working sync.WaitGroup
	data    []data
}

// begin starts clients, each with ten keys. Between two operations each
// sleeps.
func (s *store) begin(clients int, sleep time.Duration) *load {
	l := &load{stop: make(chan struct{}), data: make([]data, clients)}
	for i := range clients {
		c := s.client()
		l.data[i] = make(data)
		l.working.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d-%d", n%10, i)
				more := fmt.Sprintf("x %d %d y", i, n)
				c.Append(key, more)
				l.data[i][key] += more
				if n%3 == 0 {
					c.Get(key)
				}
				select {
				case <-l.stop:
					return
				case <-time.After(sleep):
				}
			}
		})
	}
	return l
}

// end stops the clients and checks what they wrote.
func (l *load) end(t *testing.T, c *client) {
	t.Helper()
	close(l.stop)
	l.working.Wait()
	for _, d := range l.data {
		c.verify(t, d)
	}
}

// mix reads and writes keys that all clients share, until stop is closed.
func (c *client) mix(seed int, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	for n := 0; ; n++ {
		key := fmt.Sprintf("%d-shared", rng.IntN(10))
		switch rng.IntN(4) {
		case 0:
			c.Put(key, fmt.Sprintf("[%d.%d]", c.id, n))
		case 1:
			c.Append(key, fmt.Sprintf("(%d.%d)", c.id, n))
		default:
			c.Get(key)
		}
		select {
		case <-stop:
			return
		case <-c.open.Done():
			return
		case <-time.After(time.Duration(rng.IntN(80)) * time.Millisecond):
		}
	}
}

// controllerStarter starts servers of a configuration service.
func controllerStarter(i int, peers []*labrpc.ClientEnd, _ func(string) *labrpc.ClientEnd, disk *raft.Persister) shardlab.Instance {
	sc := shardctrler.StartServer(peers, i, disk)
	return shardlab.Instance{Services: []any{sc, sc.Raft()}, Kill: sc.Kill}
}
