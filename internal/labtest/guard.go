package labtest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/testkit"
)

// answerLimit is the real time that a server may take for GetState.
const answerLimit = 10 * time.Second

// A guard ends a test on the real clock if a server is deadlocked. The harness asks
// each server for its state again and again. A server that holds its lock for good
// answers no longer, and the harness waits with it. In virtual time, testkit notices.
//
// A server may hold its lock while it sends on applyCh, because no rule before part 2D
// forbids that. Such a server has no case in a test that pauses the server's service, and
// the guard skips the test.
type guard struct {
	paused func(id int) bool // reports whether a test has paused the server's service

	mu    sync.Mutex
	since time.Time // of the current question; zero: none
	id    int
}

// newGuard returns a guard for a test, until done.
func newGuard(t testing.TB, done chan struct{}, paused func(id int) bool) *guard {
	g := &guard{paused: paused}
	if testkit.RealTime() && !testkit.Simulated() {
		go g.watch(t, done)
	}
	return g
}

func (g *guard) watch(t testing.TB, done chan struct{}) {
	tick := time.NewTicker(answerLimit / 10)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		g.mu.Lock()
		late, id := !g.since.IsZero() && time.Since(g.since) > answerLimit, g.id
		g.mu.Unlock()
		if late && g.paused(id) {
			labrun.QuitSkipped(t, fmt.Sprintf("not applicable: server %d answers no GetState while its service does not read applyCh", id))
			return
		}
		if late {
			labrun.Quit(t, fmt.Sprintf("server %d has not answered GetState for %v; is it deadlocked?", id, answerLimit))
			return
		}
	}
}

// asks notes that a server is asked for its state.
func (g *guard) asks(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since, g.id = time.Now(), id
}

func (g *guard) answered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since = time.Time{}
}
