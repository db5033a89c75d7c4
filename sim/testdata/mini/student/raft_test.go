package student

import (
	"sync"
	"testing"
	"time"
)

// TestElectionSafety watches for two leaders in a term.
func TestElectionSafety(t *testing.T) {
	servers := make([]*raft, 5)
	for i := range servers {
		servers[i] = &raft{peers: servers, me: i, votedFor: -1}
	}
	var wg sync.WaitGroup
	until := time.Now().Add(10 * time.Second)
	for _, rf := range servers {
		wg.Go(func() { rf.run(until) })
	}
	leaders := map[int]int{}
	for time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
		for i, rf := range servers {
			rf.mu.Lock()
			if rf.role == leader {
				if other, ok := leaders[rf.term]; ok && other != i {
					t.Fatalf("term %d has two leaders", rf.term)
				}
				leaders[rf.term] = i
			}
			rf.mu.Unlock()
		}
	}
	wg.Wait()
	if len(leaders) == 0 {
		t.Fatal("no leader")
	}
}
