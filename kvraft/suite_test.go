package kvraft_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft"
)

// The suites 3A and 3B use what every edition of the lab has and nothing more, so
// another implementation can be put in the place of package kvraft.

func TestMain(m *testing.M) { labrun.Main(m) }

// operationLimit bounds an operation while a majority is connected, whatever happened
// before.
const operationLimit = 10 * time.Second

// A cluster is a key/value service, and the history of what its clerks saw.
type cluster struct {
	*labtest.Service
	t     *testing.T
	start time.Time

	mu      sync.Mutex
	clerks  int
	lanes   []string // of the clerks in recordings
	history []porcupine.Operation
}

// newCluster starts n servers.
func newCluster(t *testing.T, n, maxraftstate int) *cluster {
	t.Helper()
	launch := func(servers []*labrpc.ClientEnd, me int, persister *raft.Persister) labtest.Host {
		kv := kvraft.StartKVServer(servers, me, persister, maxraftstate)
		rf := kvraft.RaftOf(kv)
		return labtest.Host{Services: []any{kv, rf}, Kill: kv.Kill, State: rf.GetState}
	}
	c := &cluster{Service: labtest.NewService(t, n, launch), t: t, start: time.Now()}
	labtest.History(c.Recording(), models.KV, c.start, c.lane, func() []porcupine.Operation {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Clone(c.history)
	})
	return c
}

// lane is the name of a clerk in recordings.
func (c *cluster) lane(clerk int) string { return c.lanes[clerk] }

// A clerk is one that records what it does. It is used by one goroutine at a time.
type clerk struct {
	*labtest.Client
	c  *cluster
	ck *kvraft.Clerk
	id int
}

// clerk returns a new clerk that reaches the servers named (none named: all).
func (c *cluster) clerk(ids ...int) *clerk {
	client := c.Client(ids...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clerks++
	c.lanes = append(c.lanes, client.Lane())
	return &clerk{Client: client, c: c, ck: kvraft.MakeClerk(client.Ends), id: c.clerks - 1}
}

func (k *clerk) get(key string) (value string) {
	k.record(models.KVInput{Op: models.KVGet, Key: key}, func() models.KVOutput {
		value = k.ck.Get(key)
		return models.KVOutput{Value: value}
	})
	return value
}

func (k *clerk) put(key, value string) {
	k.record(models.KVInput{Op: models.KVPut, Key: key, Value: value}, func() (none models.KVOutput) {
		k.ck.Put(key, value)
		return none
	})
}

func (k *clerk) append(key, value string) {
	k.record(models.KVInput{Op: models.KVAppend, Key: key, Value: value}, func() (none models.KVOutput) {
		k.ck.Append(key, value)
		return none
	})
}

// record carries out an operation and enters it into the history: before it has
// returned, it is pending.
func (k *clerk) record(input models.KVInput, call func() models.KVOutput) {
	c := k.c
	c.mu.Lock()
	at := len(c.history)
	c.history = append(c.history, porcupine.Operation{
		ClientId: k.id, Input: input, Call: int64(time.Since(c.start)), Return: porcupine.Pending,
	})
	c.mu.Unlock()
	var output models.KVOutput
	labrun.Within(c.t, c.Done(), labtest.OperationLimit, fmt.Sprintf("an operation on key %q", input.Key), func() { output = call() })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history[at].Output, c.history[at].Return = output, int64(time.Since(c.start))
}

// background runs an operation that may never end while the test wants it not to.
func background(operation func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		operation()
	}()
	return done
}

// ends waits for background operations, and fails the test if they last too long.
func (c *cluster) ends(what string, limit time.Duration, operations ...chan struct{}) {
	c.t.Helper()
	timeout := time.After(limit)
	for _, done := range operations {
		select {
		case <-done:
		case <-timeout:
			c.t.Fatalf("%s: not done within %v", what, limit)
		}
	}
}

// pending fails the test if an operation ends within a while.
func (c *cluster) pending(what string, span time.Duration, done chan struct{}) {
	c.t.Helper()
	select {
	case <-done:
		c.t.Fatal(what)
	case <-time.After(span):
	}
}

// want fails the test if a key has another value.
func (c *cluster) want(k *clerk, key, value string) {
	c.t.Helper()
	if got := k.get(key); got != value {
		c.t.Fatalf("key %q is %.200q, want %.200q", key, got, value)
	}
}

// check fails the test if the history is not linearizable, and draws it.
func (c *cluster) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(models.KV, c.history, 0)
	if result == porcupine.Ok {
		return
	}
	name := strings.ReplaceAll(c.t.Name(), "/", "_") + ".html"
	path := filepath.Join(os.TempDir(), name)
	if err := porcupine.VisualizePath(models.KV, info, path); err != nil {
		path = err.Error()
	}
	c.t.Fatalf("the history of %d operations is %v; a picture of it: %s", len(c.history), result, path)
}

// stateBound is a course's bound for the Raft state, in multiples of maxraftstate. A
// course looks when every operation is done.
const stateBound = 8

// checkState fails the test if any server's Raft state is beyond the bound now, when
// every operation is done.
func (c *cluster) checkState(maxraftstate int) {
	c.t.Helper()
	if size := c.RaftStateSize(); size > stateBound*maxraftstate {
		c.t.Errorf("when every operation was done, a Raft state has %d bytes with maxraftstate %d; want at most %d", size, maxraftstate, stateBound*maxraftstate)
	}
}

// watchState notes if any server's Raft state grows beyond the bound at whatever
// moment. The function that it returns ends the watch, and checks the state.
func (c *cluster) watchState(maxraftstate int) (stop func()) {
	done := make(chan struct{})
	ended := background(func() {
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-done:
				return
			}
			if size := c.RaftStateSize(); size > stateBound*maxraftstate {
				labrun.Note(c.t, "the Raft state is beyond the bound at times")
				c.t.Logf("a Raft state has %d bytes with maxraftstate %d", size, maxraftstate)
				return
			}
		}
	})
	return func() { close(done); <-ended; c.checkState(maxraftstate) }
}

// A load is what many clerks do while things happen to the servers.
type load struct {
	servers, clerks int
	maxraftstate    int // 0: -1
	unreliable      bool
	reordering      bool
	crash           bool // all servers, once a round
	partition       bool // into two parts, again and again
	oneWay          bool // two directions in five between servers, other ones again and again
	shared          bool // all clerks use the same few keys
	busy            bool // no clerk pauses between operations, as in a course's harness
}

const (
	loadRounds = 3
	roundTime  = 1200 * time.Millisecond
	// loadPause times the number of clerks is the longest pause between a
	// clerk's operations, so that the load on the servers is always the same.
	loadPause = 8 * time.Millisecond
)

// run runs the load for three rounds, and checks what the clerks saw.
func (l load) run(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		if l.maxraftstate == 0 {
			l.maxraftstate = -1
		}
		c := newCluster(t, l.servers, l.maxraftstate)
		c.Net.Reliable(!l.unreliable)
		if l.maxraftstate >= 1000 && !l.busy {
			defer c.watchState(l.maxraftstate)()
		}
		users := make([]*user, l.clerks)
		for i := range users {
			users[i] = &user{
				clerk:  c.clerk(),
				rng:    rand.New(rand.NewPCG(uint64(testkit.Seed(t)), uint64(i)+1)),
				shared: l.shared,
				pause:  int64(loadPause) * int64(l.clerks),
			}
			if l.partition || l.oneWay {
				users[i].pause *= 2 // the rounds are twice as long
			}
			if l.busy {
				users[i].pause = 0
			}
		}
		for range loadRounds {
			l.round(c, users)
		}
		c.check()
		if l.maxraftstate < 0 && c.SnapshotSize() > 0 {
			t.Fatalf("a snapshot of %d bytes was taken with maxraftstate %d", c.SnapshotSize(), l.maxraftstate)
		}
	})
}

// round lets the users work for a while, mends what is broken, and waits for
// them. The network may still lose messages then, but delays no reply any more. A clerk
// that waits for the refusal of each server, one after another, may need longer than
// operationLimit to find the leader while replies are late.
func (l load) round(c *cluster, users []*user) {
	c.t.Helper()
	c.Net.LongReordering(l.reordering)
	stop := make(chan struct{})
	var working []chan struct{}
	for _, u := range users {
		working = append(working, background(func() { u.work(stop) }))
	}
	faults := background(func() { l.faults(c) })
	c.ends("the faults", time.Minute, faults)
	close(stop)
	c.Net.LongReordering(false)
	c.ends("an operation after all was mended", operationLimit, working...)
	for _, u := range users {
		u.verify()
	}
	if l.maxraftstate > 0 {
		c.checkState(l.maxraftstate)
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// faults is what happens to the servers in a round.
func (l load) faults(c *cluster) {
	begin := time.Now()
	pause := func() { time.Sleep(200*time.Millisecond + time.Duration(c.Rand.Int64N(int64(400*time.Millisecond)))) }
	if l.partition || l.oneWay {
		for time.Since(begin) < 2*roundTime {
			if l.partition {
				c.splitAtRandom()
			}
			if l.oneWay {
				c.cutAtRandom()
			}
			pause()
			if c.Rand.IntN(2) == 0 {
				time.Sleep(time.Second) // long enough for an election
			}
		}
		c.Heal()
	} else if l.reordering {
		time.Sleep(4 * roundTime) // replies take up to 2.2 s
	} else if l.busy {
		time.Sleep(roundTime / 3) // as many operations as the others have, and more
	} else {
		time.Sleep(roundTime)
	}
	if l.crash {
		c.Crash(c.All()...)
		pause()
		c.Restart(c.All()...)
		pause()
	}
}

// splitAtRandom puts each server into one of two parts.
func (c *cluster) splitAtRandom() {
	var parts [2][]int
	for i := range c.N {
		k := c.Rand.IntN(2)
		parts[k] = append(parts[k], i)
	}
	c.Partition(parts[0], parts[1])
}

// cutAtRandom draws for each direction between two servers whether it is cut: one
// may hear another that does not hear it.
func (c *cluster) cutAtRandom() {
	for from := range c.N {
		for to := range c.N {
			c.CutOneWay(from, to, from != to && c.Rand.IntN(5) < 2)
		}
	}
}

// A user works with one clerk, on a key of its own or on keys that all share.
type user struct {
	*clerk
	rng    *rand.Rand
	shared bool
	pause  int64
	count  int
	value  string // of its own key
}

func (u *user) work(stop chan struct{}) {
	for {
		if !u.rest(stop) {
			return
		}
		u.count++
		value := fmt.Sprintf("x %d %d y", u.id, u.count)
		if u.shared {
			u.onShared(fmt.Sprint("shared", u.rng.IntN(3)), value)
		} else {
			u.onOwn(fmt.Sprint("own", u.id), value)
		}
	}
}

// rest lets the pause between two operations pass. It says false at the end of
// the work.
func (u *user) rest(stop chan struct{}) bool {
	if u.pause == 0 {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	select {
	case <-stop:
		return false
	case <-time.After(time.Duration(u.rng.Int64N(u.pause))):
		return true
	}
}

func (u *user) onShared(key, value string) {
	switch n := u.rng.IntN(20); {
	case n == 0:
		u.put(key, value)
	case n < 11:
		u.append(key, value)
	default:
		u.get(key)
	}
}

// onOwn uses a key that nobody else writes, so its value is known.
func (u *user) onOwn(key, value string) {
	switch n := u.rng.IntN(20); {
	case n == 0:
		u.put(key, value)
		u.value = value
	case n < 11:
		u.append(key, value)
		u.value += value
	default:
		u.verify()
	}
}

func (u *user) verify() {
	if u.shared {
		return
	}
	key := fmt.Sprint("own", u.id)
	if got := u.get(key); got != u.value {
		u.c.t.Errorf("clerk %d: key %q is %q, and what it wrote is %q", u.id, key, got, u.value)
	}
}
