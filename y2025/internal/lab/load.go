package lab

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/internal/testkit"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
)

// A Load is what clerks do while a test breaks servers and the network.
type Load struct {
	Clerks int
	// Pause is the longest pause between two operations of a clerk.
	Pause time.Duration
	// Certain is true if no message is lost and no leader changes. Then no outcome is
	// open, and rpc.ErrMaybe is an error.
	Certain bool
	// Clerk makes a clerk with the connections of a client.
	Clerk func(*Client) kvtest.IKVClerk
}

// Working is a load in progress.
type Working struct {
	load  Load
	lab   *Lab
	stop  chan struct{}
	ended []<-chan struct{}

	mu       sync.Mutex
	written  map[string]rpc.Tversion // the keys with one writer, and their versions
	outcomes map[rpc.Err]int         // of Puts
}

// Start begins a load. Each clerk writes a key of its own and keys that all share.
func (l *Lab) Start(load Load) *Working {
	w := &Working{load: load, lab: l, stop: make(chan struct{}), written: make(map[string]rpc.Tversion), outcomes: make(map[rpc.Err]int)}
	for i := range load.Clerks {
		u := &user{Working: w, ck: w.clerk(), own: fmt.Sprint("own", i), rng: rand.New(rand.NewPCG(uint64(testkit.Seed(l.T)), uint64(i)+1))}
		w.ended = append(w.ended, Go(u.work))
	}
	return w
}

// Stop ends the long delays of replies, and waits for a Put with the outcome OK, because
// faults may leave each one open. Then Stop ends the load when each clerk has ended the
// current operation, makes the network reliable, and reads each key with one writer through a
// new clerk.
func (w *Working) Stop() {
	w.lab.T.Helper()
	w.lab.Net.LongReordering(false)
	testkit.WaitFor(w.lab.T, OperationLimit, "a Put to succeed", func() bool { return w.successes() > 0 })
	close(w.stop)
	w.lab.Await("an operation of a clerk", OperationLimit, w.ended...)
	w.lab.Net.Reliable(true)
	check := Go(func() {
		ck := w.clerk()
		for key, version := range w.written {
			if _, got, _ := ck.Get(key); got != version {
				w.lab.T.Errorf("key %q has version %d; its only writer has made %d Puts", key, got, version)
			}
		}
	})
	w.lab.Await("a Get after the load", OperationLimit, check)
}

// clerk returns a new clerk of the load.
func (w *Working) clerk() *Clerk {
	client := w.lab.NewClient()
	return w.lab.Clerk(client, w.load.Clerk(client))
}

// successes returns the number of Puts with the outcome OK so far.
func (w *Working) successes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outcomes[rpc.OK]
}

// A user works with one clerk.
type user struct {
	*Working
	ck  *Clerk
	own string
	rng *rand.Rand
	// version and value are those of the own key.
	version rpc.Tversion
	value   string
}

func (u *user) work() {
	for n := 0; ; n++ {
		select {
		case <-u.stop:
			u.mu.Lock()
			u.written[u.own] = u.version
			u.mu.Unlock()
			return
		case <-time.After(time.Duration(u.rng.Int64N(int64(u.load.Pause) + 1))):
		}
		value := fmt.Sprintf("%s-%d", u.own, n)
		switch u.rng.IntN(4) {
		case 0, 1:
			u.writeOwn(value)
		case 2:
			u.writeShared(fmt.Sprint("shared", u.rng.IntN(3)), value)
		case 3:
			u.ck.Get(fmt.Sprint("shared", u.rng.IntN(3)))
		}
	}
}

// writeOwn writes the key that nobody else writes, so the outcome is known.
func (u *user) writeOwn(value string) {
	switch err := u.put(u.own, value, u.version); err {
	case rpc.OK:
		u.version, u.value = u.version+1, value
	case rpc.ErrMaybe:
		u.resolve(value)
	default:
		u.lab.T.Errorf("Put of key %q with version %d is %q, and nobody else writes the key", u.own, u.version, err)
	}
}

// resolve finds out whether a Put of the own key has taken effect.
func (u *user) resolve(value string) {
	switch got, version, _ := u.ck.Get(u.own); {
	case version == u.version+1 && got == value:
		u.version, u.value = version, value
	case version != u.version || got != u.value:
		u.lab.T.Errorf("key %q is %q with version %d; its only writer left %q with version %d", u.own, got, version, u.value, u.version)
	}
}

// writeShared writes a key with the version that the clerk has read.
func (u *user) writeShared(key, value string) {
	_, version, _ := u.ck.Get(key)
	u.put(key, value, version)
}

func (u *user) put(key, value string, version rpc.Tversion) rpc.Err {
	err := u.ck.Put(key, value, version)
	if err == rpc.ErrMaybe && u.load.Certain {
		u.lab.T.Errorf("Put of key %q is %q though no message was lost", key, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.outcomes[err]++
	return err
}
