package labrun

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

type exampleServer struct{ mu sync.Mutex }

func (s *exampleServer) answer()              { s.mu.Lock() }
func (s *exampleServer) apply(ch chan<- bool) { s.mu.Lock(); ch <- true; s.mu.Unlock() }

// The story of a deadlock names the waiting functions, a likely holder of a lock first.
func TestWaits(t *testing.T) {
	s, ch := &exampleServer{}, make(chan bool)
	var running sync.WaitGroup
	running.Go(func() { s.apply(ch) })
	var found []string
	require.True(t, testkit.Eventually(10*time.Second, func() bool { found = waits(testkit.Stacks()); return len(found) > 0 }))
	for range 2 {
		running.Go(func() { s.answer(); s.mu.Unlock() })
	}
	want := []string{
		`^2 goroutines wait for a lock in labrun\.\(\*exampleServer\)\.answer \(waits_test\.go:\d+\)`,
		`goroutine waits for somebody who receives from a channel in labrun\.\(\*exampleServer\)\.apply \(waits_test\.go:\d+\)`,
	}
	require.True(t, testkit.Eventually(10*time.Second, func() bool {
		found = waits(testkit.Stacks())
		return len(found) > 1 && strings.HasPrefix(found[1], "2 ")
	}), "%q", found)
	<-ch
	running.Wait()
	require.Regexp(t, want[0], found[1])
	require.Regexp(t, want[1], found[0])
}
